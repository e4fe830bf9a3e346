#!/usr/bin/env bash
# Builds the release twice, from two copies of what is committed in folders with different names, and compares what came out.
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d "${TMPDIR:-/tmp}/otelgate-reproducible.XXXXXX")"
trap 'rm -rf "$work"' EXIT
# One commit for both, whatever is committed meanwhile.
commit="$(git rev-parse HEAD)"
for copy in one another-one; do
  mkdir -p "$work/$copy/source"
  git archive "$commit" | tar -x -C "$work/$copy/source"
  "$work/$copy/source/scripts/release.sh" "$work/$copy/out"
  rm -rf "$work/$copy/out/build"
done
diff "$work/one/out/SHA256SUMS" "$work/another-one/out/SHA256SUMS" && echo "both builds are the same"
