//! The encoder's columns against columns computed from prost's messages, for any request in any order of bytes.

mod bombs;
mod expected;
mod expected_text;
mod reader;
mod scramble;

use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use proptest::prelude::*;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::expected::Tables;
use self::scramble::{Type, scramble};
use super::*;
use crate::chunk::{EncodeError, Growth, SealedPart};
use crate::otlp::json::tests::random::Random;
use crate::signal::Signal;

const ANY_GROWTH: Growth = Growth { max_records: u64::MAX, max_column_bytes: u64::MAX, max_parts: u32::MAX };

fn factory(compression: Compression, transform_logs: bool) -> EncoderFactory {
    EncoderFactory::new(EncoderSettings {
        plans: Plans::clickstack().unwrap(),
        zone: TimeZone::UTC,
        keeps: Keeps::default(),
        compression,
        transform_logs,
    })
}

/// A request in prost's own bytes.
fn random_request(signal: Signal, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    match signal {
        Signal::Traces => {
            let mut request = random.traces();
            for group in &mut request.resource_spans {
                name_service(group.resource.as_mut().map(|resource| &mut resource.attributes), &mut rng);
                for span in group.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                    mend::<16>(&mut span.trace_id, &mut rng);
                    mend::<8>(&mut span.span_id, &mut rng);
                    mend::<8>(&mut span.parent_span_id, &mut rng);
                    special_values(&mut span.attributes, &mut rng);
                    for link in &mut span.links {
                        mend::<16>(&mut link.trace_id, &mut rng);
                        mend::<8>(&mut link.span_id, &mut rng);
                    }
                }
            }
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = random.logs();
            for group in &mut request.resource_logs {
                name_service(group.resource.as_mut().map(|resource| &mut resource.attributes), &mut rng);
                for record in group.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records) {
                    mend::<16>(&mut record.trace_id, &mut rng);
                    mend::<8>(&mut record.span_id, &mut rng);
                    special_values(&mut record.attributes, &mut rng);
                    if rng.random_bool(0.2) {
                        record.attributes.push(entry("rr-web.event", Value::IntValue(1)));
                    }
                }
            }
            request.encode_to_vec()
        }
        Signal::Metrics | Signal::Profiles => {
            let bytes = random.metrics().encode_to_vec();
            let mut request = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
            mend_exemplars(&mut request, &mut rng);
            request.encode_to_vec()
        }
    }
}

fn mend_exemplars(request: &mut ExportMetricsServiceRequest, rng: &mut StdRng) {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    for group in &mut request.resource_metrics {
        name_service(group.resource.as_mut().map(|resource| &mut resource.attributes), rng);
        for metric in group.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
            let exemplars: Vec<_> = match &mut metric.data {
                Some(Data::Gauge(gauge)) => gauge.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect(),
                Some(Data::Sum(sum)) => sum.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect(),
                Some(Data::Histogram(h)) => h.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect(),
                Some(Data::ExponentialHistogram(h)) => {
                    h.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect()
                }
                _ => Vec::new(),
            };
            for exemplar in exemplars {
                mend::<8>(&mut exemplar.span_id, rng);
                mend::<16>(&mut exemplar.trace_id, rng);
            }
        }
    }
}

/// Gives an id one of the lengths that OTLP knows.
fn mend<const N: usize>(id: &mut Vec<u8>, rng: &mut StdRng) {
    id.resize(N, 0);
    match rng.random_range(0..4) {
        0 => id.clear(),
        1 => id.fill(0),
        _ => {}
    }
}

fn entry(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn name_service(attributes: Option<&mut Vec<KeyValue>>, rng: &mut StdRng) {
    if let Some(attributes) = attributes
        && rng.random_bool(0.7)
    {
        attributes.push(entry("service.name", Value::StringValue("shop".to_owned())));
        attributes.push(entry("service.name", Value::IntValue(2)));
    }
}

/// Values that the shared generator does not make: not finite, and text that Go's JSON escapes.
fn special_values(attributes: &mut Vec<KeyValue>, rng: &mut StdRng) {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;
    if rng.random_bool(0.5) {
        return;
    }
    let double = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21, 9.9e-7, 1e-6, 123_456.75][rng.random_range(0..7)];
    attributes.push(entry("double", Value::DoubleValue(double)));
    let text = Value::StringValue("<a href=\"x\">&\u{2028}\u{2029}\u{8}\u{c}\u{1f}".to_owned());
    let values = vec![AnyValue { value: Some(Value::DoubleValue(double)) }, AnyValue { value: Some(text) }];
    attributes.push(entry("array", Value::ArrayValue(ArrayValue { values: values.clone() })));
    attributes.push(entry("text", Value::ArrayValue(ArrayValue { values: values[1..].to_vec() })));
}

fn expected(signal: Signal, request: &[u8], tables: &mut Tables) {
    match signal {
        Signal::Traces => expected::traces(&ExportTraceServiceRequest::decode(request).unwrap(), tables),
        Signal::Logs => expected::logs(&ExportLogsServiceRequest::decode(request).unwrap(), tables),
        Signal::Metrics | Signal::Profiles => {
            expected::metrics(&ExportMetricsServiceRequest::decode(request).unwrap(), tables)
        }
    }
}

fn read(sealed: &[SealedPart]) -> Tables {
    let mut tables = Tables::new();
    for part in sealed {
        let raw = reader::inflate(&part.bytes.concat());
        assert_eq!(raw.len() as u64, part.uncompressed);
        let rows = reader::rows(&raw);
        assert_eq!(rows.len() as u64, part.rows());
        let names: Vec<&str> = rows[0].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, part.columns.iter().map(|name| &**name).collect::<Vec<_>>());
        for witness in &part.witnesses {
            let found = reader::rows(&witness.0);
            assert!(found.len() == 1 && rows.contains(&found[0]));
        }
        assert_eq!(part.witnesses.len(), part.rows_by_request.len().min(8));
        let rows = rows.into_iter().map(|row| row.into_iter().collect()).collect();
        tables.insert((part.name.table.to_string(), part.name.partition), rows);
    }
    tables
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn columns_are_those_of_the_decoded_messages(seed: u64, signal in 0..3_usize, method in 0..3) {
        let signal = Signal::STABLE[signal];
        let compression = [Compression::Lz4, Compression::Zstd, Compression::None][method as usize];
        let mut encoder = factory(compression, false).encoder(signal);
        let mut rng = StdRng::seed_from_u64(seed);
        // The second chunk reuses the first one's buffers.
        for _chunk in 0..2 {
            let mut tables = Tables::new();
            for _ in 0..4 {
                let request = random_request(signal, rng.random());
                let scrambled = scramble(Type::Request(signal), &request, &mut rng);
                encoder.append(&scrambled, &ANY_GROWTH).unwrap();
                if rng.random_bool(0.3) {
                    encoder.rollback();
                } else {
                    encoder.commit();
                    expected(signal, &scrambled, &mut tables);
                }
            }
            let rows: usize = tables.values().map(Vec::len).sum();
            prop_assert_eq!(encoder.size().rows, rows as u64);
            prop_assert_eq!(encoder.size().parts as usize, tables.len());
            let found = read(&encoder.seal());
            for (key, rows) in &tables {
                let found = found.get(key);
                prop_assert!(found.is_some(), "{:?} is missing", key);
                for (row, found) in rows.iter().zip(found.unwrap()) {
                    for (column, cell) in row {
                        prop_assert_eq!(Some(cell), found.get(column), "{:?} {}", key, column);
                    }
                    prop_assert_eq!(row.len(), found.len());
                }
            }
            prop_assert_eq!(found.len(), tables.len());
        }
    }

    #[test]
    fn damaged_requests_leave_no_trace(seed: u64, signal in 0..3_usize, cuts: [u16; 8]) {
        let signal = Signal::STABLE[signal];
        let whole = random_request(signal, seed);
        let mut encoder = factory(Compression::None, false).encoder(signal);
        encoder.append(&whole, &ANY_GROWTH).unwrap();
        encoder.commit();
        let before = encoder.size();
        for cut in cuts {
            if whole.is_empty() { break; }
            let at = usize::from(cut) % whole.len();
            let mut damaged = whole.clone();
            damaged[at] ^= (cut >> 8) as u8 | 1;
            for bytes in [&whole[..at], &damaged] {
                let outcome = encoder.append(bytes, &ANY_GROWTH);
                prop_assert!(outcome.is_ok() || encoder.size() == before);
                encoder.rollback();
            }
        }
        prop_assert_eq!(encoder.size(), before);
        let mut fresh = factory(Compression::None, false).encoder(signal);
        fresh.append(&whole, &ANY_GROWTH).unwrap();
        fresh.commit();
        prop_assert_eq!(read(&encoder.seal()), read(&fresh.seal()));
    }
}

#[test]
fn a_large_resource_is_not_repeated_past_the_limit() {
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![entry("large", Value::StringValue("x".repeat(1 << 20)))],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { spans: vec![Span::default(); 100_000], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let mut encoder = factory(Compression::Lz4, false).encoder(Signal::Traces);
    let outcome = encoder.append(&request.encode_to_vec(), &Growth::default());
    assert_eq!(outcome, Err(EncodeError::TooLarge { limit: "max_column_bytes", max: 128 << 20 }));
    assert_eq!(encoder.size().rows, 0);
}

#[test]
fn records_and_parts_are_limited() {
    let request = stack::Samples::new(1).traces_bytes(100);
    let mut encoder = factory(Compression::Lz4, false).encoder(Signal::Traces);
    let few = Growth { max_records: 99, ..Growth::default() };
    assert_eq!(encoder.append(&request, &few), Err(EncodeError::TooLarge { limit: "max_records", max: 99 }));
    let none = Growth { max_parts: 0, ..Growth::default() };
    assert_eq!(encoder.append(&request, &none), Err(EncodeError::TooLarge { limit: "max_parts", max: 0 }));
    assert_eq!(encoder.append(&request, &Growth::default()).map(|appended| appended.records), Ok(100));
}

#[test]
fn values_nest_a_hundred_messages_deep_and_no_deeper() {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;
    let nested = |levels: usize| {
        let mut value = Value::IntValue(1);
        for _ in 0..levels {
            value = Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
        }
        let mut request = ExportLogsServiceRequest::default();
        request.resource_logs.push(Default::default());
        request.resource_logs[0].scope_logs.push(Default::default());
        request.resource_logs[0].scope_logs[0].log_records.push(Default::default());
        request.resource_logs[0].scope_logs[0].log_records[0].body = Some(AnyValue { value: Some(value) });
        request.encode_to_vec()
    };
    let mut encoder = factory(Compression::Lz4, false).encoder(Signal::Logs);
    for levels in 40..60 {
        let request = nested(levels);
        let taken = encoder.append(&request, &Growth::default()).is_ok();
        assert_eq!(taken, ExportLogsServiceRequest::decode(request.as_slice()).is_ok(), "{levels}");
    }
}

#[test]
fn attributes_become_objects_in_columns_of_type_json() {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    let mut plans = Vec::new();
    for kind in TableKind::ALL {
        let clickstack = Plans::clickstack().unwrap();
        let plan = clickstack.get(kind);
        let types = plan
            .formats()
            .iter()
            .flatten()
            .map(|format| format.type_name.replace("Map(LowCardinality(String), String)", "JSON"));
        let columns: Vec<_> = plan.columns().iter().map(|name| name.to_string()).zip(types).collect();
        plans.push(TablePlan::check(kind, kind.table(), &columns).unwrap());
    }
    let settings = EncoderSettings {
        plans: Plans::new(plans).unwrap(),
        zone: TimeZone::UTC,
        keeps: Keeps::default(),
        compression: Compression::Lz4,
        transform_logs: true,
    };
    let span = Span {
        attributes: vec![
            entry("n", Value::IntValue(1)),
            entry("d", Value::DoubleValue(1e20)),
            entry("not", Value::DoubleValue(f64::NAN)),
            entry("n", Value::BoolValue(true)),
        ],
        ..Span::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let mut encoder = EncoderFactory::new(settings).encoder(Signal::Traces);
    encoder.append(&request.encode_to_vec(), &ANY_GROWTH).unwrap();
    encoder.commit();
    let tables = read(&encoder.seal());
    let row = &tables[&("otel_traces".to_owned(), 0)][0];
    assert_eq!(row["SpanAttributes"], reader::Cell::text(r#"{"d":1e20,"n":true,"not":null}"#));
    assert_eq!(row["ResourceAttributes"], reader::Cell::text("{}"));
}

/// A log record of these bytes.
fn log_of(record: &[u8]) -> Vec<u8> {
    let group = |inner: &[u8]| scramble::field(2, 2, inner);
    scramble::field(1, 2, &group(&group(record)))
}

#[test]
fn a_few_bytes_do_not_become_many_in_memory() {
    let mut encoder = factory(Compression::Lz4, false).encoder(Signal::Logs);
    let empty_attributes = log_of(&[0x32, 0].repeat(bound::MOST_ENTRIES + 1));
    let empty_values = scramble::field(5, 2, &[0x0a, 0].repeat(1000));
    let escaped = scramble::field(5, 2, &scramble::field(1, 2, &scramble::field(1, 2, &[b'<'; 100_000])));
    let few = Growth { max_column_bytes: 3000, ..Growth::default() };
    for (request, growth) in [
        (empty_attributes, Growth::default()),
        (log_of(&scramble::field(5, 2, &empty_values)), few),
        (log_of(&scramble::field(5, 2, &escaped)), Growth { max_column_bytes: 200_000, ..few }),
    ] {
        let outcome = encoder.append(&request, &growth);
        assert!(matches!(outcome, Err(EncodeError::TooLarge { .. })), "{outcome:?}");
    }
}

#[test]
fn doubles_are_written_as_go_writes_them() {
    for (double, text) in [
        // Both …62 and …63 read back the same and are equally near.
        (198_538_867_232_632.63, "198538867232632.62"),
        (5e-324, "5e-324"),
        (-f64::MAX, "-1.7976931348623157e+308"),
        (1e16, "10000000000000000"),
        (-123_456_789_012_345_680_000.0, "-123456789012345680000"),
        (999_999_999_999_999_900_000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (1e-6, "0.000001"),
        (-1.25e-6, "-0.00000125"),
        (9.99e-7, "9.99e-7"),
        (0.000_015, "0.000015"),
        (0.1, "0.1"),
        (100.0, "100"),
        (-0.0, "-0"),
        (0.0, "0"),
    ] {
        let mut written = Vec::new();
        super::value::AnyValue::Double(double).put_text(&mut written, 0, 1 << 20).unwrap();
        assert_eq!(String::from_utf8_lossy(&written), text);
        assert_eq!(expected_text::double_text(double), text);
    }
}
