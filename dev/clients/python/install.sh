#!/usr/bin/env bash
# Installs the client into the folder $1.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv "$1/venv"
"$1/venv/bin/pip" install --quiet --no-deps --requirement requirements.txt
cp client.py "$1"
printf '#!/bin/sh\nexec "%s/venv/bin/python" "%s/client.py"\n' "$1" "$1" > "$1/client"
chmod +x "$1/client"
