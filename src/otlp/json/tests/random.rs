//! Random OTLP requests in which every field of every message may be set: no struct here leaves fields to `Default`, so that a field which OTLP
//! gains does not compile until it is here.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A source of random messages.
pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(StdRng::seed_from_u64(seed))
    }

    fn many<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.random_range(0..=most)).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.random_bool(0.7).then(|| one(self))
    }

    /// Text with escapes, controls and characters of every length in UTF-8.
    fn text(&mut self) -> String {
        const CHARS: [char; 12] = ['a', 'Z', ' ', '"', '\\', '/', '\n', '\0', '\u{7f}', 'é', '漢', '🦀'];
        let most = if self.0.random_bool(0.02) { 20_000 } else { 12 };
        self.many(most, |random| CHARS[random.0.random_range(0..CHARS.len())]).into_iter().collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.many(20, |random| random.0.random())
    }

    fn id(&mut self, len: usize) -> Vec<u8> {
        if self.0.random_bool(0.2) { Vec::new() } else { (0..len).map(|_| self.0.random()).collect() }
    }

    fn u64(&mut self) -> u64 {
        [0, 1, 127, 128, u64::MAX, self.0.random()][self.0.random_range(0..6)]
    }

    fn i64(&mut self) -> i64 {
        [0, -1, i64::MIN, i64::MAX, self.0.random()][self.0.random_range(0..5)]
    }

    fn u32(&mut self) -> u32 {
        [0, 1, u32::MAX, self.0.random()][self.0.random_range(0..4)]
    }

    fn i32(&mut self) -> i32 {
        [0, -1, i32::MIN, i32::MAX, self.0.random()][self.0.random_range(0..5)]
    }

    /// Finite: the writer that the tests use has no form for others.
    fn f64(&mut self) -> f64 {
        let any = f64::from_bits(self.0.random());
        [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, if any.is_finite() { any } else { 1.5 }]
            [self.0.random_range(0..6)]
    }

    fn value(&mut self, depth: u32) -> AnyValue {
        let kinds = if depth == 0 { 6 } else { 8 };
        let value = match self.0.random_range(0..kinds) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.0.random())),
            3 => Some(Value::IntValue(self.i64())),
            4 => Some(Value::DoubleValue(self.f64())),
            5 => Some(Value::BytesValue(self.bytes())),
            6 => {
                let values = self.many(3, |random| random.value(depth - 1));
                Some(Value::ArrayValue(ArrayValue { values }))
            }
            _ => Some(Value::KvlistValue(KeyValueList { values: self.attributes(depth - 1) })),
        };
        AnyValue { value }
    }

    fn attributes(&mut self, depth: u32) -> Vec<KeyValue> {
        self.many(3, |random| KeyValue {
            key: random.text(),
            value: random.maybe(|random| random.value(depth)),
            key_strindex: 0,
        })
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(3),
            dropped_attributes_count: self.u32(),
            entity_refs: self.many(2, |random| EntityRef {
                schema_url: random.text(),
                r#type: random.text(),
                id_keys: random.many(2, Random::text),
                description_keys: random.many(2, Random::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(1),
            dropped_attributes_count: self.u32(),
        }
    }

    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: self.many(2, |random| ResourceSpans {
                resource: random.maybe(Random::resource),
                scope_spans: random.many(2, |random| ScopeSpans {
                    scope: random.maybe(Random::scope),
                    spans: random.many(3, Random::span),
                    schema_url: random.text(),
                }),
                schema_url: random.text(),
            }),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.u32(),
            name: self.text(),
            kind: self.i32(),
            start_time_unix_nano: self.u64(),
            end_time_unix_nano: self.u64(),
            attributes: self.attributes(2),
            dropped_attributes_count: self.u32(),
            events: self.many(2, |random| Event {
                time_unix_nano: random.u64(),
                name: random.text(),
                attributes: random.attributes(1),
                dropped_attributes_count: random.u32(),
            }),
            dropped_events_count: self.u32(),
            links: self.many(2, |random| Link {
                trace_id: random.id(16),
                span_id: random.id(8),
                trace_state: random.text(),
                attributes: random.attributes(1),
                dropped_attributes_count: random.u32(),
                flags: random.u32(),
            }),
            dropped_links_count: self.u32(),
            status: self.maybe(|random| Status { message: random.text(), code: random.i32() }),
        }
    }

    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        ExportLogsServiceRequest {
            resource_logs: self.many(2, |random| ResourceLogs {
                resource: random.maybe(Random::resource),
                scope_logs: random.many(2, |random| ScopeLogs {
                    scope: random.maybe(Random::scope),
                    log_records: random.many(3, Random::log_record),
                    schema_url: random.text(),
                }),
                schema_url: random.text(),
            }),
        }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.u64(),
            observed_time_unix_nano: self.u64(),
            severity_number: self.i32(),
            severity_text: self.text(),
            body: self.maybe(|random| random.value(4)),
            attributes: self.attributes(2),
            dropped_attributes_count: self.u32(),
            flags: self.u32(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: self.many(2, |random| ResourceMetrics {
                resource: random.maybe(Random::resource),
                scope_metrics: random.many(2, |random| ScopeMetrics {
                    scope: random.maybe(Random::scope),
                    metrics: random.many(4, Random::metric),
                    schema_url: random.text(),
                }),
                schema_url: random.text(),
            }),
        }
    }

    fn metric(&mut self) -> Metric {
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(1),
            data: match self.0.random_range(0..6) {
                0 => None,
                1 => Some(Data::Gauge(Gauge { data_points: self.many(2, Random::number_point) })),
                2 => Some(Data::Sum(Sum {
                    data_points: self.many(2, Random::number_point),
                    aggregation_temporality: self.i32(),
                    is_monotonic: self.0.random(),
                })),
                3 => Some(Data::Histogram(Histogram {
                    data_points: self.many(2, Random::histogram_point),
                    aggregation_temporality: self.i32(),
                })),
                4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: self.many(2, Random::exponential_histogram_point),
                    aggregation_temporality: self.i32(),
                })),
                _ => Some(Data::Summary(Summary { data_points: self.many(2, Random::summary_point) })),
            },
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            exemplars: self.many(2, Random::exemplar),
            flags: self.u32(),
            value: self.maybe(|random| match random.0.random() {
                true => number_data_point::Value::AsDouble(random.f64()),
                false => number_data_point::Value::AsInt(random.i64()),
            }),
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Random::f64),
            bucket_counts: self.many(40, Random::u64),
            explicit_bounds: self.many(40, Random::f64),
            exemplars: self.many(2, Random::exemplar),
            flags: self.u32(),
            min: self.maybe(Random::f64),
            max: self.maybe(Random::f64),
        }
    }

    fn exponential_histogram_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Random::f64),
            scale: self.i32(),
            zero_count: self.u64(),
            positive: self.maybe(Random::buckets),
            negative: self.maybe(Random::buckets),
            flags: self.u32(),
            exemplars: self.many(2, Random::exemplar),
            min: self.maybe(Random::f64),
            max: self.maybe(Random::f64),
            zero_threshold: self.f64(),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.i32(), bucket_counts: self.many(40, Random::u64) }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.f64(),
            quantile_values: self.many(3, |random| ValueAtQuantile { quantile: random.f64(), value: random.f64() }),
            flags: self.u32(),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(1),
            time_unix_nano: self.u64(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: self.maybe(|random| match random.0.random() {
                true => exemplar::Value::AsDouble(random.f64()),
                false => exemplar::Value::AsInt(random.i64()),
            }),
        }
    }
}
