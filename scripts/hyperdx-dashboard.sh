#!/usr/bin/env bash
# Reads the HyperDX dashboard as HyperDX's import does: by the schema of its source, which no registry has (the published @hyperdx/common-utils is older than it).
# Usage: HYPERDX=CHECKOUT scripts/hyperdx-dashboard.sh   (a clone of github.com/hyperdxio/hyperdx, bare or not)
set -euo pipefail
cd "$(dirname "$0")/.."
board=$PWD/deploy/hyperdx/otelgate.json
if [ ! "${HYPERDX:-}" ] || ! command -v npm >/dev/null; then
  echo "-- SKIPPED: HyperDX's word on its dashboard, because its source (HYPERDX=CHECKOUT), or npm, is missing"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$HYPERDX" show HEAD:packages/common-utils/src/types.ts > "$work/types.ts"
cd "$work"
npm install --silent --no-fund --no-audit zod@3.25 object-hash@3 esbuild@0.28 >&2
npx esbuild types.ts --bundle --platform=node --outfile=types.cjs --log-level=warning >&2
cat > read.cjs <<'X'
const { isDeepStrictEqual } = require('node:util');
const { DashboardTemplateSchema } = require('./types.cjs');
const board = require(process.argv[2]);
// What a schema does not know it drops: then HyperDX would not do what the file says.
const taken = (board) => {
  const read = DashboardTemplateSchema.safeParse(board);
  return read.success ? isDeepStrictEqual(read.data, board) || 'a field that HyperDX does not know is in it' : JSON.stringify(read.error.issues);
};
const spoiled = (change) => { const copy = structuredClone(board); change(copy.tiles[0].config); return taken(copy); };
const said = taken(board);
if (said !== true) throw new Error(said);
if (spoiled((tile) => { tile.displayType = 'none'; }) === true || spoiled((tile) => { tile.numberFromat = {}; }) === true) throw new Error('a wrong tile is taken');
console.log(`-- HyperDX: its import takes all ${board.tiles.length} tiles, and every field of them`);
X
node read.cjs "$board"
