#!/usr/bin/env bash
# Builds the fuzz targets and runs each for so many seconds, from the kept corpus (fuzz/corpus) and what earlier runs on this machine found.
# Usage: scripts/fuzz.sh SECONDS [TARGET…]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:?how many seconds a target?}"
shift
# Sanitizers and coverage are for nightly compilers; with this the stable one takes them too, so that what is fuzzed is what is shipped.
export RUSTC_BOOTSTRAP=1
fuzz="$(scripts/tool.sh cargo-fuzz)"
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <("$fuzz" list)

# Optimised code takes longer to build, which pays when it then runs for long.
profile=--dev
[ "$seconds" -le 120 ] || profile=--release
"$fuzz" build $profile
failed=()
for target in "${targets[@]}"; do
  # What is found goes into the first folder, and stays on this machine.
  found="fuzz/found/$target"
  mkdir -p "$found" "fuzz/corpus/$target"
  echo "== fuzz $target for $seconds s"
  log="fuzz/found/$target.log"
  if "$fuzz" run $profile "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 >"$log" 2>&1; then
    grep -E 'number_of_executed_units|new_units_added|peak_rss_mb' "$log" | sed 's/^stat:://' || true
  else
    tail -40 "$log"
    failed+=("$target")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "fuzzing found something in: ${failed[*]} (fuzz/artifacts/)" >&2
  exit 1
fi
