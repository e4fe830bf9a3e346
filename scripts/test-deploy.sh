#!/usr/bin/env bash
# Checks what lies in deploy/ with the tools that read it. What is skipped is said, with the reason; FULL=1 builds the tools that take minutes, and runs what needs them.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=deploy/helm/otelgate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
full=${FULL:-}

say() { echo "-- $*"; }
skip() { echo "-- SKIPPED: $*"; }
fail() { echo "-- FAILED: $*" >&2; exit 1; }
# The path of a tool that takes minutes to build: built with FULL=1, otherwise taken when it is there.
slow() { if [ "$full" ]; then scripts/tool.sh "$1"; else scripts/tool.sh --if-built "$1"; fi; }

charts() {
  local helm values name
  helm=$(scripts/tool.sh helm)
  for values in "$chart"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    "$helm" lint --quiet --strict --kube-version 1.34.0 "$chart" --values "$values"
    "$helm" template otelgate "$chart" --namespace otelgate --kube-version 1.34.0 --values "$values" > "$work/$name.yaml"
  done
  # What the schema and the chart must refuse.
  for wrong in replica=3 image.tagg=1 sink.clickhouse.url=host:8123 sink.forward.endpoint=http://a:4317 keys.file=false mode=sidecar shutdown.deadlineSeconds=40s; do
    ! "$helm" template otelgate "$chart" --kube-version 1.34.0 --values "$chart/ci/edge-values.yaml" --set "$wrong" >/dev/null 2>&1 ||
      fail "the chart takes $wrong"
  done
  say "helm: $(ls "$chart"/ci | wc -l) sets of values are rendered, wrong ones are refused"
}

made() {
  scripts/manifests.sh "$work/made"
  diff -r "$work/made/deploy/kubernetes" deploy/kubernetes || fail "deploy/kubernetes is not what the chart makes: make manifests"
  diff "$work/made/$chart/README.md" "$chart/README.md" || fail "the chart's README.md is not what values.yaml makes: make manifests"
  say "deploy/kubernetes and the chart's README.md are what the chart makes"
}

# The schemas come from PyPI and refer to each other by addresses on the web: made relative, once.
schemas() {
  local version=1.37.0 cache
  cache="${XDG_CACHE_HOME:-$HOME/.cache}/otelgate/kubernetes-schemas-$version"
  if [ ! -d "$cache/schemas" ]; then
    python3 -m venv "$cache/venv" >/dev/null && "$cache/venv/bin/pip" install --quiet --disable-pip-version-check "kubernetes-validate==$version" >&2
    rm -rf "$cache/new" && mkdir "$cache/new"
    for minor in 27 32 37; do
      cp -r "$cache"/venv/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/v1.$minor.0-local-strict "$cache/new/"
    done
    sed -i -e 's/"\$id":/"x-id":/' -e 's|/api/_definitions.json|_definitions.json|' "$cache"/new/*/*.json
    mv "$cache/new" "$cache/schemas" && rm -rf "$cache/venv"
  fi
  echo "$cache/schemas"
}

conform() {
  local kubeconform schemas
  kubeconform=$(scripts/tool.sh kubeconform)
  schemas=$(schemas)
  for version in 1.27.0 1.32.0 1.37.0; do
    "$kubeconform" -strict -kubernetes-version "$version" -skip ServiceMonitor,Certificate \
      -schema-location "$schemas/{{.NormalizedKubernetesVersion}}-local{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json" "$work"/*.yaml deploy/kubernetes/*.yaml
  done
  say "kubeconform: Kubernetes 1.27, 1.32 and 1.37 know every field (ServiceMonitor and Certificate: FULL=1)"
}

score() {
  # No CPU limit: it would throttle who is to answer at once. IfNotPresent: tags are versions.
  "$(scripts/tool.sh kube-score)" score --ignore-container-cpu-limit --ignore-test container-image-pull-policy --output-format ci "$work"/*.yaml > "$work/score" ||
    { grep -v -e '^\[OK\]' -e '^\[SKIPPED\]' "$work/score"; fail "kube-score"; }
  say "kube-score: nothing to say"
}

compose() {
  # `!reset` is Compose's own, which the schema does not know.
  sed 's/ !reset \[\]/ []/' deploy/compose/otelgate.yaml > "$work/compose.yaml.txt"
  "$(scripts/tool.sh check-jsonschema)" --quiet --builtin-schema vendor.compose-spec --force-filetype yaml "$work/compose.yaml.txt" >&2
  say "Compose file: follows the specification's schema"
}

alerts() {
  (cd deploy/prometheus && "$1" check rules --lint-fatal --lint=all alerts.yaml >/dev/null && "$1" test rules alerts.test.yaml >/dev/null)
  say "promtool: the alerts are rules, and each is quiet and fires when its test says so"
}

# Installs, looks at and removes the package, on this machine: nothing of it is there before or after.
package() {
  local deb
  if [ "$(id -u)" != 0 ] || ! command -v dpkg >/dev/null || ! command -v jq >/dev/null; then
    skip "the Debian package, because it is installed as root, by dpkg, and its licences are listed with jq"
    return
  fi
  if dpkg -s otelgate >/dev/null 2>&1 || command -v otelgate >/dev/null; then
    skip "the Debian package, because an otelgate is installed on this machine"
    return
  fi
  [ -x target/debug/otelgate ] || cargo build --bin otelgate
  deb=$(scripts/deb.sh "$work" --debug)
  trap 'dpkg --purge otelgate >/dev/null 2>&1; rm -rf "$work"' EXIT
  dpkg --install "$deb" >&2
  /usr/bin/otelgate --version >/dev/null
  for place in /usr/share/doc/otelgate/LICENCES.txt /usr/share/doc/otelgate/examples/otelgate.yaml; do
    [ -s "$place" ] || fail "the package has no $place"
  done
  for unit in otelgate.service otelgate.socket; do
    dpkg -L otelgate | grep -q "/systemd/system/$unit$" || fail "the package has no $unit"
  done
  ! command -v systemd-analyze >/dev/null || systemd-analyze verify otelgate.service otelgate.socket
  dpkg --install "$deb" >&2
  dpkg --purge otelgate >&2
  [ ! -e /usr/bin/otelgate ] || fail "otelgate is still there after the package was purged"
  trap 'rm -rf "$work"' EXIT
  say "Debian package: installed, installed again, and removed"
  scripts/test-systemd.sh "$deb"
}

# As the image runs it: user 65532, nothing to write but /var/lib/otelgate.
read_only() {
  if [ "$(id -u)" != 0 ] || ! unshare --mount --net ip link set lo up 2>/dev/null; then
    skip "the read-only root, because that takes root, ip, and namespaces of its own"
    return
  fi
  [ -x target/debug/otelgate ] || cargo build --bin otelgate
  unshare --mount --net scripts/read-only-root.sh target/debug/otelgate "$work/root"
  say "a read-only root: it starts, is healthy and stops as user 65532"
}

# Each part by itself: what one needs and is not there costs the others nothing.
if command -v go >/dev/null; then
  charts
  made
  score
  if command -v python3 >/dev/null; then conform; else skip "kubeconform, because Python is missing, which fetches the schemas"; fi
else
  skip "everything about the chart, because Go is missing, which builds helm, helm-docs, kubeconform and kube-score"
fi
if command -v python3 >/dev/null; then compose; else skip "the Compose file's schema, because Python is missing"; fi

scripts/hyperdx-dashboard.sh

# What takes minutes to build, or needs root.
if promtool=$(slow promtool); then
  alerts "$promtool"
else
  skip "promtool on the alerts, because it is not built yet, which takes minutes (FULL=1)"
fi
if [ ! "$full" ]; then
  skip "kube-apiserver's word on chart and manifests, the Debian package, its units under systemd, and the read-only root (FULL=1); the image (make test-image)"
  exit 0
fi
scripts/test-kubernetes.sh "$work" deploy/kubernetes
package
read_only
