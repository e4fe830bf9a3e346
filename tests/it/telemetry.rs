//! Own telemetry: what otelgate says of itself is found in ClickHouse, in the tables and by the statement that the documentation names, and is bounded.

use otelgate::signal::Signal;
use serde_json::Value;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn metrics_lines_and_traces_are_stored_beside_everybodys() {
    let clickhouse = clickhouse().await;
    let sections = "spool: none\nbatch: { max_age: 200ms }\ntelemetry: { metrics: 1s, logs: warn, traces: 1 }\n";
    let edge = Edge::start(clickhouse, Setup { name: "telemetry", sections, ..Setup::default() }).await;
    let client = edge.client(true);
    for (from, traced) in [(0, true), (40, false)] {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "telemetry", from, 40);
        let mut call = Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body);
        if traced {
            call.headers.push(("traceparent".to_owned(), format!("00-{TRACE}-00f067aa0ba902b7-01")));
        }
        assert_eq!(client.send(call).await.status, 200);
    }
    // A line that is bad enough: a table that is gone holds its rows.
    let rename = |from: &str, to: &str| format!("RENAME TABLE {0}.{from} TO {0}.{to}", edge.database);
    clickhouse.query(&rename("otel_traces", "elsewhere"), "TabSeparated").await.expect("renamed");
    let body = numbered(Signal::Traces, Protocol::HttpProtobuf, "telemetry", 0, 1);
    assert_ne!(client.send(Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body)).await.status, 200);
    clickhouse.query(&rename("elsewhere", "otel_traces"), "TabSeparated").await.expect("renamed");

    let ask = async |sql: &str| {
        let sql = sql.replace("FROM ", &format!("FROM {}.", edge.database));
        clickhouse.query(&sql, "TabSeparated").await.unwrap_or_default().trim().to_owned()
    };
    let document = include_str!("../../docs/telemetry.md");
    let usage =
        document.split_once("    SELECT ").and_then(|(_, rest)| rest.split_once("\n\n")).expect("a statement").0;
    let usage = format!("SELECT {usage}")
        .replace("toStartOfMonth(now() - INTERVAL 1 MONTH)", "now() - INTERVAL 1 DAY")
        .replace("toStartOfMonth(now())", "now() + INTERVAL 1 DAY")
        .replace("received_bytes", "received_records");
    for (sql, answer) in [
        (usage.as_str(), "all\tlogs\t80"),
        (
            "SELECT count() > 0 FROM otel_metrics_gauge WHERE ServiceName = 'otelgate' AND MetricName = 'otelgate_connections_open'",
            "1",
        ),
        ("SELECT count() > 0 FROM otel_metrics_histogram WHERE MetricName = 'otelgate_request_seconds'", "1"),
        (
            "SELECT count() > 0 FROM otel_logs WHERE ServiceName = 'otelgate' AND lower(SeverityText) IN ('warn', 'error')",
            "1",
        ),
        (
            &format!(
                "SELECT ParentSpanId, SpanAttributes['otelgate.key'], SpanAttributes['otelgate.records'] FROM otel_traces WHERE TraceId = '{TRACE}'"
            ),
            "00f067aa0ba902b7\tall\t40",
        ),
        ("SELECT count() FROM otel_traces WHERE ServiceName = 'otelgate' AND SpanName = '/v1/logs'", "2"),
        ("SELECT count() FROM otel_metrics_sum WHERE Attributes['key'] = 'otelgate'", "0"),
    ] {
        assert_eq!(eventually(answer.to_owned(), async || ask(sql).await).await, answer, "{sql}: {}", edge.logged());
    }
    edge.stop().await;
}

#[tokio::test]
async fn while_clickhouse_is_away_it_takes_no_more_than_its_share() {
    let clickhouse = clickhouse().await;
    let spool = tempfile::tempdir().expect("a folder");
    let sections = format!(
        "spool: {{ dir: '{}', min_free_bytes: 0MiB }}\nbatch: {{ max_age: 100ms }}\n\
         telemetry: {{ metrics: 1s, logs: info, traces: 1, max_spool_bytes: 4KiB }}\n",
        spool.path().display()
    );
    let setup = Setup { name: "telemetry_away", sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let admin = edge.gateway.admin.clone();
    let drop = format!("DROP DATABASE {}", edge.database);
    clickhouse.query(&drop, "TabSeparated").await.expect("dropped");
    let held = async || {
        let status: Value = serde_json::from_str(&get_text(&admin, "/status").await.1).expect("JSON");
        status["spool"]["bytes_by_key"]["otelgate"].as_u64().unwrap_or(0)
    };
    let dropped = async || get_text(&admin, "/metrics").await.1.contains("otelgate_telemetry_dropped_records_total{");
    assert!(eventually(true, dropped).await, "{} bytes: {}", held().await, edge.logged());
    // What was let in last may pass the limit, by one request of each signal.
    let full = held().await;
    assert!((4 << 10..64 << 10).contains(&full), "{full}");
    // Others are not held up by it.
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "telemetry", 0, 1);
    let call = Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body);
    assert_eq!(edge.client(true).send(call).await.status, 200);
    assert!(held().await < 64 << 10);
    edge.stop().await;
}
