//! Each column of each table, compared with what was sent: ids, times, nested values, events, links, exemplars included.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use otelgate::signal::Signal;
use prost::Message;
use serde_json::{Value, json};

use crate::support::clickhouse;
use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, attribute, text};

#[tokio::test]
async fn every_column_holds_what_was_sent() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "rows", ..Setup::default() }).await;
    let client = edge.client(true);
    let send = |signal, body| client.send(Call::export(Protocol::Grpc, signal, KEY, body));
    let answers =
        tokio::join!(send(Signal::Traces, traces()), send(Signal::Logs, logs()), send(Signal::Metrics, metrics()));
    for answer in [answers.0, answers.1, answers.2] {
        assert!(answer.accepted(Protocol::Grpc), "{answer:?}");
    }
    for (table, expected) in expected() {
        let sql = format!(
            "SELECT * FROM {}.{table} SETTINGS output_format_json_quote_64bit_integers = 0, date_time_output_format = 'unix_timestamp'",
            edge.database
        );
        let stored = clickhouse.query(&sql, "JSONEachRow").await.expect("rows");
        let stored: Vec<Value> = stored.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(stored.len(), 1, "{table}: {stored:?}");
        let expected = expected.as_object().expect("an object");
        let stored = stored[0].as_object().expect("an object");
        for (column, value) in expected {
            assert_eq!(stored.get(column).map(normal), Some(normal(value)), "{table}.{column}");
        }
        let unexpected: Vec<_> = stored.keys().filter(|column| !expected.contains_key(*column)).collect();
        assert!(unexpected.is_empty(), "{table} has columns that nobody compared: {unexpected:?}");
    }
    edge.stop().await;
}

/// ClickHouse prints 3.0 as 3.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(normal).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

const TRACE: [u8; 16] =
    [0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c];
const SPAN: [u8; 8] = [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74];
const PARENT: [u8; 8] = [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73];
const TRACE_HEX: &str = "5b8efff798038103d269b633813fc60c";
const SPAN_HEX: &str = "eee19b7ec3c1b174";

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// One attribute of every type.
fn attributes() -> Vec<KeyValue> {
    let list = vec![any(Any::IntValue(1)), text("two"), any(Any::BoolValue(true)), any(Any::DoubleValue(2.5))];
    let nested = vec![attribute("inner", any(Any::ArrayValue(ArrayValue { values: list.clone() })))];
    vec![
        attribute("string", text("a \"quoted\" ü")),
        attribute("true", any(Any::BoolValue(true))),
        attribute("int", any(Any::IntValue(-7))),
        attribute("double", any(Any::DoubleValue(0.1))),
        attribute("large", any(Any::DoubleValue(1e21))),
        attribute("bytes", any(Any::BytesValue(vec![0, 1, 254, 255]))),
        attribute("array", any(Any::ArrayValue(ArrayValue { values: list }))),
        attribute("map", any(Any::KvlistValue(KeyValueList { values: nested }))),
        attribute("empty", AnyValue { value: None }),
    ]
}

fn stored_attributes() -> Value {
    json!({
        "string": "a \"quoted\" ü", "true": "true", "int": "-7", "double": "0.1", "large": "1e+21", "bytes": "AAH+/w==",
        "array": "[1,\"two\",true,2.5]", "map": "{\"inner\":[1,\"two\",true,2.5]}", "empty": "",
    })
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![
            attribute("service.name", text("shop")),
            attribute("k8s.pod.name", text("shop-1")),
            attribute("rum.sessionId", text("s1")),
        ],
        ..Default::default()
    })
}

fn stored_resource() -> Value {
    json!({"service.name": "shop", "k8s.pod.name": "shop-1", "rum.sessionId": "s1"})
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: vec![attribute("scope", text("attribute"))],
        dropped_attributes_count: 3,
    })
}

fn small(key: &str, value: &str) -> Vec<KeyValue> {
    vec![attribute(key, text(value))]
}

fn traces() -> Vec<u8> {
    let span = Span {
        trace_id: TRACE.to_vec(),
        span_id: SPAN.to_vec(),
        parent_span_id: PARENT.to_vec(),
        trace_state: "a=1".into(),
        name: "GET /".into(),
        kind: span::SpanKind::Server.into(),
        start_time_unix_nano: MOMENT,
        end_time_unix_nano: MOMENT + 1_234_567,
        attributes: [attributes(), small("SampleRate", "8")].concat(),
        events: vec![
            span::Event {
                time_unix_nano: MOMENT + 1,
                name: "first".into(),
                attributes: small("e", "1"),
                ..Default::default()
            },
            span::Event { time_unix_nano: MOMENT + 2, name: "second".into(), ..Default::default() },
        ],
        links: vec![span::Link {
            trace_id: TRACE.to_vec(),
            span_id: PARENT.to_vec(),
            trace_state: "b=2".into(),
            attributes: small("l", "1"),
            ..Default::default()
        }],
        status: Some(Status { code: 2, message: "broken".into() }),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span], schema_url: "https://scope".into() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(), scope_spans, schema_url: "https://resource".into() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A log's attributes are stored flat, as ClickStack's collector stores them.
fn flattened_attributes() -> Value {
    let mut attributes = stored_attributes();
    let object = attributes.as_object_mut().expect("an object");
    for (nested, prefix) in [("array", "array"), ("map", "map.inner")] {
        object.remove(nested);
        for (at, value) in ["1", "two", "true", "2.5"].into_iter().enumerate() {
            object.insert(format!("{prefix}.{at}"), value.into());
        }
    }
    attributes
}

fn logs() -> Vec<u8> {
    let log = LogRecord {
        time_unix_nano: 0,
        observed_time_unix_nano: MOMENT,
        severity_number: 13,
        severity_text: "warn".into(),
        body: Some(text("the body")),
        attributes: attributes(),
        flags: 1,
        trace_id: TRACE.to_vec(),
        span_id: SPAN.to_vec(),
        event_name: "happened".into(),
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: vec![log], schema_url: "https://scope".into() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, schema_url: "https://resource".into() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn exemplars() -> Vec<Exemplar> {
    vec![Exemplar {
        filtered_attributes: small("x", "y"),
        time_unix_nano: MOMENT,
        span_id: SPAN.to_vec(),
        trace_id: TRACE.to_vec(),
        value: Some(exemplar::Value::AsInt(3)),
    }]
}

fn number(value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: small("p", "1"),
        start_time_unix_nano: MOMENT - 5_000_000_000,
        time_unix_nano: MOMENT,
        exemplars: exemplars(),
        flags: 1,
        value: Some(value),
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn metrics() -> Vec<u8> {
    let histogram = HistogramDataPoint {
        attributes: small("p", "1"),
        start_time_unix_nano: MOMENT - 5_000_000_000,
        time_unix_nano: MOMENT,
        count: 6,
        sum: Some(7.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 1.5],
        exemplars: exemplars(),
        flags: 1,
        min: Some(0.25),
        max: Some(4.0),
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: small("p", "1"),
        start_time_unix_nano: MOMENT - 5_000_000_000,
        time_unix_nano: MOMENT,
        count: 6,
        sum: Some(7.5),
        scale: -1,
        zero_count: 2,
        positive: Some(Buckets { offset: 1, bucket_counts: vec![1, 2] }),
        negative: Some(Buckets { offset: -2, bucket_counts: vec![1] }),
        flags: 1,
        exemplars: exemplars(),
        min: Some(0.25),
        max: Some(4.0),
        zero_threshold: 0.0,
    };
    let summary = SummaryDataPoint {
        attributes: small("p", "1"),
        start_time_unix_nano: MOMENT - 5_000_000_000,
        time_unix_nano: MOMENT,
        count: 6,
        sum: 7.5,
        quantile_values: vec![
            ValueAtQuantile { quantile: 0.5, value: 1.0 },
            ValueAtQuantile { quantile: 0.99, value: 3.0 },
        ],
        flags: 1,
    };
    let data = [
        Data::Gauge(Gauge { data_points: vec![number(number_data_point::Value::AsDouble(1.5))] }),
        Data::Sum(Sum {
            data_points: vec![number(number_data_point::Value::AsInt(42))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: 2 }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metrics = data
        .map(|data| Metric {
            name: "m".into(),
            description: "what it is".into(),
            unit: "s".into(),
            data: Some(data),
            ..Default::default()
        })
        .to_vec();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: "https://scope".into() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(), scope_metrics, schema_url: "https://resource".into() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A time of a DateTime64(9) column, as `date_time_output_format = 'unix_timestamp'` prints it.
fn nanoseconds(offset: u64) -> Value {
    let time = MOMENT + offset;
    json!(format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000))
}

fn seconds(before: u64) -> Value {
    json!(format!("{}", MOMENT / 1_000_000_000 - before))
}

/// Table by table, every column that `SELECT *` shows.
fn expected() -> Vec<(&'static str, Value)> {
    let span_attributes = merge(&stored_attributes(), &json!({"SampleRate": "8"}));
    let traces = json!({
        "Timestamp": nanoseconds(0), "TraceId": TRACE_HEX, "SpanId": SPAN_HEX, "ParentSpanId": "eee19b7ec3c1b173", "TraceState": "a=1",
        "SpanName": "GET /", "SpanKind": "Server", "ServiceName": "shop", "ResourceAttributes": stored_resource(), "ScopeName": "lib",
        "ScopeVersion": "1.2", "SpanAttributes": span_attributes, "Duration": 1_234_567, "StatusCode": "Error", "StatusMessage": "broken",
        "Events.Timestamp": [nanoseconds(1), nanoseconds(2)], "Events.Name": ["first", "second"], "Events.Attributes": [{"e": "1"}, {}],
        "Links.TraceId": [TRACE_HEX], "Links.SpanId": ["eee19b7ec3c1b173"], "Links.TraceState": ["b=2"], "Links.Attributes": [{"l": "1"}],
    });
    let logs = json!({
        "Timestamp": nanoseconds(0), "TraceId": TRACE_HEX, "SpanId": SPAN_HEX, "TraceFlags": 1, "SeverityText": "warn", "SeverityNumber": 13,
        "ServiceName": "shop", "Body": "the body", "ResourceSchemaUrl": "https://resource", "ResourceAttributes": stored_resource(),
        "ScopeSchemaUrl": "https://scope", "ScopeName": "lib", "ScopeVersion": "1.2", "ScopeAttributes": {"scope": "attribute"},
        "LogAttributes": flattened_attributes(), "EventName": "happened",
    });
    let point = json!({
        "ResourceAttributes": stored_resource(), "ResourceSchemaUrl": "https://resource", "ScopeName": "lib", "ScopeVersion": "1.2",
        "ScopeAttributes": {"scope": "attribute"}, "ScopeDroppedAttrCount": 3, "ScopeSchemaUrl": "https://scope", "ServiceName": "shop",
        "MetricName": "m", "MetricDescription": "what it is", "MetricUnit": "s", "Attributes": {"p": "1"},
        "StartTimeUnix": seconds(5), "TimeUnix": seconds(0), "Flags": 1,
    });
    let exemplars = json!({
        "Exemplars.FilteredAttributes": [{"x": "y"}], "Exemplars.TimeUnix": [seconds(0)], "Exemplars.Value": [3.0],
        "Exemplars.SpanId": [SPAN_HEX], "Exemplars.TraceId": [TRACE_HEX],
    });
    let buckets = json!({"BucketCounts": [1, 2, 3], "ExplicitBounds": [0.5, 1.5], "AggregationTemporality": 1});
    let exponential = json!({
        "Scale": -1, "ZeroCount": 2, "PositiveOffset": 1, "PositiveBucketCounts": [1, 2], "NegativeOffset": -2, "NegativeBucketCounts": [1],
        "AggregationTemporality": 2,
    });
    let extremes = merge(&exemplars, &json!({"Count": 6, "Sum": 7.5, "Min": 0.25, "Max": 4.0}));
    let quantiles =
        json!({"Count": 6, "Sum": 7.5, "ValueAtQuantiles.Quantile": [0.5, 0.99], "ValueAtQuantiles.Value": [1.0, 3.0]});
    let sum = json!({"Value": 42.0, "AggregationTemporality": 2, "IsMonotonic": true});
    vec![
        ("otel_traces", traces),
        ("otel_logs", logs),
        ("otel_metrics_gauge", merge(&merge(&point, &exemplars), &json!({"Value": 1.5}))),
        ("otel_metrics_sum", merge(&merge(&point, &exemplars), &sum)),
        ("otel_metrics_histogram", merge(&merge(&point, &extremes), &buckets)),
        ("otel_metrics_exponential_histogram", merge(&merge(&point, &extremes), &exponential)),
        ("otel_metrics_summary", merge(&point, &quantiles)),
    ]
}

fn merge(one: &Value, other: &Value) -> Value {
    let mut merged = one.as_object().expect("an object").clone();
    merged.extend(other.as_object().expect("an object").clone());
    Value::Object(merged)
}
