# For scripts that build and run images without Docker, which read this file: where images are kept (target/image), and with which options buildah and podman are called.
# shellcheck shell=bash disable=SC2034 # who reads it uses them
mkdir -p target/image
kept=(--root "$PWD/target/image/storage" --runroot "$PWD/target/image/run")
buildah=(buildah "${kept[@]}")
podman=(podman "${kept[@]}" --cgroup-manager cgroupfs --log-level fatal)
# crun does not do without cgroups of one version.
[ ! -d /sys/fs/cgroup/unified ] || podman+=(--runtime runc)
# Podman's own limits are higher than a process without CAP_SYS_RESOURCE may set.
ulimits=(--ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=4096:4096)

# Fails, and says why, where containers cannot be built and run with these tools too.
can_run_containers() {
  local tool missing=
  for tool in buildah podman "$@"; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
  [ "$(id -u)" = 0 ] || missing="$missing root"
  [ -z "$missing" ] || { echo "what is missing for it:$missing (apt-get install buildah podman mmdebstrap runc)"; return 1; }
}
