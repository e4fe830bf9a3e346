//! OTLP requests for tests, as bytes of protobuf or JSON.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelgate::signal::Signal;
use prost::Message;
use serde_json::json;

use super::client::Protocol;

/// A moment in 2026, in nanoseconds.
pub const MOMENT: u64 = 1_780_000_000_123_456_789;

pub fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

pub fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

pub fn resource(service: &str) -> Resource {
    Resource { attributes: vec![attribute("service.name", text(service))], ..Default::default() }
}

/// A request of `records` small records of one service, numbered from `first` in the attribute `seq`.
pub fn numbered(signal: Signal, protocol: Protocol, service: &str, first: u64, records: u64) -> Vec<u8> {
    let numbers = first..first + records;
    if protocol == Protocol::HttpJson {
        return numbered_json(signal, service, numbers).to_string().into_bytes();
    }
    match signal {
        Signal::Traces => traces(service, numbers.map(span).collect()),
        Signal::Logs => logs(service, numbers.map(log).collect()),
        Signal::Metrics | Signal::Profiles => metrics(service, numbers.map(point).collect()),
    }
}

fn seq(number: u64) -> Vec<KeyValue> {
    vec![attribute("seq", AnyValue { value: Some(Value::IntValue(i64::try_from(number).expect("small"))) })]
}

fn span(number: u64) -> Span {
    Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: "work".to_owned(),
        start_time_unix_nano: MOMENT + number,
        end_time_unix_nano: MOMENT + number + 1000,
        attributes: seq(number),
        ..Default::default()
    }
}

fn log(number: u64) -> LogRecord {
    LogRecord {
        time_unix_nano: MOMENT + number,
        body: Some(text("worked")),
        attributes: seq(number),
        ..Default::default()
    }
}

fn point(number: u64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: MOMENT + number,
        value: Some(number_data_point::Value::AsDouble(1.5)),
        attributes: seq(number),
        ..Default::default()
    }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "tests".to_owned(), ..Default::default() })
}

/// An export request of spans.
pub fn traces(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource(service)), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// An export request of log records.
pub fn logs(service: &str, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource(service)), scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// An export request of a gauge's data points.
pub fn metrics(service: &str, data_points: Vec<NumberDataPoint>) -> Vec<u8> {
    let gauge = Metric {
        name: "load".to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points })),
        ..Default::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics: vec![gauge], ..Default::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource(service)), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn numbered_json(signal: Signal, service: &str, numbers: std::ops::Range<u64>) -> serde_json::Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let records: Vec<_> = numbers
        .map(|number| {
            let attributes = json!([{"key": "seq", "value": {"intValue": number.to_string()}}]);
            let time = (MOMENT + number).to_string();
            match signal {
                Signal::Traces => json!({
                    "traceId": format!("{:032x}", number + 1), "spanId": format!("{:016x}", number + 1), "name": "work",
                    "startTimeUnixNano": time, "endTimeUnixNano": (MOMENT + number + 1000).to_string(), "attributes": attributes,
                }),
                Signal::Logs => json!({"timeUnixNano": time, "body": {"stringValue": "worked"}, "attributes": attributes}),
                Signal::Metrics | Signal::Profiles => json!({"timeUnixNano": time, "asDouble": 1.5, "attributes": attributes}),
            }
        })
        .collect();
    let scope = json!({"name": "tests"});
    match signal {
        Signal::Traces => {
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": records}]}]})
        }
        Signal::Logs => {
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": records}]}]})
        }
        Signal::Metrics | Signal::Profiles => {
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope,
            "metrics": [{"name": "load", "gauge": {"dataPoints": records}}]}]}]})
        }
    }
}

/// The table that [`numbered`] records of a signal go to.
pub fn table(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "otel_traces",
        Signal::Logs => "otel_logs",
        Signal::Metrics | Signal::Profiles => "otel_metrics_gauge",
    }
}
