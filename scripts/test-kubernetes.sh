#!/usr/bin/env bash
# Applies manifests to a kube-apiserver of its own (`--dry-run=server`), in a namespace whose PodSecurity level is `restricted`, with the definitions of the custom resources. Nothing
# runs but the API: what is tested is what it admits.
# Usage: scripts/test-kubernetes.sh FOLDER…   (with *.yaml)
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
tools="$("$here/kubernetes-tools.sh")"
work="$(mktemp -d)"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "-- FAILED: $*" >&2; exit 1; }
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

client=$(port) peer=$(port) api=$(port)
"$tools/etcd" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" >"$work/etcd.log" 2>&1 &
pids+=($!)
openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
echo "token-of-the-test,admin,1,system:masters" > "$work/tokens"
"$tools/kube-apiserver" --etcd-servers "http://127.0.0.1:$client" --cert-dir "$work/certs" --bind-address 127.0.0.1 --secure-port "$api" --service-cluster-ip-range 10.96.0.0/16 \
  --service-account-issuer https://test --service-account-signing-key-file "$work/accounts.key" --service-account-key-file "$work/accounts.key" \
  --token-auth-file "$work/tokens" --authorization-mode RBAC --disable-admission-plugins ServiceAccount >"$work/api.log" 2>&1 &
pids+=($!)
kubectl() { HOME="$work" "$tools/kubectl" --server "https://127.0.0.1:$api" --token token-of-the-test --insecure-skip-tls-verify "$@"; }
for _ in $(seq 240); do
  ! kubectl get --raw /readyz >/dev/null 2>&1 || break
  kill -0 "${pids[1]}" 2>/dev/null || { tail -5 "$work/api.log" >&2; fail "kube-apiserver ended"; }
  sleep 0.5
done
kubectl get --raw /readyz >/dev/null || { tail -5 "$work/api.log" >&2; fail "kube-apiserver does not get ready"; }

kubectl apply --server-side -f "$tools/crds" >/dev/null
kubectl wait --for condition=established --timeout 60s -f "$tools/crds" >/dev/null
kubectl create namespace otelgate >/dev/null
kubectl label namespace otelgate pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null
checked=0
for file in "${@/%//}"; do for manifest in "$file"*.yaml; do
  said=$(kubectl apply --dry-run=server -f "$manifest" 2>&1) || { echo "$said" >&2; fail "kube-apiserver refuses $manifest"; }
  case "$(basename "$manifest")" in
    # Ports and folders of the node are what that level forbids: it must say so.
    agent-host.yaml) grep -q "would violate PodSecurity" <<<"$said" || fail "PodSecurity has nothing to say to $manifest, so it is not asked" ;;
    *) ! grep -qi warning <<<"$said" || { echo "$said" >&2; fail "kube-apiserver warns of $manifest"; } ;;
  esac
  checked=$((checked + 1))
done; done
echo "-- kube-apiserver: takes $checked manifests, and PodSecurity \"restricted\" has nothing against their pods (but agent-host.yaml's, as it should)"
