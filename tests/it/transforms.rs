//! Logs as ClickStack's collector would have changed them, and as they came when that is switched off.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use otelgate::signal::Signal;
use prost::Message;

use crate::support::clickhouse;
use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, attribute, text};

#[tokio::test]
async fn a_json_body_becomes_attributes_unless_it_is_switched_off() {
    let on = r#"{'own':'yes','order.id':'7','Level':'WARN'} warn 13"#;
    let off = r#"{'own':'yes'}  0"#;
    for (name, sections, expected) in
        [("transform_on", "", on), ("transform_off", "logs: { clickstack_transform: false }", off)]
    {
        let clickhouse = clickhouse().await;
        let edge = Edge::start(clickhouse, Setup { name, sections, ..Setup::default() }).await;
        let answer = edge.client(true).send(Call::export(Protocol::Grpc, Signal::Logs, KEY, log())).await;
        assert!(answer.accepted(Protocol::Grpc), "{answer:?}");
        let question = format!(
            "SELECT concat(toString(LogAttributes), ' ', SeverityText, ' ', toString(SeverityNumber)) FROM {}.otel_logs",
            edge.database
        );
        let stored = clickhouse.query(&question, "TSVRaw").await.expect("an answer");
        let words = |text: &str| {
            let mut words: Vec<_> = text.split(['{', '}', ',', '\n', ' ']).map(str::to_owned).collect();
            words.retain(|word| !word.is_empty());
            words.sort();
            words
        };
        assert_eq!(words(&stored), words(expected), "{stored}");
        edge.stop().await;
    }
}

fn log() -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: MOMENT,
        body: Some(text(r#"placed {"order":{"id":7},"Level":"WARN"}"#)),
        attributes: vec![attribute("own", text("yes"))],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

/// Fields of a log record, body, and what the row says of its severity: what ClickStack's smoke tests of its collector look at, in the names that they use.
const SEVERITIES: [(&str, &str, &str); 22] = [
    (r#""severity_number": 17, "severity_text": "ErRoR""#, "it was said", "error 17"),
    (r#""severityNumber": 21, "severityText": "CRITICAL""#, "it was said", "critical 21"),
    (r#""severity_number": 13, "severity_text": "warning""#, "it was said", "warning 13"),
    (r#""severity_number": 0, "severity_text": "debug""#, "[INFO] its text is there", "debug 0"),
    (r#""severity_number": 9"#, "[warn] its number is there", " 9"),
    ("", "warn: the disk is slow", "warn 13"),
    ("", "app=1, notice: the disk is slower", "warn 13"),
    ("", "WARNING: the disk is full", "warn 13"),
    ("", "CRITICAL: no connection is left", "fatal 21"),
    ("", "Emerg: somebody has to come", "fatal 21"),
    ("", "ERRORS were found", "error 17"),
    ("", "DEBUGGING from here on", "debug 5"),
    ("", "TRACED through the shop", "trace 1"),
    ("", "Forewarned and backtraced, abErr1", "info 9"),
    ("", "nothing of the kind", "info 9"),
    ("", r#"{\"level\":\"warn\",\"msg\":\"a logger of Node\"}"#, "warn 13"),
    ("", r#"{\"Level\":\"Information\",\"msg\":\"a logger of .NET\"}"#, "information 9"),
    ("", r#"{\"SEVERITY\":\"ERROR\",\"message\":\"a logger of Google\"}"#, "error 17"),
    ("", r#"{\"log\":{\"level\":\"fatal\"},\"message\":\"nested\"}"#, "fatal 21"),
    ("", r#"{\"level\":\"INFO\",\"msg\":\"alertmanager is only named\"}"#, "info 9"),
    ("", r#"{\"level\":\"verbose\",\"msg\":\"a level of its own\"}"#, "verbose 9"),
    (r#""severity_text": "info""#, r#"{\"level\":\"warn\",\"msg\":\"the producer counts\"}"#, "info 0"),
];

#[tokio::test]
async fn a_severity_is_taken_or_inferred_as_clickstacks_smoke_tests_expect() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "severities", ..Setup::default() }).await;
    let late = format!("{} FATAL and ERROR come too late", "the words that count stand at the beginning, ".repeat(6));
    let cases = SEVERITIES.into_iter().chain([("", late.as_str(), "info 9")]).enumerate();
    let (mut records, mut expected) = (Vec::new(), Vec::new());
    for (number, (fields, body, severity)) in cases {
        let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
        let time = MOMENT + number as u64;
        records.push(format!(r#"{{"timeUnixNano": "{time}", "body": {{"stringValue": "{body}"}}{fields}}}"#));
        expected.push(severity);
    }
    let document =
        format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"scope": {{}}, "logRecords": [{}]}}]}}]}}"#, records.join(","));
    let call = Call::export(Protocol::HttpJson, Signal::Logs, KEY, document.into_bytes());
    let answer = edge.client(false).send(call).await;
    assert!(answer.accepted(Protocol::HttpJson), "{answer:?}");
    let question = format!(
        "SELECT concat(SeverityText, ' ', toString(SeverityNumber)) FROM {}.otel_logs ORDER BY Timestamp",
        edge.database
    );
    let stored = clickhouse.query(&question, "TSVRaw").await.expect("an answer");
    assert_eq!(stored.lines().collect::<Vec<_>>(), expected);
    edge.stop().await;
}
