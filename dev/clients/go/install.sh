#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
go build -o "$1/client" .
