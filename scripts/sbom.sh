#!/usr/bin/env bash
# Prints what the program is made of, as a CycloneDX 1.5 document: every crate that is linked into it, with its licence and its package URL, and who needs whom. The same
# Cargo.lock gives the same document. Needs jq.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${1:-$(rustc -vV | sed -n 's/^host: //p')}"
cargo metadata --locked --format-version 1 --filter-platform "$target" | jq --sort-keys '
  def purl: "pkg:cargo/\(.name)@\(.version)";
  (.packages | map({key: .id, value: .}) | from_entries) as $packages
  # What is linked: no dependency of tests or of build scripts, and no macro, which runs in the compiler.
  | def linked: any($packages[.pkg].targets[]; .kind | index("proc-macro")) | not;
    (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null) and linked) | .pkg]}) | from_entries) as $needs
  | ($packages | to_entries | map(select(.value.name == "otelgate" and .value.source == null))[0].key) as $root
  | def reach: . as $seen | ([.[] | $needs[.][]] | unique - $seen) as $new | if $new == [] then $seen else ($seen + $new | reach) end;
    ([$root] | reach) as $all
  | {
      bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {component: ($packages[$root] | {type: "application", name, version, "bom-ref": purl, licenses: [{expression: .license}]})},
      components: [$all[] | select(. != $root) | $packages[.] | {type: "library", name, version, purl: purl, "bom-ref": purl}
        + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end)] | sort_by(."bom-ref"),
      dependencies: [$all[] | . as $id | {ref: ($packages[$id] | purl), dependsOn: ([$needs[$id][] | $packages[.] | purl] | unique)}] | sort_by(.ref)
    }'
