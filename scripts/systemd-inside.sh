#!/usr/bin/env bash
# For a container in which systemd runs and /otelgate.deb lies (scripts/test-systemd.sh): docs/deploy.md's steps, restarts under requests, and the removal.
set -euo pipefail
config=/etc/otelgate/otelgate.yaml

say() { echo "-- systemd: $*"; }
fail() { echo "-- FAILED: $*" >&2; exit 1; }
within() { # SECONDS COMMAND…
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$until" ] || fail "$* does not come true"
    sleep 0.2
  done
}
show() { systemctl show --property "$1" --value otelgate.service; }
healthy() { otelgate health --config "$config"; }
restarted() { [ "$(show NRestarts)" -gt "$restarts" ] && healthy; }
# Sends until told to stop, each request on a connection of its own; a line a status.
send() {
  local now span
  while [ ! -e /tmp/enough ]; do
    now=$(date +%s%N)
    span="{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"a\",\"startTimeUnixNano\":\"$now\",\"endTimeUnixNano\":\"$now\"}"
    curl --silent --show-error --max-time 60 --output /dev/null --write-out '%{http_code}\n' --cacert /etc/otelgate/tls/ca.crt --header "authorization: $1" \
      --json "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[$span]}]}]}" https://localhost:4318/v1/traces >> /tmp/statuses 2>> /tmp/errors || true
  done
}

within 60 systemctl is-active --quiet multi-user.target
dpkg --install /otelgate.deb >&2
otelgate init --offline --clickhouse https://clickhouse.internal:8443 --database default --domain localhost --dir /etc/otelgate > /tmp/said 2>&1
install -m 644 /usr/share/doc/otelgate/examples/otelgate.yaml "$config"
chmod 644 /etc/otelgate/keys.yaml
# There is no ClickHouse here: what is forwarded to port 9 stays in the spool, and the password is the collector's token.
sed -i '/^sink:/,$d' "$config"
cat >> "$config" <<X
sink:
  forward:
    endpoint: http://127.0.0.1:9
    token: "\${file:/run/credentials/otelgate.service/clickhouse-password}"
spool: { max_bytes: 256MiB, min_free_bytes: 1MiB }
X
systemctl enable --now otelgate.socket otelgate.service >&2
within 60 healthy
otelgate check --config "$config" >&2
[ "$(awk '/^Uid:/ { print $2 }' "/proc/$(show MainPID)/status")" -gt 1000 ] || fail "it does not run as a user of its own"
[ "$(stat -c %a /var/lib/private/otelgate)" = 700 ] || fail "the spool can be read by others"
[ -S /run/otelgate/admin.sock ] || fail "there is no admin socket"
# Exits 1: the sink is away, which the running process says.
otelgate doctor --config "$config" > /tmp/doctor || true
grep -q '^ok  *running process: runs' /tmp/doctor && grep -q '^wrong  *sink: takes nothing' /tmp/doctor || fail "doctor does not hear it: $(cat /tmp/doctor)"
say "started by its socket and service, with its credentials, as a user of its own"

send "$(sed -n 's/.*authorization=//p' /tmp/said)" &
sender=$!
within 60 grep -q 200 /tmp/statuses
systemctl restart otelgate.service
within 60 healthy
systemctl reload otelgate.service
restarts=$(show NRestarts)
systemctl kill --signal KILL otelgate.service
within 60 restarted
touch /tmp/enough
wait "$sender"
# The killed one cannot answer whom it had let in.
refused=$(grep -c -i -e 'refused' /tmp/errors || true) sent=$(grep -c . /tmp/statuses) taken=$(grep -c '^200$' /tmp/statuses)
[ "$refused" = 0 ] && [ "$taken" -ge $((sent - 1)) ] || fail "of $sent requests $taken were taken, $refused connections refused: $(sort /tmp/errors | uniq -c)"
journalctl --unit otelgate.service --no-pager > /tmp/journal
grep -q '"message":"spool opened"' /tmp/journal || fail "its log is not in the journal"
say "$taken requests through a restart, a reload and a SIGKILL: no connection refused"

systemctl stop otelgate.socket otelgate.service
[ "$(show Result) $(show ExecMainStatus)" = "success 0" ] || fail "it ended with $(show Result), $(show ExecMainStatus)"
rows=$(otelgate spool list --config "$config" | awk '/ traces / { rows += $6 } END { print rows + 0 }')
[ "$rows" -ge "$taken" ] || fail "$taken requests were taken, and $rows rows are in the spool"
dpkg --purge otelgate >&2
[ -e /var/lib/private/otelgate/spool ] && [ -e "$config" ] || fail "the package took the spool or the configuration with it"
! systemctl cat otelgate.service >/dev/null 2>&1 || fail "the unit is still known"
say "stopped with $rows rows in the spool, and removed; spool and configuration stay"
