#!/usr/bin/env bash
# Sends numbered records with OpenTelemetry's Go SDK through a collector of its own, which exports them as the OTEL_… variables say.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export COMPRESSION=${OTEL_EXPORTER_OTLP_COMPRESSION:-none}
export CLIENT_CERTIFICATE=${OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE:-} CLIENT_KEY=${OTEL_EXPORTER_OTLP_CLIENT_KEY:-}
case $OTEL_EXPORTER_OTLP_PROTOCOL in
    grpc) export EXPORTER=otlp ENCODING=proto ;;
    http/protobuf) export EXPORTER=otlphttp ENCODING=proto ;;
    http/json) export EXPORTER=otlphttp ENCODING=json ;;
esac
for _ in 1 2 3 4 5; do
    export PORT=$((20000 + RANDOM % 12000))
    # Somebody else's, whose answer would pass for this collector's.
    if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then continue; fi
    "$here/otelcol" --config "$here/collector.yaml" &
    collector=$!
    trap 'kill $collector 2>/dev/null || true' EXIT
    until (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
        kill -0 $collector 2>/dev/null || continue 2
        sleep 0.1
    done
    break
done
env -u OTEL_EXPORTER_OTLP_COMPRESSION -u OTEL_EXPORTER_OTLP_CERTIFICATE -u OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE -u OTEL_EXPORTER_OTLP_CLIENT_KEY \
    OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$PORT" OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf "$here/go-client"
# What waits in its queue to be sent again is not lost by a stop that comes too early.
sleep 8
kill $collector
wait $collector || true
trap - EXIT
