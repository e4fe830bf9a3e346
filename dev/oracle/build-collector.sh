#!/usr/bin/env bash
# Builds the collector that the oracle compares with, once, out of Go modules; prints the program's path.
# With --if-built nothing is built: it fails where there is none yet.
# It lies in a cache folder that is named after its manifest, so that a changed manifest is built anew.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
hash=$(sha256sum "$here/builder.yaml" | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/otelcol-0.149.0-$hash
program=$cache/otelcol-clickstack
if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi
[ "${1:-}" != --if-built ] || exit 1
command -v go >/dev/null || { echo "the oracle needs Go (1.25 or newer) to build the collector" >&2; exit 1; }
echo "building the collector (once; three to six minutes on two cores) …" >&2
mkdir -p "$cache"
GOBIN=$cache GOFLAGS=-mod=mod go install go.opentelemetry.io/collector/cmd/builder@v0.149.0
sed "s#\${OTELCOL_DIR}#$cache/build#" "$here/builder.yaml" > "$cache/builder.yaml"
"$cache/builder" --config "$cache/builder.yaml" >"$cache/build.log" 2>&1 || { tail -20 "$cache/build.log" >&2; exit 1; }
mv "$cache/build/otelcol-clickstack" "$program"
rm -rf "$cache/build"
echo "$program"
