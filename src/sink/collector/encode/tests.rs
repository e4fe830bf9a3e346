//! Chunks against prost's messages: what is sealed is what was sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use stack::Samples;

use super::*;
use crate::chunk::{ChunkEncoder, EncodeError, Growth, SealedPart};
use crate::otlp::stamp::Stamp;
use crate::signal::Signal;

const BIG: usize = 4 << 20;

fn chunk(signal: Signal, max: usize) -> OtlpChunk {
    OtlpChunk::new(signal, Arc::new(Messages::new(max)))
}

fn request(samples: &mut Samples, signal: Signal, records: usize) -> Vec<u8> {
    match signal {
        Signal::Traces => samples.traces_bytes(records),
        Signal::Logs => samples.logs_bytes(records),
        Signal::Metrics | Signal::Profiles => samples.metrics_bytes(records),
    }
}

fn keep(chunk: &mut OtlpChunk, request: &[u8]) -> u64 {
    let appended = chunk.append(request, &Growth::default()).unwrap();
    chunk.commit();
    appended.records
}

fn joined(parts: &[SealedPart]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.bytes.concat()).collect()
}

/// Every span with the resource and scope that it lies in.
fn spans(requests: &[u8]) -> Vec<(ResourceSpans, ScopeSpans, Span)> {
    let mut all = Vec::new();
    for resource in ExportTraceServiceRequest::decode(requests).unwrap().resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let place = ResourceSpans { scope_spans: Vec::new(), ..resource.clone() };
                all.push((place, ScopeSpans { spans: Vec::new(), ..scope.clone() }, span.clone()));
            }
        }
    }
    all
}

#[test]
fn what_is_sealed_is_what_was_committed() {
    for signal in Signal::STABLE {
        let mut samples = Samples::new(7);
        let mut chunk = chunk(signal, BIG);
        let (mut sent, mut records) = (Vec::new(), 0);
        for at in 0..20 {
            let bytes = request(&mut samples, signal, 1 + at * 7);
            if at % 5 == 0 {
                chunk.append(&bytes, &Growth::default()).unwrap();
                chunk.rollback();
                continue;
            }
            records += keep(&mut chunk, &bytes);
            sent.extend(bytes);
        }
        assert_eq!((chunk.size().requests, chunk.size().rows), (16, records));
        let parts = chunk.seal();
        assert_eq!((parts.len(), parts[0].rows()), (1, records));
        assert_eq!(&*parts[0].name.table, signal.name());
        assert!(joined(&parts) == sent, "canonical requests are copied as they are");
        assert_eq!(chunk.size(), crate::chunk::ChunkSize::default());
        assert!(chunk.seal().is_empty());
    }
}

#[test]
fn records_are_counted_as_prost_counts_them() {
    let mut samples = Samples::new(3);
    for records in [1, 10, 333] {
        for signal in Signal::STABLE {
            let bytes = request(&mut samples, signal, records);
            assert_eq!(keep(&mut chunk(signal, BIG), &bytes), records as u64, "{signal}");
        }
    }
}

#[test]
fn an_export_request_is_never_over_the_limit_and_holds_everything_once() {
    let mut samples = Samples::new(5);
    for max in [3000, 8000, 100_000] {
        let mut chunk = chunk(Signal::Traces, max);
        let mut sent = Vec::new();
        for _ in 0..3 {
            // One resource and one scope, larger than any of the limits but the last.
            let bytes = samples.traces_bytes(40);
            keep(&mut chunk, &bytes);
            sent.extend(bytes);
        }
        let parts = chunk.seal();
        assert!(parts.iter().all(|part| part.bytes.concat().len() <= max), "{max}");
        assert_eq!(spans(&joined(&parts)), spans(&sent));
        let mut by_request = BTreeMap::new();
        for (request, rows) in parts.iter().flat_map(|part| &part.rows_by_request) {
            *by_request.entry(*request).or_insert(0) += rows;
        }
        assert_eq!(by_request, BTreeMap::from([(0, 40), (1, 40), (2, 40)]));
        let numbers: Vec<i32> = parts.iter().map(|part| part.name.partition).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}

#[test]
fn frames_share_an_export_request_until_it_is_full() {
    let messages = Arc::new(Messages::new(100));
    assert_eq!(messages.place([60, 40, 1].into_iter(), false), [0, 0, 1]);
    assert_eq!(messages.place([99, 1].into_iter(), false), [1, 2]);
}

#[test]
fn one_record_over_the_limit_is_refused_and_leaves_nothing() {
    let mut chunk = chunk(Signal::Logs, 200);
    let bytes = Samples::new(1).logs_bytes(3);
    let refused = chunk.append(&bytes, &Growth::default());
    assert_eq!(refused, Err(EncodeError::TooLarge { limit: "sink.forward.max_message_bytes", max: 200 }));
    assert!(chunk.seal().is_empty());
}

#[test]
fn growth_is_bounded_though_headers_are_repeated() {
    let big = ResourceSpans {
        schema_url: "x".repeat(9_000),
        scope_spans: vec![ScopeSpans { spans: vec![Span::default(); 100_000], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let bytes = ExportTraceServiceRequest { resource_spans: vec![big] }.encode_to_vec();
    let growth = Growth { max_column_bytes: 1 << 20, ..Growth::default() };
    let refused = chunk(Signal::Traces, 10_000).append(&bytes, &growth);
    assert_eq!(refused, Err(EncodeError::TooLarge { limit: "max_column_bytes", max: 1 << 20 }));
    let growth = Growth { max_records: 99_999, ..Growth::default() };
    let refused = chunk(Signal::Traces, BIG).append(&bytes, &growth);
    assert_eq!(refused, Err(EncodeError::TooLarge { limit: "max_records", max: 99_999 }));
}

#[test]
fn a_range_of_records_is_a_run_of_pieces() {
    for signal in Signal::STABLE {
        let mut samples = Samples::new(11);
        let mut chunk = chunk(signal, BIG);
        let requests: Vec<Vec<u8>> = (1..9).map(|records| request(&mut samples, signal, records * 3)).collect();
        for bytes in &requests {
            keep(&mut chunk, bytes);
        }
        let part = chunk.seal().remove(0);
        let body = Bytes::from(part.bytes.concat());
        let half = body.len() - requests[7].len();
        let body = [body.slice(..half), body.slice(half..)];
        let mut start = 0;
        for (request, rows) in part.rows_by_request {
            let rows = u64::from(rows);
            let pieces = cut(signal, &body, (start, rows)).unwrap();
            assert!(pieces.concat() == requests[request as usize]);
            start += rows;
        }
        assert!(cut(signal, &body, (start, 5)).unwrap().is_empty());
    }
}

/// Changed at random places, bytes are taken exactly when prost takes them, but for what prost alone minds (text that is not UTF-8) and what
/// servers mind and prost does not (the length of ids).
#[test]
fn what_prost_takes_is_taken() {
    use rand::{RngExt as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(17);
    let mut samples = Samples::new(17);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..6000 {
        let signal = Signal::STABLE[round % 3];
        let mut bytes = request(&mut samples, signal, 3);
        for _ in 0..random.random_range(1..3) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        let decoded = match signal {
            Signal::Traces => ExportTraceServiceRequest::decode(&*bytes).map(drop),
            Signal::Logs => ExportLogsServiceRequest::decode(&*bytes).map(drop),
            Signal::Metrics | Signal::Profiles => ExportMetricsServiceRequest::decode(&*bytes).map(drop),
        };
        let ours = chunk(signal, BIG).append(&bytes, &Growth::default());
        match (decoded, ours) {
            (Ok(()), Ok(_)) => taken += 1,
            (Err(_), Err(_)) => refused += 1,
            (Err(error), Ok(_)) => {
                let error = error.to_string();
                // Field 8 of a value belongs to profiles.
                let profiles = error.contains("AnyValue.value") && error.contains("expected Varint");
                assert!(profiles || error.contains("UTF-8"), "{round}: {error}");
            }
            (Ok(()), Err(error)) => assert!(error.to_string().contains("id of the wrong length"), "{round}: {error}"),
        }
    }
    assert!(taken > 1000 && refused > 1000, "{taken} {refused}");
}

#[test]
fn a_configured_attribute_wins_in_every_resource() {
    let stamp = Stamp::new(&BTreeMap::from([("tenant".into(), "acme".into()), ("zone".into(), "eu".into())]));
    let mut samples = Samples::new(23);
    let mut before = samples.traces(5);
    before.resource_spans.extend(samples.traces(2).resource_spans);
    before.resource_spans.push(ResourceSpans::default());
    let attribute = |name: &str, value: &str| {
        use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
        let value = any_value::Value::StringValue(value.into());
        KeyValue { key: name.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    };
    let mut after = before.clone();
    for (resource, client) in after.resource_spans.iter_mut().zip(&mut before.resource_spans) {
        let configured = [attribute("tenant", "acme"), attribute("zone", "eu")];
        resource.resource.get_or_insert_default().attributes.extend(configured);
        if let Some(resource) = &mut client.resource {
            resource.attributes.insert(1, attribute("tenant", "somebody else"));
            resource.attributes.push(attribute("tenant", "twice"));
        }
    }
    let mut bytes = before.encode_to_vec();
    let stamped = stamp.apply(&bytes, 1 << 20).unwrap();
    assert_eq!(ExportTraceServiceRequest::decode(&*stamped).unwrap(), after);
    assert_eq!(stamp.apply(&bytes, 100), Err(EncodeError::TooLarge { limit: "max_column_bytes", max: 100 }));
    bytes.pop();
    assert!(matches!(stamp.apply(&bytes, 1 << 20), Err(EncodeError::Malformed { .. })));
    assert!(Stamp::default().is_empty() && !stamp.is_empty());
}

/// What a chunk of these requests is sealed into, where each may stay where it is, or is copied.
fn sealed(max: usize, requests: &[Vec<u8>], shared: bool) -> Vec<SealedPart> {
    let mut chunk = chunk(Signal::Traces, max);
    for bytes in requests {
        let appended = match shared {
            true => chunk.append_shared(&Bytes::from(bytes.clone()), &Growth::default()),
            false => chunk.append(bytes, &Growth::default()),
        };
        appended.unwrap();
        chunk.commit();
    }
    chunk.seal()
}

#[test]
fn what_stays_where_it_is_reads_as_what_is_copied() {
    let mut samples = Samples::new(29);
    let mut requests: Vec<Vec<u8>> = [300, 2, 90, 500, 1].map(|records| samples.traces_bytes(records)).into();
    // Between what is kept lies what nobody keeps: a group without records, and a field that nobody knows.
    let (first, second) = (samples.traces_bytes(200), samples.traces_bytes(200));
    requests.insert(2, [&first[..], &[0x0a, 0], &second, &[0x7a, 2, 1, 2], &first].concat());
    for max in [10_000, 100_000, BIG] {
        let [held, copied] = [true, false].map(|shared| sealed(max, &requests, shared));
        assert!(held.iter().any(|part| part.bytes.len() > 1) || max < BIG);
        let told = |part: &SealedPart| (part.name.partition, part.bytes.concat(), part.rows_by_request.clone());
        assert!(held.iter().map(told).eq(copied.iter().map(told)), "{max}");
    }
}

#[test]
fn a_request_stays_where_it_is_only_when_that_keeps_little_else_alive() {
    let mut samples = Samples::new(31);
    let large = samples.traces_bytes(300);
    let stays = |request: Vec<u8>, shared: bool| {
        let request = Bytes::from(request);
        let another = shared.then(|| request.clone());
        let mut chunk = chunk(Signal::Traces, BIG);
        chunk.append_shared(&request, &Growth::default()).unwrap();
        chunk.commit();
        drop(another);
        request.as_ptr_range().contains(&chunk.seal()[0].bytes[0].as_ptr())
    };
    assert!(stays(large.clone(), false));
    assert!(!stays(large.clone(), true), "somebody else keeps what it lies in");
    assert!(!stays(samples.traces_bytes(2), false), "it is small");
    let unknown = [&[0x7a, 0x80, 0x80, 0x04][..], &[0; 1 << 16], &large[..]].concat();
    assert!(!stays(unknown, false), "much of it is not sent");
    let small = samples.traces_bytes(1);
    assert!(!stays([&small[..], &[0x0a, 0]].concat().repeat(100), false), "its slices are small");
    let mut chunk = chunk(Signal::Traces, BIG);
    chunk.append_shared(&large.into(), &Growth::default()).unwrap();
    chunk.rollback();
    assert!(chunk.seal().is_empty());
}
