#!/usr/bin/env bash
# Prints the folder with kube-apiserver, etcd, kubectl and the definitions of the custom resources that the chart uses; builds what is missing out of Go modules, once (some minutes).
# With --if-built nothing is built.
set -euo pipefail
kubernetes=1.37.2 staging=0.37.2 etcd=3.7.3 operator=0.85.0 certmanager=1.21.2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/kubernetes-$kubernetes"
if [ -f "$cache/done" ]; then
  echo "$cache"
  exit 0
fi
[ "${1:-}" != --if-built ] || exit 1
echo "building kube-apiserver, kubectl and etcd (once; three minutes on a quiet machine with two cores) …" >&2
mkdir -p "$cache/crds"
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
export GOFLAGS=-mod=mod
dir_of() { go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)",/\1/p'; }

# Kubernetes' own go.mod points into its repository for the modules that are published apart; a module of our own names their versions.
mkdir "$build/kubernetes" && cd "$build/kubernetes"
go mod init tools 2>/dev/null
source="$(dir_of "k8s.io/kubernetes@v$kubernetes")"
go mod edit -require "k8s.io/kubernetes@v$kubernetes"
for module in $(sed -n 's#^\s*\(k8s.io/[a-z0-9-]*\) v0.0.0$#\1#p' "$source/go.mod" | sort -u); do
  go mod edit -replace "$module=$module@v$staging"
done
go build -trimpath -ldflags '-s -w' -o "$cache/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl >&2

mkdir "$build/etcd" && cd "$build/etcd"
go mod init tools 2>/dev/null
go mod edit -require "go.etcd.io/etcd/server/v3@v$etcd"
go build -trimpath -ldflags '-s -w' -o "$cache/etcd" go.etcd.io/etcd/server/v3 >&2

cp "$(dir_of "github.com/prometheus-operator/prometheus-operator@v$operator")"/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml "$cache/crds/"
cp "$(dir_of "github.com/cert-manager/cert-manager@v$certmanager")"/deploy/crds/*certificates.yaml "$cache/crds/"
touch "$cache/done"
echo "$cache"
