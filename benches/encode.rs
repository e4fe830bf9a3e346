//! From a request's bytes to a sealed LZ4 block, against prost's decode of the same bytes.

#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelgate::chunk::Growth;
use otelgate::signal::Signal;
use otelgate::sink::clickhouse::encode::{Compression, EncoderFactory, EncoderSettings, Keeps, Plans};
use prost::Message;
use stack::Samples;

const RECORDS: usize = 1000;

fn encode(c: &mut Criterion) {
    measure(c, Signal::Traces, "traces", false);
    measure(c, Signal::Logs, "logs", false);
    measure(c, Signal::Logs, "logs-transformed", true);
    measure(c, Signal::Metrics, "metrics", false);
}

fn measure(c: &mut Criterion, signal: Signal, name: &str, transform: bool) {
    let factory = EncoderFactory::new(EncoderSettings {
        plans: Plans::clickstack().expect("the plans are those of the encoder's own tables"),
        zone: TimeZone::UTC,
        keeps: Keeps::default(),
        compression: Compression::Lz4,
        transform_logs: transform,
    });
    let mut samples = Samples::new(1);
    let request = match signal {
        Signal::Traces => samples.traces_bytes(RECORDS),
        Signal::Logs => samples.logs_bytes(RECORDS),
        Signal::Metrics | Signal::Profiles => samples.metrics_bytes(RECORDS),
    };
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut encoder = factory.encoder(signal);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            let appended = encoder.append(black_box(&request), &Growth::default());
            encoder.commit();
            (appended, encoder.seal())
        });
    });
    group.bench_function("append", |bencher| {
        bencher.iter(|| {
            let appended = encoder.append(black_box(&request), &Growth::default());
            encoder.rollback();
            appended
        });
    });
    group.bench_function("prost", |bencher| {
        bencher.iter(|| decode(signal, black_box(&request)));
    });
    group.finish();
}

fn decode(signal: Signal, request: &[u8]) -> bool {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(request).is_ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(request).is_ok(),
        Signal::Metrics | Signal::Profiles => ExportMetricsServiceRequest::decode(request).is_ok(),
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
