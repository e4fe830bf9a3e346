#!/usr/bin/env bash
# Prints the path of h2spec, the conformance tests of HTTP/2; built once out of Go modules, into the user's cache folder. Later versions than this one are no Go modules: their
# major version is not in their path.
set -euo pipefail
version=v2.2.1+incompatible
cache=${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/h2spec-2.2.1
if [ ! -x "$cache/h2spec" ]; then
    command -v go >/dev/null || { echo "h2spec needs Go" >&2; exit 1; }
    echo "building h2spec $version (once) into $cache" >&2
    mkdir -p "$cache"
    cd "$cache"
    [ -f go.mod ] || go mod init h2spec-build >&2
    go get "github.com/summerwind/h2spec@$version" github.com/summerwind/h2spec/cmd/h2spec >&2
    go build -o h2spec github.com/summerwind/h2spec/cmd/h2spec >&2
fi
echo "$cache/h2spec"
