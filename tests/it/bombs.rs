//! Requests that are small on the wire and huge inside cost bounded memory and get 413 / INVALID_ARGUMENT.

use std::io::Read;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelgate::signal::Signal;
use prost::Message;

use crate::support::clickhouse;
use crate::support::client::{Answer, Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, attribute, logs, resource, text};

/// What a bomb may cost: the body limit (64 MiB) twice over and the program itself, far from what is inside.
const MAX_PEAK: u64 = 300 << 20;

#[tokio::test]
async fn bombs_cost_bounded_memory() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "bombs", ..Setup::default() }).await;
    let client = edge.client(true);
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let answer =
            client.send(Call::export(protocol, Signal::Traces, KEY, gzip_of_zeros(10 << 30)).encoding("gzip")).await;
        assert_too_large(protocol, &answer);
        let answer = client.send(Call::export(protocol, Signal::Traces, KEY, large_resource_times_a_million())).await;
        assert_too_large(protocol, &answer);
    }
    // Some kilobytes of gzip that made whoever copied a path for each element copy gigabytes: answered, whatever the answer is.
    for (key, elements) in [(8 << 20, 200_000), (1 << 20, 1_000_000)] {
        let body = gzip(&a_long_key_over_many_elements(key, elements));
        assert!(body.len() < 100_000, "{}", body.len());
        let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body).encoding("gzip")).await;
        assert!(matches!(answer.status, 200 | 413), "{answer:?}");
    }
    let peak = peak_memory(edge.gateway.process.pid().expect("running"));
    assert!(peak < MAX_PEAK, "peak memory {} MiB", peak >> 20);
    let rows =
        clickhouse.number(&format!("SELECT count() FROM {}.otel_traces", edge.database)).await.expect("a number");
    assert_eq!(rows, 0);
    edge.stop().await;
}

/// Of zeros, which are no protobuf, and of a resource that is repeated in each of its spans.
#[tokio::test]
async fn a_key_that_floods_with_bombs_costs_another_key_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let sections =
        format!("spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_age: 100ms }}\n", folder.path().display());
    let setup = Setup { name: "bomb_flood", keys: &[("bomber", "")], sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let [zeros, grows] = [(Signal::Logs, gzip_of_zeros(64 << 20)), (Signal::Traces, gzip(&grows_into_columns()))]
        .map(|(signal, body)| Call::export(Protocol::HttpProtobuf, signal, "bomber", body).encoding("gzip"));
    let client = Arc::new(edge.client(false));
    let floods: Vec<_> = [&zeros, &grows, &zeros, &grows, &zeros, &grows, &zeros, &grows]
        .map(|bomb| {
            let (client, bomb) = (client.clone(), bomb.clone());
            tokio::spawn(async move {
                loop {
                    let answer = client.send(bomb.clone()).await;
                    assert!(matches!(answer.status, 200 | 400 | 429 | 503), "{answer:?}");
                }
            })
        })
        .into();
    let good = edge.client(true);
    for _ in 0..40 {
        let body = logs("good", vec![LogRecord { time_unix_nano: MOMENT, ..Default::default() }]);
        let answer = good.send(Call::export(Protocol::Grpc, Signal::Logs, KEY, body)).await;
        assert!(answer.accepted(Protocol::Grpc), "{answer:?}");
    }
    for flood in floods {
        assert!(!flood.is_finished(), "{:?}", flood.await);
        flood.abort();
    }
    edge.stop().await;
}

fn assert_too_large(protocol: Protocol, answer: &Answer) {
    if protocol == Protocol::Grpc {
        assert_eq!(answer.grpc_status(), Some(3), "{answer:?}");
        assert!(answer.text("grpc-status-details-bin").is_none(), "RetryInfo would have it sent for ever: {answer:?}");
    } else {
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(!answer.headers.contains_key("retry-after"));
    }
}

/// About 10 MB of gzip for 10 GB of zeros, made of one compressed megabyte repeated as gzip members.
fn gzip_of_zeros(size: u64) -> Vec<u8> {
    let member_size = 64 << 20;
    let mut member = Vec::new();
    let zeros = std::io::repeat(0).take(member_size);
    flate2::read::GzEncoder::new(zeros, flate2::Compression::fast()).read_to_end(&mut member).expect("in memory");
    member.repeat(usize::try_from(size / member_size).expect("small"))
}

/// A resource of 1 MiB and a million spans of nothing but a time that is kept: 14 MiB on the wire, a terabyte of columns.
fn large_resource_times_a_million() -> Vec<u8> {
    let mut resource = resource("bomb");
    resource.attributes.push(attribute("large", text(&"x".repeat(1 << 20))));
    let span = Span { start_time_unix_nano: MOMENT, ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span; 1_000_000], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A resource of 60 KiB and 2,000 empty spans: 120 MiB of columns.
fn grows_into_columns() -> Vec<u8> {
    let mut resource = resource("grows");
    resource.attributes.push(attribute("large", text(&"x".repeat(60 << 10))));
    let span = Span { start_time_unix_nano: MOMENT, ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span; 2000], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A log record whose attribute has a key so long, over so many empty maps in a list.
fn a_long_key_over_many_elements(key: usize, elements: usize) -> Vec<u8> {
    let empty = AnyValue { value: Some(Value::KvlistValue(KeyValueList::default())) };
    let list = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![empty; elements] })) };
    let attributes = vec![attribute(&"k".repeat(key), list)];
    logs("bomb", vec![LogRecord { time_unix_nano: MOMENT, attributes, ..Default::default() }])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut compressed).expect("in memory");
    compressed
}

/// VmHWM of a process, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}
