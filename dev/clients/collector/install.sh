#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
ln -s "$(../../oracle/build-collector.sh)" "$1/otelcol"
(cd ../go && go build -o "$1/go-client" .)
cp collector.yaml "$1"
cp client.sh "$1/client"
