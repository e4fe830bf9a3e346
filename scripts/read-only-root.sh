#!/usr/bin/env bash
# Runs otelgate as its image does: as user 65532, with a read-only root, and a writable /var/lib/otelgate. For namespaces of its own (`unshare --mount --net`).
# Usage: scripts/read-only-root.sh PROGRAM FOLDER
set -euo pipefail
program="$(realpath "$1")"
root="$2"
mkdir -p "$root"
ip link set lo up
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir -p "$root"/{usr,lib,lib64,dev,proc,etc/otelgate,var/lib/otelgate}
for folder in usr lib lib64; do
  [ ! -d "/$folder" ] || mount --bind -o ro "/$folder" "$root/$folder"
done
mount --bind /dev "$root/dev"
mount --bind /proc "$root/proc"
install -m 755 "$program" "$root/otelgate"
# What docs/deploy.md says of the image: the files of `init`, without its state_dir, readable for the user.
"$program" init --offline --forward http://127.0.0.1:9 --dir "$root/etc/otelgate" > "$root/init.log" 2>&1 || { cat "$root/init.log" >&2; exit 1; }
sed -i '/^state_dir:/d' "$root/etc/otelgate/otelgate.yaml"
echo 'spool: { max_bytes: 256MiB, min_free_bytes: 1MiB }' >> "$root/etc/otelgate/otelgate.yaml"
chown 65532 "$root/etc/otelgate/keys.yaml" "$root/etc/otelgate/tls/server.key"
mount -t tmpfs -o uid=65532,gid=65532,mode=700,size=512m tmpfs "$root/var/lib/otelgate"
mount -o remount,ro "$root"

run=(chroot --userspec=65532:65532 "$root" /otelgate)
config=(--config /etc/otelgate/otelgate.yaml)
"${run[@]}" serve "${config[@]}" &
pid=$!
trap 'kill -9 $pid 2>/dev/null || true' EXIT
for _ in $(seq 120); do
  if "${run[@]}" health "${config[@]}"; then
    kill "$pid"
    trap - EXIT
    wait "$pid"
    exit 0
  fi
  kill -0 "$pid"
  sleep 0.5
done
echo "it did not get ready" >&2
exit 1
