#!/usr/bin/env bash
# Builds the collector's JSON reader (reader/main.go), once, out of Go modules; prints the program's path.
# It lies in a cache folder that is named after its source, so that a changed one is built anew.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
hash=$(cat "$here"/reader/main.go "$here"/reader/go.mod | sha256sum | cut -c1-16)
program=${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/json-reader-$hash
if [ ! -x "$program" ]; then
    command -v go >/dev/null || { echo "the oracle needs Go (1.25 or newer) to build the collector's reader" >&2; exit 1; }
    mkdir -p "$(dirname "$program")"
    (cd "$here/reader" && go build -o "$program" .)
fi
echo "$program"
