#!/usr/bin/env bash
# Makes the Debian package, of what `scripts/release.sh` builds; with --debug of target/debug/otelgate, which is for trying the package itself.
# Usage: scripts/deb.sh FOLDER [--debug]
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(mkdir -p "${1:?which folder?}" && cd "$1" && pwd)"
deb="$(scripts/tool.sh cargo-deb)"

# What the package's metadata in Cargo.toml names.
mkdir -p target/deb
if [ "${2:-}" = --debug ]; then
  [ -f target/deb/LICENCES.txt ] || scripts/licences.sh > target/deb/LICENCES.txt
  [ -f target/deb/otelgate.cdx.json ] || scripts/sbom.sh > target/deb/otelgate.cdx.json
  exec "$deb" deb --package otelgate --no-build --no-strip --profile dev --output "$out/"
fi
scripts/release.sh target/dist
cp target/dist/LICENCES.txt target/dist/otelgate.cdx.json target/deb/
CARGO_TARGET_DIR=target/dist/build exec "$deb" deb --package otelgate --no-build --no-strip --output "$out/"
