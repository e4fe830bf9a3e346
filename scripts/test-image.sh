#!/usr/bin/env bash
# Builds the image of the Dockerfile without Docker (buildah), and runs it as Kubernetes would (podman): a user by number, a read-only root, no capability, no new privileges, the
# configuration mounted, a volume for the spool. What is skipped is said, with the reason. Images are kept in target/image.
#   PULL=1             the Dockerfile's base images come from their registry; otherwise scripts/image-bases.sh makes them from Debian's packages
#   BUILT=1            runs what was built last
#   BUILD_OPTIONS=…    more options of `buildah build`, as a proxy may need them
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/containers.sh
image=localhost/otelgate

say() { echo "-- $*"; }
fail() { echo "-- FAILED: $*" >&2; exit 1; }

# shellcheck disable=SC2046 # two words, or none
if ! why=$(can_run_containers curl jq nsenter $([ "${PULL:-}" ] || echo mmdebstrap rustup)); then
  echo "-- SKIPPED: the image; $why"
  exit 0
fi

if [ ! "${BUILT:-}" ]; then
  [ "${PULL:-}" ] || scripts/image-bases.sh >&2
  # Inside, those certificates count that count on this machine: a registry's proxy may have one of its own. The format is Docker's, whose health check is not in the OCI's.
  # shellcheck disable=SC2086 # several options
  "${buildah[@]}" build --isolation chroot --format docker --pull$([ "${PULL:-}" ] || echo -never) --volume /etc/ssl/certs:/etc/ssl/certs:ro ${BUILD_OPTIONS:-} --tag "$image" . >&2
  say "the image is built: $("${podman[@]}" image inspect "$image" | jq -r '.[0].Size / 1e6 | floor') MB"
fi
user=$("${podman[@]}" image inspect "$image" | jq -r '.[0].Config.User')
[[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the image's user is $user, of which runAsNonRoot cannot tell that it is not root"

work=$(mktemp -d)
name=otelgate-image-test-$$
end() {
  "${podman[@]}" rm --force --time 0 --volumes "$name" >/dev/null 2>&1
  "${podman[@]}" volume rm --force "$name" >/dev/null 2>&1
  rm -rf "$work"
}
trap end EXIT
run() { "${podman[@]}" run --network none "${ulimits[@]}" "$@"; }
start() {
  run --detach --name "$name" --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges \
    --volume "$name:/var/lib/otelgate" --volume "$work/otelgate:/etc/otelgate:ro" "$image" >/dev/null
  for _ in $(seq 120); do
    ! "${podman[@]}" healthcheck run "$name" >/dev/null 2>&1 || return 0
    sleep 0.5
  done
  "${podman[@]}" logs "$name" >&2
  fail "it is not healthy"
}
inspect() { "${podman[@]}" inspect "$name" | jq -r ".[0].State.$1"; }
# With this key; the status of the answer.
send() {
  local now span
  now=$(date +%s%N)
  span="{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"a\",\"startTimeUnixNano\":\"$now\",\"endTimeUnixNano\":\"$now\"}"
  nsenter --net="/proc/$(inspect Pid)/ns/net" curl --silent --output "$work/answer" --write-out '%{http_code}' --cacert "$work/otelgate/tls/ca.crt" \
    --header "authorization: $1" --json "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[$span]}]}]}" https://localhost:4318/v1/traces
}
end_well() {
  "${podman[@]}" stop --time 40 "$name" >/dev/null
  [ "$(inspect ExitCode)" = 0 ] || { "${podman[@]}" logs "$name" >&2; fail "SIGTERM ended it with $(inspect ExitCode)"; }
}

# As docs/deploy.md says it. Nobody takes what is forwarded to port 9: it stays in the spool.
run --rm --user 0:0 --volume "$work:/work" "$image" init --offline --forward http://127.0.0.1:9 --dir /work/otelgate > "$work/said"
key=$(sed -n 's/.*authorization=//p' "$work/said")
sed -i '/^state_dir:/d' "$work/otelgate/otelgate.yaml"
echo 'spool: { max_bytes: 256MiB, min_free_bytes: 1MiB }' >> "$work/otelgate/otelgate.yaml"
chown 65532 "$work/otelgate/keys.yaml" "$work/otelgate/tls/server.key"
chmod 755 "$work"

start
awk '{ print $1 $2 }' "/proc/$(inspect Pid)/status" > "$work/status"
for expected in "Uid:65532" "CapEff:0000000000000000" "CapBnd:0000000000000000" "NoNewPrivs:1"; do
  grep -qx "$expected" "$work/status" || fail "its process is not $expected"
done
[ "$(send wrong-key-of-some-length)" = 401 ] || fail "a wrong key is not refused"
[ "$(send "$key")" = 200 ] || fail "OTLP over TLS: $(cat "$work/answer")"
end_well
"${podman[@]}" rm "$name" >/dev/null
start
"${podman[@]}" exec "$name" otelgate spool list --config /etc/otelgate/otelgate.yaml > "$work/spool"
grep -q ' traces ' "$work/spool" || fail "the spool lost what was acknowledged: $(cat "$work/spool")"
end_well
say "the image: user $user, read-only root, no capability; healthy, takes OTLP over TLS, ends well, and its volume keeps what was acknowledged"
