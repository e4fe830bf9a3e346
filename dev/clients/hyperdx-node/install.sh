#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
cp client.mjs ../node/matrix.mjs package.json package-lock.json "$1"
npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund
printf '#!/bin/sh\nexec node "%s/client.mjs"\n' "$1" > "$1/client"
chmod +x "$1/client"
