//! The encoder: the first byte chooses the signal, the second how the request is limited. It never panics, a refused request leaves
//! nothing behind, and it takes what prost takes. prost refuses more only for strings that are not UTF-8, and, in metrics, for what is wrong in a kind
//! of data that another kind replaces.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelgate::chunk::{EncodeError, Growth};
use otelgate::signal::Signal;
use otelgate::sink::clickhouse::encode::{Compression, EncoderFactory, EncoderSettings, Keeps, Plans};
use prost::{DecodeError, Message};

static FACTORY: LazyLock<EncoderFactory> = LazyLock::new(|| {
    EncoderFactory::new(EncoderSettings {
        plans: Plans::clickstack().expect("the encoder's own tables"),
        zone: jiff::tz::TimeZone::UTC,
        keeps: Keeps::default(),
        compression: Compression::Lz4,
        transform_logs: true,
    })
});

const WIDE: Growth = Growth { max_records: u64::MAX, max_column_bytes: 1 << 30, max_parts: u32::MAX };
const NARROW: Growth = Growth { max_records: 3, max_column_bytes: 2000, max_parts: 2 };

fuzz_target!(|data: &[u8]| {
    let [choice, limit, request @ ..] = data else {
        return;
    };
    let signal = Signal::STABLE[usize::from(*choice) % Signal::STABLE.len()];
    let growth = if limit % 2 == 0 { WIDE } else { NARROW };
    let mut encoder = FACTORY.encoder(signal);
    let outcome = encoder.append(request, &growth);
    match (&outcome, decode(signal, request)) {
        (Err(EncodeError::TooLarge { .. }), _) => {}
        (Err(EncodeError::Malformed { what, .. }), Ok(())) => {
            assert_eq!(*what, "a trace or span id of the wrong length");
        }
        (Ok(_), Err(error)) => {
            assert!(signal == Signal::Metrics || error.to_string().contains("UTF-8"), "{error}");
        }
        _ => {}
    }
    match outcome {
        Ok(appended) => {
            encoder.commit();
            let size = encoder.size();
            assert_eq!((size.rows, size.column_bytes), (appended.records, appended.column_bytes));
            let rows: u64 = encoder.seal().iter().map(|part| part.rows()).sum();
            assert_eq!(rows, appended.records);
        }
        Err(_) => {
            encoder.commit();
            assert!(encoder.seal().is_empty());
        }
    }
});

fn decode(signal: Signal, request: &[u8]) -> Result<(), DecodeError> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(request).map(drop),
        Signal::Logs => ExportLogsServiceRequest::decode(request).map(drop),
        Signal::Metrics | Signal::Profiles => ExportMetricsServiceRequest::decode(request).map(drop),
    }
}
