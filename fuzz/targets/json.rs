//! The JSON transcoder: the first byte chooses the signal. What it writes is valid protobuf of the signal's request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelgate::otlp::fuzzing;
use otelgate::signal::Signal;
use otelgate_fuzz::Budget;
use prost::Message;

const MAX: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let signal = Signal::ALL[usize::from(*choice) % Signal::ALL.len()];
    if let Ok((bytes, _)) = fuzzing::transcode_here(Budget::new(16 * MAX), signal, text, MAX) {
        assert!(bytes.len() as u64 <= MAX);
        match signal {
            Signal::Traces => drop(ExportTraceServiceRequest::decode(bytes).expect("valid protobuf")),
            Signal::Logs => drop(ExportLogsServiceRequest::decode(bytes).expect("valid protobuf")),
            Signal::Metrics => drop(ExportMetricsServiceRequest::decode(bytes).expect("valid protobuf")),
        }
    }
});
