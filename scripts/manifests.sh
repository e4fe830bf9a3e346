#!/usr/bin/env bash
# Writes what is made from the Helm chart: the plain manifests in deploy/kubernetes, and the chart's page of values. With a folder as argument it writes there instead.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=deploy/helm/otelgate
target=$(realpath "${1:-.}")

helm=$(scripts/tool.sh helm)
mkdir -p "$target/deploy/kubernetes"
for mode in edge clickstack agent; do
  {
    echo "# Made from $chart by \`make manifests\`, with $chart/ci/$mode-values.yaml. docs/kubernetes.md says what must be there before, and what to change."
    # What says that Helm manages it would not be true; the version of Kubernetes decides nothing here but that the chart accepts it.
    "$helm" template otelgate "$chart" --namespace otelgate --kube-version 1.34.0 --values "$chart/ci/$mode-values.yaml" |
      sed -e '/^ *helm.sh\/chart: /d' -e '/^ *app.kubernetes.io\/managed-by: /d' -e '/^# Source: /d'
  } > "$target/deploy/kubernetes/$mode.yaml"
done

mkdir -p "$target/$chart"
"$(scripts/tool.sh helm-docs)" --log-level error --chart-search-root "$chart" --template-files README.md.gotmpl --sort-values-order file --dry-run |
  sed -e '/./,$!d' > "$target/$chart/README.md"
