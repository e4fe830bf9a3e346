#!/usr/bin/env bash
# Shows that the fault harness can fail: each patch in mutants/ makes one mistake in a scratch copy of the sources, and the
# harness must find it. The patch's first line says how the harness is called.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
scratch="$(mktemp -d "${TMPDIR:-/tmp}/otelgate-mutants.XXXXXX")"
target="${MUTANTS_TARGET:-$root/target/mutants}"
trap 'rm -rf "$scratch"' EXIT

# What git knows, with what is changed and not committed.
git -C "$root" ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [ -f "$root/$file" ] && printf '%s\0' "$file"; done |
  tar -C "$root" --null -T - -cf - | tar -C "$scratch" -xf -

build() { (cd "$scratch" && CARGO_TARGET_DIR="$target" cargo build -q --workspace --bins 2> "$scratch/build.log") || { cat "$scratch/build.log"; exit 1; }; }

missed=0
for patch in "$here"/mutants/${1:-*}.patch; do
  name="$(basename "$patch" .patch)"
  read -r -a arguments < <(sed -n '1s/^check: //p' "$patch")
  (cd "$scratch" && git apply "$patch")
  build
  log="$scratch/$name.log"
  # The same schedule for everybody; an unchanged otelgate passes it.
  if "$target/debug/otelgate-faults" --seed 4 "${arguments[@]}" > "$log" 2>&1; then
    echo "MISSED  $name: the harness saw nothing wrong"
    missed=$((missed + 1))
  elif grep -qE 'BROKEN|left too early' "$log"; then
    echo "caught  $name: $(grep -m1 -E 'BROKEN|left too early' "$log" | sed 's/^ *//')"
  else
    echo "UNCLEAR $name: the harness failed for another reason:"
    tail -5 "$log"
    missed=$((missed + 1))
  fi
  (cd "$scratch" && git apply -R "$patch")
done
[ "$missed" = 0 ] || { echo "$missed mutants were not caught"; exit 1; }
echo "every mutant was caught"
