//! The JSON transcoder: the first byte chooses the signal. What it writes is valid protobuf of the signal's request, but for texts that were no UTF-8
//! before, which stay as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
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
        let decoded = match signal {
            Signal::Traces => ExportTraceServiceRequest::decode(bytes).map(drop),
            Signal::Logs => ExportLogsServiceRequest::decode(bytes).map(drop),
            Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).map(drop),
            Signal::Profiles => ExportProfilesServiceRequest::decode(bytes).map(drop),
        };
        if let Err(error) = decoded {
            assert!(std::str::from_utf8(text).is_err() && error.to_string().contains("UTF-8"), "{error}");
        }
    }
});
