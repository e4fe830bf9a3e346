#!/usr/bin/env bash
# Runs the Debian package's units by a systemd of their own: in a container of the Debian that the image begins with, without a network. What is skipped is said, with the reason.
# Usage: scripts/test-systemd.sh PACKAGE.deb
set -euo pipefail
package=$(realpath "$1")
cd "$(dirname "$0")/.."
. scripts/containers.sh
image=localhost/otelgate-systemd

if ! why=$(can_run_containers mmdebstrap); then
  echo "-- SKIPPED: the units under systemd; $why"
  exit 0
fi
if ! "${podman[@]}" image exists "$image"; then
  container=$("${buildah[@]}" from --pull-never "$(scripts/image-bases.sh --debian)")
  "${buildah[@]}" run --isolation chroot "$container" sh -c 'apt-get update -q && apt-get install -qy --no-install-recommends curl systemd' > /dev/null
  "${buildah[@]}" commit --quiet --rm "$container" "$image" >/dev/null
fi
name=otelgate-systemd-test-$$
trap '"${podman[@]}" rm --force --time 0 --volumes "$name" >/dev/null 2>&1' EXIT
# What systemd mounts for a unit, its credentials among it, has to be seen by who is started next: shared mounts, which it makes for itself only outside of containers.
"${podman[@]}" run --detach --name "$name" --systemd=always --privileged --network none "${ulimits[@]}" \
  --volume "$package:/otelgate.deb:ro" --volume "$PWD/scripts/systemd-inside.sh:/inside.sh:ro" \
  "$image" sh -c 'mount --make-rshared / && exec /lib/systemd/systemd' >/dev/null
if ! "${podman[@]}" exec "$name" bash /inside.sh; then
  "${podman[@]}" exec "$name" journalctl --no-pager --lines 40 >&2 || "${podman[@]}" logs "$name" >&2
  echo "-- FAILED: the units under systemd" >&2
  exit 1
fi
