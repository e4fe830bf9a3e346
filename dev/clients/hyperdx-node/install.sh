#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
cp client.mjs ../node/matrix.mjs package.json package-lock.json "$1"
npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund
# Over HTTP the SDK's exporters know no CA but those of Node.
printf '#!/bin/sh\nNODE_EXTRA_CA_CERTS=$OTEL_EXPORTER_OTLP_CERTIFICATE exec node "%s/client.mjs"\n' "$1" > "$1/client"
chmod +x "$1/client"
