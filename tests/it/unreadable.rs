//! What cannot be read costs itself and not its neighbours: half a character, a name in another form, a record that nests too deep.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use otelgate::signal::Signal;
use prost::Message;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, logs, text};
use crate::support::{clickhouse, eventually};

/// Levels of lists: more than 100 messages, and more than 128 levels of JSON.
const DEEP: usize = 60;

#[tokio::test]
async fn what_cannot_be_read_costs_itself() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "unreadable", ..Setup::default() }).await;
    let client = edge.client(true);
    let record = |body| LogRecord { time_unix_nano: MOMENT, body: Some(body), ..Default::default() };
    let nested = (0..DEEP)
        .fold(text("x"), |value, _| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) });
    for (service, protocol) in [("grpc", Protocol::Grpc), ("http", Protocol::HttpProtobuf)] {
        let body = logs(service, vec![record(text("one")), record(nested.clone()), record(text("two"))]);
        let answer = client.send(Call::export(protocol, Signal::Logs, KEY, body)).await;
        assert!(answer.accepted(protocol), "{answer:?}");
        let start = if protocol == Protocol::Grpc { 5 } else { 0 };
        let told = ExportLogsServiceResponse::decode(&answer.body[start..]).expect("an answer").partial_success;
        let error_message = "1 records nest too deep".to_owned();
        assert_eq!(told, Some(ExportLogsPartialSuccess { rejected_log_records: 1, error_message }), "{service}");
    }
    // An SDK's numbers and names in their original form, one body cut in the middle of an emoji, one record that nests too deep.
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(DEEP), "]}}".repeat(DEEP));
    let resource = r#"{"attributes":[{"key":"service.name","value":{"string_value":"json"}}]}"#;
    let records = format!(
        r#"{{"time_unix_nano":{MOMENT},"severity_number":17,"severity_text":"Error","body":{{"stringValue":"one"}}}},
           {{"timeUnixNano":"{MOMENT}","body":{{"string_value":"cut \ud83d"}},"attributes":[{{"key":"deep","value":{deep}}}]}},
           {{"timeUnixNano":"{MOMENT}","body":{{"string_value":"cut \ud83d"}}}}"#
    );
    let body =
        format!(r#"{{"resource_logs":[{{"resource":{resource},"scope_logs":[{{"log_records":[{records}]}}]}}]}}"#);
    let answer = client.send(Call::export(Protocol::HttpJson, Signal::Logs, KEY, body.into_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = String::from_utf8_lossy(&answer.body);
    assert!(told.contains("1 records nest too deep"), "{told}");

    let all = logs("none", vec![record(nested)]);
    let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, all)).await;
    assert_eq!(answer.status, 400, "nothing is left of it: {answer:?}");

    let count = format!("SELECT count() FROM {}.otel_logs", edge.database);
    eventually(6, async || clickhouse.number(&count).await.expect("a number")).await;
    let rows = format!(
        "SELECT ServiceName, Body, SeverityText, SeverityNumber FROM {}.otel_logs ORDER BY ServiceName, Body DESC",
        edge.database
    );
    let rows = clickhouse.query(&rows, "TabSeparated").await.expect("rows");
    let expected = "grpc\ttwo\tinfo\t9\ngrpc\tone\tinfo\t9\nhttp\ttwo\tinfo\t9\nhttp\tone\tinfo\t9\n\
                    json\tone\terror\t17\njson\tcut \u{fffd}\tinfo\t9\n";
    assert_eq!(rows, expected);
    edge.stop().await;
}
