//! Rows that ClickHouse would drop at once, or whose time it would make another: they are not stored, and client, log, metrics and `/status` say so.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelgate::signal::Signal;
use prost::Message;
use serde_json::{Value, json};

use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{logs, metrics, table, traces};
use crate::support::{clickhouse, eventually, get_text};

const DAYS_30: &str = "{ logs: 30d, traces: 30d, metrics: 30d, sessions: 30d }";
/// 2018-12-13, as in OTLP's own example files.
const OF_2018: u64 = 1_544_712_660_000_000_000;
const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// A request with a record of each of these times, in the form of OTLP's examples.
fn body(signal: Signal, protocol: Protocol, times: &[u64]) -> Vec<u8> {
    let (trace_id, span_id) = (vec![0x5b; 16], vec![0xee; 8]);
    match (signal, protocol) {
        (_, Protocol::HttpJson) => json_body(signal, times).to_string().into_bytes(),
        (Signal::Traces, _) => {
            let span = |time: &u64| Span {
                trace_id: trace_id.clone(),
                span_id: span_id.clone(),
                name: "I'm a server span".to_owned(),
                start_time_unix_nano: *time,
                end_time_unix_nano: time.saturating_add(1_000_000_000),
                ..Default::default()
            };
            traces("my.service", times.iter().map(span).collect())
        }
        (Signal::Logs, _) => logs(
            "my.service",
            times.iter().map(|time| LogRecord { time_unix_nano: *time, ..Default::default() }).collect(),
        ),
        _ => metrics(
            "my.service",
            times.iter().map(|time| NumberDataPoint { time_unix_nano: *time, ..Default::default() }).collect(),
        ),
    }
}

fn json_body(signal: Signal, times: &[u64]) -> Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]});
    let record = |time: &u64| match signal {
        Signal::Traces => json!({
            "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "name": "I'm a server span",
            "startTimeUnixNano": time.to_string(), "endTimeUnixNano": time.saturating_add(1_000_000_000).to_string(), "kind": 2,
        }),
        Signal::Logs => json!({
            "timeUnixNano": time.to_string(), "severityNumber": 10, "severityText": "Information",
            "body": {"stringValue": "Example log record"},
        }),
        _ => json!({"asDouble": 10, "timeUnixNano": time.to_string()}),
    };
    let records: Vec<Value> = times.iter().map(record).collect();
    match signal {
        Signal::Traces => json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": records}]}]}),
        Signal::Logs => json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}),
        _ => json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
            {"name": "my.gauge", "gauge": {"dataPoints": records}}]}]}]}),
    }
}

/// What the answer's `partial_success` says; nothing when it has none.
fn rejected(signal: Signal, protocol: Protocol, answer: &Answer) -> (u64, String) {
    assert!(answer.accepted(protocol), "{answer:?}");
    if protocol == Protocol::HttpJson {
        let partial = &serde_json::from_slice::<Value>(&answer.body).expect("JSON")["partialSuccess"];
        let count = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"]
            .iter()
            .find_map(|name| partial[*name].as_str()?.parse().ok());
        return (count.unwrap_or(0), partial["errorMessage"].as_str().unwrap_or_default().to_owned());
    }
    let message = if protocol == Protocol::Grpc { &answer.body[5..] } else { &answer.body[..] };
    let read = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(message)
            .expect("an answer")
            .partial_success
            .map(|partial| (partial.rejected_spans, partial.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(message)
            .expect("an answer")
            .partial_success
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
        _ => ExportMetricsServiceResponse::decode(message)
            .expect("an answer")
            .partial_success
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
    };
    let (count, message) = read.unwrap_or_default();
    (u64::try_from(count).expect("a count"), message)
}

async fn send(client: &Client, signal: Signal, protocol: Protocol, times: &[u64]) -> (u64, String) {
    let answer = client.send(Call::export(protocol, signal, KEY, body(signal, protocol, times))).await;
    rejected(signal, protocol, &answer)
}

#[tokio::test]
async fn rows_past_their_time_to_live_are_named_and_the_others_stored() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "old_rows", ttl: DAYS_30, ..Setup::default() }).await;
    let client = edge.client(true);
    let protocols = [Protocol::HttpJson, Protocol::HttpProtobuf, Protocol::Grpc];
    for signal in SIGNALS {
        for protocol in protocols {
            let (records, why) = send(&client, signal, protocol, &[OF_2018, now(), 0]).await;
            let said = format!("which {} keeps", table(signal));
            assert!(records == 2 && why.contains("older than 30 days") && why.contains(&said), "{records} {why}");
            let (records, why) = send(&client, signal, protocol, &[OF_2018]).await;
            assert!(records == 1 && why.starts_with("1 "), "{records} {why}");
            let late = [u64::MAX, 4_300_000_000_000_000_000, now()];
            let (records, why) = send(&client, signal, protocol, &late).await;
            let said = format!("later than 2106-01-08T06:28:15Z, which {} cannot hold with its TTL", table(signal));
            assert!(records == 2 && why.contains(&said), "{records} {why}");
            assert_eq!(send(&client, signal, protocol, &[now()]).await, (0, String::new()));
        }
        let rows = format!("SELECT count() FROM {}.{}", edge.database, table(signal));
        assert_eq!(clickhouse.number(&rows).await.expect("a number"), 9, "{signal}");
    }
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    for signal in SIGNALS {
        let of = |reason| format!("{{key=\"all\",table=\"{}\",reason=\"{reason}\"}}", table(signal));
        for (reason, records) in [("too_old", 9), ("too_late", 6)] {
            let line = format!("otelgate_records_unkept_total{} {records}\n", of(reason));
            assert!(metrics.contains(&line), "no {line} in {metrics}");
        }
        let said = format!("which {} keeps", table(signal));
        assert_eq!(edge.logged().matches(&said).count(), 1, "said once: {}", edge.logged());
    }
    let status: Value = serde_json::from_str(&get_text(&edge.gateway.admin, "/status").await.1).expect("JSON");
    assert_eq!(status["keys"]["all"]["entries"][0]["unkept_records"], 45);
    assert_eq!(status["rows"]["accepted"], 27, "the others are no part of the account");
    edge.stop().await;
}

/// What counts is the table as it is, and ClickHouse's clock.
#[tokio::test]
async fn the_time_to_live_is_the_tables_own() {
    let clickhouse = clickhouse().await;
    let setup = Setup { name: "own_ttl", ttl: DAYS_30, sink: "schema_max_age: 1s", ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let client = edge.client(true);
    let alter = async |change: &str| {
        let alter = format!("ALTER TABLE {}.otel_logs {change}", edge.database);
        clickhouse.query(&alter, "TabSeparated").await.expect("altered");
    };
    let old = now() - 10 * 86_400 * 1_000_000_000;
    let of = async |time| send(&client, Signal::Logs, Protocol::HttpProtobuf, &[time]).await;
    assert_eq!(of(old).await.0, 0);
    alter("MODIFY TTL toDateTime(Timestamp) + INTERVAL 1 WEEK").await;
    assert_eq!(eventually(1, async || of(old).await.0).await, 1, "{}", edge.logged());
    // Nothing is inserted any more, and yet it is seen that the table keeps more now.
    alter("REMOVE TTL").await;
    for time in [old, OF_2018, 0] {
        assert_eq!(eventually(0, async || of(time).await.0).await, 0, "{}", edge.logged());
    }
    assert_eq!(of(u64::MAX).await.0, 1, "no column holds that");
    alter("MODIFY TTL toDateTime(Timestamp) + INTERVAL 1 DAY DELETE WHERE SeverityNumber < 9").await;
    let said = async || {
        of(now()).await;
        edge.logged().matches("WHERE SeverityNumber < 9").count()
    };
    assert_eq!(eventually(1, said).await, 1, "{}", edge.logged());
    assert_eq!(of(OF_2018).await.0, 0, "whom it drops is not known");
    edge.stop().await;
}

/// The same request again, whose answer did not arrive, is told the same: also by the next process.
#[tokio::test]
async fn a_repeat_is_told_the_same() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sections =
        format!("spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_age: 100ms }}\n", folder.path().display());
    let setup = Setup { name: "old_repeat", ttl: DAYS_30, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let body = body(Signal::Traces, Protocol::HttpProtobuf, &[OF_2018, now()]);
    let call = || Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body.clone());
    let first = edge.client(true).send(call()).await;
    let edge = edge.start_again().await;
    let again = edge.client(true).send(call()).await;
    assert_eq!(rejected(Signal::Traces, Protocol::HttpProtobuf, &first).0, 1);
    assert_eq!(again.body, first.body);
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_requests_joined_total 1\n"), "{metrics}");
    let rows = format!("SELECT count() FROM {}.otel_traces", edge.database);
    assert_eq!(eventually(1, async || clickhouse.number(&rows).await.expect("a number")).await, 1);
    edge.stop().await;
}
