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
