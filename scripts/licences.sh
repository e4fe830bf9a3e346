#!/usr/bin/env bash
# Prints the licence texts of everything that is linked into the program, as each crate ships them, otelgate's own first. Needs jq.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${1:-$(rustc -vV | sed -n 's/^host: //p')}"
cat LICENSE
manifests="$(cargo metadata --locked --format-version 1 --filter-platform "$target" |
  jq -r '.packages[] | "pkg:cargo/\(.name)@\(.version)\t\(.manifest_path)\t\(.license // "see the text")"')"
scripts/sbom.sh "$target" | jq -r '.components[].purl' | while read -r purl; do
  IFS=$'\t' read -r _ manifest licence < <(grep -F "$purl"$'\t' <<<"$manifests")
  printf '\n%s\n%s (%s)\n%s\n' "$(printf '=%.0s' {1..80})" "${purl#pkg:cargo/}" "$licence" "$(printf '=%.0s' {1..80})"
  texts="$(find "$(dirname "$manifest")" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) | LC_ALL=C sort)"
  if [ -n "$texts" ]; then
    tr '\n' '\0' <<<"$texts" | xargs -0 cat
  else
    echo "The crate ships no text of its licence."
  fi
done
