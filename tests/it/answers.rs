//! The answer table: every reason to refuse, over gRPC and both HTTP encodings: status, retry advice and body, and that
//! nothing was stored.

use std::time::Duration;

use otelgate::signal::Signal;
use prost::Message;
use tonic_types::StatusExt;

use crate::support::clickhouse;
use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::compress::compress;
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;

/// The longest time that an answer tells a client to wait.
const MOST_ADVICE: Duration = Duration::from_secs(3600);

/// `google.rpc.Status`.
#[derive(Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What a row of the table expects.
struct Expected {
    http: u16,
    grpc: i32,
    retry: bool,
}

const fn refused(http: u16, grpc: i32) -> Expected {
    Expected { http, grpc, retry: false }
}

const fn again(http: u16, grpc: i32) -> Expected {
    Expected { http, grpc, retry: true }
}

const ACCEPTED: Expected = refused(200, 0);

const KEYS: [(&str, &str); 7] = [
    ("expired", "expires: 2020-01-01T00:00:00Z"),
    ("disabled", "enabled: false"),
    ("logs-only", "signals: [logs]"),
    ("few-requests", "limits: { requests_per_second: 1, burst: 1s }"),
    ("few-records", "limits: { records_per_second: 10, burst: 1s }"),
    ("few-bytes", "limits: { bytes_per_second: 16KiB, burst: 1s }"),
    ("tiny", "limits: { records_per_second: 10, bytes_per_second: 1KiB, burst: 1s }"),
];

/// Nobody's key; it must appear in no answer and no log.
const WRONG_KEY: &str = "wrong-key-4711";

const SECTIONS: &str = "request:\n  max_body_bytes: 1MiB\n  max_records: 1000\n";

#[tokio::test]
async fn every_refusal_in_every_protocol() {
    let clickhouse = clickhouse().await;
    let setup = Setup { name: "answers", sections: SECTIONS, keys: &KEYS, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let client = edge.client(true);
    for protocol in Protocol::ALL {
        for (name, call, expected) in rows(protocol) {
            let answer = client.send(call).await;
            // Who names no OTLP is a person, and reads words.
            if name == "wrong content type" {
                assert_eq!((answer.status, answer.text("content-type")), (415, Some("text/plain; charset=utf-8")));
                assert!(answer.body.starts_with(b"unsupported content type"), "{answer:?}");
                continue;
            }
            check(name, protocol, &answer, &expected);
        }
        over_limits(&client, protocol).await;
    }
    let stored = clickhouse
        .number(&format!("SELECT count() FROM {}.otel_traces WHERE ServiceName LIKE 'refused%'", edge.database))
        .await
        .expect("a number");
    assert_eq!(stored, 0, "a refused request left records");
    let logged = edge.logged();
    assert!(!logged.contains(KEY) && !logged.contains(WRONG_KEY), "a key is in the log");
    edge.stop().await;
}

/// Rows whose answer does not depend on what was sent before.
fn rows(protocol: Protocol) -> Vec<(&'static str, Call, Expected)> {
    let good = || numbered(Signal::Traces, protocol, "refused", 0, 3);
    let with = |key: &str| Call::export(protocol, Signal::Traces, key, good());
    let body = |body: Vec<u8>| Call::export(protocol, Signal::Traces, KEY, body);
    let mut gzip = compress("gzip", &numbered(Signal::Traces, protocol, "refused", 0, 100));
    gzip.truncate(gzip.len() / 2);
    let mut malformed = good();
    malformed.truncate(malformed.len() - 2);
    let grpc = protocol == Protocol::Grpc;
    let mut rows = vec![
        ("no key", with(""), refused(401, 16)),
        ("wrong key", with(WRONG_KEY), refused(401, 16)),
        ("expired key", with("expired"), refused(401, 16)),
        ("disabled key", with("disabled"), refused(401, 16)),
        ("two keys", with(KEY).header("x-api-key", "another"), refused(401, 16)),
        ("wrong signal", with("logs-only"), refused(403, 7)),
        (
            "larger than the burst (records)",
            Call::export(protocol, Signal::Traces, "few-records", numbered(Signal::Traces, protocol, "refused", 0, 11)),
            refused(413, 3),
        ),
        (
            "larger than the burst (bytes)",
            Call::export(
                protocol,
                Signal::Traces,
                "tiny",
                numbered(Signal::Traces, protocol, "refused-".repeat(300).as_str(), 0, 1),
            ),
            refused(413, 3),
        ),
        ("oversize after inflation", body(compress("gzip", &vec![0; 2 << 20])).encoding("gzip"), refused(413, 3)),
        ("oversize", body(vec![0; 2 << 20]), refused(413, 3)),
        ("too many records", body(numbered(Signal::Traces, protocol, "refused", 0, 1001)), refused(413, 3)),
        ("malformed", body(malformed), refused(400, 3)),
        ("truncated gzip", body(gzip).encoding("gzip"), refused(400, 3)),
        ("unknown encoding", body(good()).encoding("br"), refused(415, 12)),
        ("empty request", body(if protocol == Protocol::HttpJson { b"{}".to_vec() } else { Vec::new() }), ACCEPTED),
    ];
    let mut wrong_path = with(KEY);
    wrong_path.path =
        if grpc { "/opentelemetry.proto.collector.trace.v1.TraceService/Import".into() } else { "/v1/spans".into() };
    rows.push(("wrong path", wrong_path, refused(404, 12)));
    rows.push(("profiles", Call::export(protocol, Signal::Profiles, KEY, good()), refused(404, 12)));
    let mut wrong_method = with(KEY);
    wrong_method.method = http::Method::PUT;
    rows.push(("wrong method", wrong_method, refused(405, 12)));
    rows.push(("wrong content type", with(KEY).set("content-type", "text/plain"), refused(415, 3)));
    rows
}

/// Rows that spend a key's allowance first: of four requests at once at least one is over it.
async fn over_limits(client: &Client, protocol: Protocol) {
    // JSON is charged as the protobuf that it becomes, so the size of that counts.
    let ten_kib =
        (1..).find(|records| numbered(Signal::Traces, Protocol::Grpc, "allowed", 0, *records).len() > 10 << 10);
    let keys = [("few-requests", 1), ("few-records", 8), ("few-bytes", ten_kib.expect("found"))];
    for (key, records) in keys {
        let send = || {
            let body = numbered(Signal::Traces, protocol, "allowed", 0, records);
            client.send(Call::export(protocol, Signal::Traces, key, body))
        };
        let answers = tokio::join!(send(), send(), send(), send());
        let answers = [answers.0, answers.1, answers.2, answers.3];
        let refused = answers.iter().find(|answer| !answer.accepted(protocol));
        let refused = refused.unwrap_or_else(|| panic!("{key}, {protocol:?}: none is over the limit: {answers:?}"));
        check(key, protocol, refused, &again(429, 8));
        assert!(answers.iter().any(|answer| answer.accepted(protocol)), "{key}: {answers:?}");
    }
}

fn check(name: &str, protocol: Protocol, answer: &Answer, expected: &Expected) {
    let context = format!("{name}, {protocol:?}: {answer:?}");
    let (accepted, message) = match protocol {
        Protocol::Grpc => check_grpc(answer, expected, &context),
        _ => check_http(protocol, answer, expected, &context),
    };
    assert_eq!(accepted, expected.http == 200, "{context}");
    if accepted {
        return;
    }
    assert!(!message.is_empty(), "{context}");
    assert!(!message.contains(WRONG_KEY), "the answer repeats the key: {context}");
    if expected.http == 413 {
        let limits = ["max_body_bytes", "max_records", "records_per_second", "bytes_per_second"];
        assert!(limits.iter().any(|limit| message.contains(limit)), "the answer names no limit: {context}");
    }
    assert_eq!(name == "profiles", message.contains("profiles"), "{context}");
    if name == "unknown encoding" && protocol == Protocol::Grpc {
        assert!(answer.text("grpc-accept-encoding").is_some_and(|known| known.contains("gzip")), "{context}");
    }
}

/// Whether it is accepted, and the message.
fn check_grpc(answer: &Answer, expected: &Expected, context: &str) -> (bool, String) {
    assert_eq!(answer.status, 200, "{context}");
    let headers = if answer.trailers.is_empty() { &answer.headers } else { &answer.trailers };
    let status = tonic::Status::from_header_map(headers).expect("grpc-status");
    assert_eq!(i32::from(status.code()), expected.grpc, "{context}");
    let advice = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(advice.is_some(), expected.retry, "{context}");
    assert!(advice.is_none_or(|advice| !advice.is_zero() && advice <= MOST_ADVICE), "{context}");
    (status.code() == tonic::Code::Ok, status.message().to_owned())
}

/// Whether it is accepted, and the message of the `google.rpc.Status` in the request's own encoding.
fn check_http(protocol: Protocol, answer: &Answer, expected: &Expected, context: &str) -> (bool, String) {
    assert_eq!(answer.status, expected.http, "{context}");
    let advice = answer.text("retry-after").map(|value| Duration::from_secs(value.parse().expect("seconds")));
    assert_eq!(advice.is_some(), expected.retry, "{context}");
    assert!(advice.is_none_or(|advice| !advice.is_zero() && advice <= MOST_ADVICE), "{context}");
    let json = protocol == Protocol::HttpJson;
    let content_type = if json { "application/json" } else { "application/x-protobuf" };
    assert_eq!(answer.text("content-type"), Some(content_type), "{context}");
    let message = if json {
        let status: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        status["message"].as_str().unwrap_or_default().to_owned()
    } else {
        Status::decode(answer.body.clone()).expect("google.rpc.Status").message
    };
    (answer.status == 200, message)
}
