//! Own telemetry as OTLP's messages: of opentelemetry-proto 1.x the few fields that are filled. Decoded with the generated types in tests.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use tracing::Level;

use super::snapshot::{Histogram, Series, Value};
use crate::notes::{NotedLine, NotedRequest};
use crate::otlp::wire::put_field;

/// Who says it: `service.name` and the like, and the scope.
#[derive(Debug, Clone)]
pub(super) struct Who {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Who {
    /// With these resource attributes.
    pub(super) fn new(attributes: &[(&str, String)]) -> Who {
        let resource = Resource { attributes: attributes.iter().map(|(name, value)| text(name, value)).collect() };
        let scope = Scope { name: "otelgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Who { resource: resource.encode_to_vec(), scope: scope.encode_to_vec() }
    }

    /// An `Export…ServiceRequest` of these records: the three have one shape.
    pub(super) fn request(&self, records: impl Iterator<Item = Vec<u8>>) -> Bytes {
        let (mut of_scope, mut of_resource, mut request) = (Vec::new(), Vec::new(), Vec::new());
        put_field(&mut of_scope, 1, &self.scope);
        records.for_each(|record| put_field(&mut of_scope, 2, &record));
        put_field(&mut of_resource, 1, &self.resource);
        put_field(&mut of_resource, 2, &of_scope);
        put_field(&mut request, 1, &of_resource);
        request.into()
    }
}

/// A `Metric` with one point.
pub(super) fn metric(series: &Series, value: &Value, since: SystemTime, now: SystemTime) -> Vec<u8> {
    let attributes = series.labels.iter().map(|(label, value)| text(label, value)).collect();
    let (start, time) = (nanoseconds(since), nanoseconds(now));
    let number = |number: f64, start, attributes| NumberPoint { attributes, start, time, number: Some(number) };
    let mut metric = Metric { name: series.name.clone(), ..Metric::default() };
    match value {
        Value::Gauge(value) => metric.gauge = Some(Gauge { points: vec![number(*value, 0, attributes)] }),
        Value::Sum(value) => {
            metric.sum =
                Some(Sum { points: vec![number(*value, start, attributes)], temporality: DELTA, monotonic: true });
        }
        Value::Histogram(Histogram { sum, bounds, counts }) => {
            let point = HistogramPoint {
                attributes,
                start,
                time,
                count: counts.iter().sum(),
                sum: Some(*sum),
                counts: counts.clone(),
                bounds: bounds.clone(),
            };
            metric.histogram = Some(Histograms { points: vec![point], temporality: DELTA });
        }
    }
    metric.encode_to_vec()
}

/// A `LogRecord`.
pub(super) fn log_record(line: &NotedLine) -> Vec<u8> {
    let (number, word) = match line.level {
        Level::ERROR => (17, "ERROR"),
        Level::WARN => (13, "WARN"),
        _ => (9, "INFO"),
    };
    let trace = line.fields.get("trace").and_then(|trace| u128::from_str_radix(trace, 16).ok());
    let fields = line.fields.iter().map(|(name, value)| text(name, value));
    let record = LogRecord {
        time: nanoseconds(line.at),
        observed: nanoseconds(line.at),
        severity: number,
        severity_text: word.to_owned(),
        body: Some(AnyValue { text: Some(line.message.clone()) }),
        attributes: fields.chain([text("code.namespace", line.target)]).collect(),
        trace_id: trace.map(|trace| trace.to_be_bytes().to_vec()).unwrap_or_default(),
    };
    record.encode_to_vec()
}

/// A `Span`.
pub(super) fn span(request: &NotedRequest) -> Vec<u8> {
    let end = request.began.checked_add(request.took).unwrap_or(request.began);
    let status = request.refused.as_ref().map(|why| Status { message: why.clone(), code: ERROR });
    let span = Span {
        trace_id: request.trace.to_be_bytes().to_vec(),
        span_id: request.span.to_be_bytes().to_vec(),
        parent: request.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: request.name.to_owned(),
        kind: SERVER,
        start: nanoseconds(request.began),
        end: nanoseconds(end),
        attributes: request.fields.iter().map(|(name, value)| text(name, value)).collect(),
        status,
    };
    span.encode_to_vec()
}

fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { text: Some(value.to_owned()) }) }
}

/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: i32 = 1;
/// `SPAN_KIND_SERVER`.
const SERVER: i32 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

#[derive(prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

#[derive(prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    sum: Option<Sum>,
    #[prost(message, optional, tag = "9")]
    histogram: Option<Histograms>,
}

#[derive(prost::Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
}

#[derive(prost::Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    monotonic: bool,
}

#[derive(prost::Message)]
struct Histograms {
    #[prost(message, repeated, tag = "1")]
    points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(prost::Message)]
struct NumberPoint {
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "3")]
    time: u64,
    #[prost(double, optional, tag = "4")]
    number: Option<f64>,
}

#[derive(prost::Message)]
struct HistogramPoint {
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "3")]
    time: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    bounds: Vec<f64>,
}

#[derive(prost::Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(fixed64, tag = "11")]
    observed: u64,
    #[prost(int32, tag = "2")]
    severity: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
}

#[derive(prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};

    use super::*;

    const AT: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn the_generated_types_read_what_is_written() {
        let who = Who::new(&[("service.name", "otelgate".to_owned())]);
        let (then, now) = (UNIX_EPOCH + AT, UNIX_EPOCH + AT + Duration::from_secs(30));
        let series = |name: &str| Series { name: name.to_owned(), labels: vec![("key".to_owned(), "shop".to_owned())] };
        let histogram = Histogram { sum: 1.5, bounds: vec![1.0], counts: vec![2, 3] };
        let values = [Value::Sum(7.0), Value::Gauge(2.0), Value::Histogram(histogram)];
        let records = values.iter().map(|value| metric(&series("name"), value, then, now));
        let read = ExportMetricsServiceRequest::decode(who.request(records)).unwrap();
        let of_resource = &read.resource_metrics[0];
        assert_eq!(of_resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
        let all = &of_resource.scope_metrics[0].metrics;
        let Some(Data::Sum(sum)) = &all[0].data else { panic!("{all:?}") };
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(7.0)));
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
        assert_eq!(point.time_unix_nano - point.start_time_unix_nano, 30_000_000_000);
        assert!(matches!(&all[1].data, Some(Data::Gauge(gauge)) if gauge.data_points[0].attributes[0].key == "key"));
        let Some(Data::Histogram(histogram)) = &all[2].data else { panic!("{all:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, &point.bucket_counts[..]), (5, Some(1.5), &[2, 3][..]));

        let fields = BTreeMap::from([("trace", format!("{:032x}", 77)), ("table", "otel_logs".to_owned())]);
        let message = "an insert failed".to_owned();
        let line = NotedLine { at: then, level: Level::WARN, target: "otelgate::deliver", message, fields };
        let read = ExportLogsServiceRequest::decode(who.request([log_record(&line)].into_iter())).unwrap();
        let record = &read.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!((record.severity_number, record.trace_id[15], record.attributes.len()), (13, 77, 3));

        let request = NotedRequest {
            trace: 77,
            span: 5,
            parent: Some(4),
            name: "POST /v1/logs",
            began: then,
            took: Duration::from_millis(5),
            fields: BTreeMap::new(),
            refused: Some("why".to_owned()),
        };
        let read = ExportTraceServiceRequest::decode(who.request([span(&request)].into_iter())).unwrap();
        let span = &read.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id[15], span.span_id[7], span.parent_span_id[7], span.kind), (77, 5, 4, 2));
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    }
}
