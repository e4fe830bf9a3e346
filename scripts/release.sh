#!/usr/bin/env bash
# Builds what is released into a folder: the program, which carries the list of its dependencies (cargo auditable), their list as a CycloneDX document, their licences, and
# checksums. The same source and compiler give the same bytes, wherever the source lies: `scripts/reproducible.sh` shows it.
# Usage: scripts/release.sh FOLDER
set -euo pipefail
out="$(mkdir -p "${1:?which folder?}" && cd "$1" && pwd)"
cd "$(dirname "$0")/.."
source="$PWD" cargo_home="${CARGO_HOME:-$HOME/.cargo}"

# Paths of this machine would be in panics, debug information and C's assertions; they become these.
export RUSTFLAGS="--remap-path-prefix=$source=/otelgate --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$out=/out"
export CFLAGS="-ffile-prefix-map=$source=/otelgate -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$out=/out"
export CXXFLAGS="$CFLAGS" CARGO_INCREMENTAL=0

auditable="$(scripts/tool.sh cargo-auditable)"
PATH="$(dirname "$auditable"):$PATH" cargo auditable build --release --locked --package otelgate --bin otelgate --target-dir "$out/build"
cp "$out/build/release/otelgate" "$out/otelgate"
scripts/sbom.sh > "$out/otelgate.cdx.json"
scripts/licences.sh > "$out/LICENCES.txt"
(cd "$out" && sha256sum otelgate otelgate.cdx.json LICENCES.txt > SHA256SUMS && cat SHA256SUMS)
