//! Requests that are small on the wire and huge inside cost bounded memory and get 413 / RESOURCE_EXHAUSTED.

use std::io::Read;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelgate::signal::Signal;
use prost::Message;

use crate::support::clickhouse;
use crate::support::client::{Answer, Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{attribute, resource, text};

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
    let peak = peak_memory(edge.gateway.process.pid().expect("running"));
    assert!(peak < MAX_PEAK, "peak memory {} MiB", peak >> 20);
    let rows =
        clickhouse.number(&format!("SELECT count() FROM {}.otel_traces", edge.database)).await.expect("a number");
    assert_eq!(rows, 0);
    edge.stop().await;
}

fn assert_too_large(protocol: Protocol, answer: &Answer) {
    if protocol == Protocol::Grpc {
        assert_eq!(answer.grpc_status(), Some(8), "{answer:?}");
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

/// A resource of 1 MiB and a million empty spans: 3 MiB on the wire, a terabyte of columns.
fn large_resource_times_a_million() -> Vec<u8> {
    let mut resource = resource("bomb");
    resource.attributes.push(attribute("large", text(&"x".repeat(1 << 20))));
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 1_000_000], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// VmHWM of a process, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}
