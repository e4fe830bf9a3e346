//! The rows that a request must become, computed from prost's messages by the plainest means.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, NumberDataPoint, exemplar, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::expected_text::text;
use super::reader::Cell;

/// Rows by table and day, each row with its columns by name.
pub(super) type Tables = BTreeMap<(String, i32), Vec<BTreeMap<String, Cell>>>;

const NANOS_A_DAY: i64 = 86_400_000_000_000;

fn day(nanos: u64) -> i32 {
    (nanos as i64).div_euclid(NANOS_A_DAY) as i32
}

fn seconds(nanos: u64) -> u64 {
    ((nanos as i64).div_euclid(1_000_000_000) as u32).into()
}

fn hex(id: &[u8]) -> Cell {
    if id.iter().all(|byte| *byte == 0) {
        return Cell::text("");
    }
    Cell::text(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn map(attributes: &[KeyValue]) -> Cell {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = attributes
        .iter()
        .map(|entry| (entry.key.clone().into_bytes(), text(entry.value.as_ref()).into_bytes()))
        .collect();
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    Cell::Map(pairs)
}

fn array<T>(items: &[T], cell: impl Fn(&T) -> Cell) -> Cell {
    Cell::Array(items.iter().map(cell).collect())
}

fn service_name(resource: &Resource) -> Cell {
    let named = resource.attributes.iter().find(|entry| entry.key == "service.name");
    Cell::text(text(named.and_then(|entry| entry.value.as_ref())))
}

type Row = BTreeMap<String, Cell>;

fn row<const N: usize>(cells: [(&str, Cell); N]) -> Row {
    cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect()
}

/// Whether a column of nanoseconds holds this time.
fn fits(nanos: u64) -> bool {
    i64::try_from(nanos).is_ok()
}

/// Whether a column of seconds holds it.
fn fits_seconds(nanos: u64) -> bool {
    u32::try_from(nanos / 1_000_000_000).is_ok()
}

pub(super) fn traces(request: &ExportTraceServiceRequest, tables: &mut Tables) {
    for group in &request.resource_spans {
        let resource = group.resource.clone().unwrap_or_default();
        for scope_group in &group.scope_spans {
            let scope = scope_group.scope.clone().unwrap_or_default();
            for span in scope_group.spans.iter().filter(|span| fits(span.start_time_unix_nano)) {
                let key = ("otel_traces".to_owned(), day(span.start_time_unix_nano));
                tables.entry(key).or_default().push(span_row(&resource, &scope, span));
            }
        }
    }
}

fn span_row(resource: &Resource, scope: &InstrumentationScope, span: &Span) -> Row {
    let kinds = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
    let kind = usize::try_from(span.kind).ok().and_then(|kind| kinds.get(kind)).copied().unwrap_or_default();
    let status = span.status.clone().unwrap_or_default();
    let codes = ["Unset", "Ok", "Error"];
    let code = usize::try_from(status.code).ok().and_then(|code| codes.get(code)).copied().unwrap_or_default();
    row([
        ("Timestamp", Cell::Number(span.start_time_unix_nano)),
        ("TraceId", hex(&span.trace_id)),
        ("SpanId", hex(&span.span_id)),
        ("ParentSpanId", hex(&span.parent_span_id)),
        ("TraceState", Cell::text(&span.trace_state)),
        ("SpanName", Cell::text(&span.name)),
        ("SpanKind", Cell::text(kind)),
        ("ServiceName", service_name(resource)),
        ("ResourceAttributes", map(&resource.attributes)),
        ("ScopeName", Cell::text(&scope.name)),
        ("ScopeVersion", Cell::text(&scope.version)),
        ("SpanAttributes", map(&span.attributes)),
        ("Duration", Cell::Number(span.end_time_unix_nano.wrapping_sub(span.start_time_unix_nano))),
        ("StatusCode", Cell::text(code)),
        ("StatusMessage", Cell::text(&status.message)),
        ("Events.Timestamp", array(&span.events, |event| Cell::Number(event.time_unix_nano))),
        ("Events.Name", array(&span.events, |event| Cell::text(&event.name))),
        ("Events.Attributes", array(&span.events, |event| map(&event.attributes))),
        ("Links.TraceId", array(&span.links, |link| hex(&link.trace_id))),
        ("Links.SpanId", array(&span.links, |link| hex(&link.span_id))),
        ("Links.TraceState", array(&span.links, |link| Cell::text(&link.trace_state))),
        ("Links.Attributes", array(&span.links, |link| map(&link.attributes))),
    ])
}

pub(super) fn logs(request: &ExportLogsServiceRequest, tables: &mut Tables) {
    for group in &request.resource_logs {
        let resource = group.resource.clone().unwrap_or_default();
        for scope_group in &group.scope_logs {
            let scope = scope_group.scope.clone().unwrap_or_default();
            for record in &scope_group.log_records {
                let replay = record.attributes.iter().any(|entry| {
                    entry.key == "rr-web.event" && entry.value.as_ref().is_some_and(|any| any.value.is_some())
                });
                let nanos = match record.time_unix_nano {
                    0 => record.observed_time_unix_nano,
                    nanos => nanos,
                };
                if !fits(nanos) {
                    continue;
                }
                let mut row = log_row(&resource, &scope, record, nanos);
                row.insert("ResourceSchemaUrl".to_owned(), Cell::text(&group.schema_url));
                row.insert("ScopeSchemaUrl".to_owned(), Cell::text(&scope_group.schema_url));
                if replay {
                    row.remove("EventName");
                }
                let table = if replay { "hyperdx_sessions" } else { "otel_logs" };
                tables.entry((table.to_owned(), day(nanos))).or_default().push(row);
            }
        }
    }
}

fn log_row(resource: &Resource, scope: &InstrumentationScope, record: &LogRecord, nanos: u64) -> Row {
    row([
        ("Timestamp", Cell::Number(nanos)),
        ("TraceId", hex(&record.trace_id)),
        ("SpanId", hex(&record.span_id)),
        ("TraceFlags", Cell::Number((record.flags as u8).into())),
        ("SeverityText", Cell::text(&record.severity_text)),
        ("SeverityNumber", Cell::Number((record.severity_number as u8).into())),
        ("ServiceName", service_name(resource)),
        ("Body", Cell::text(text(record.body.as_ref()))),
        ("ResourceAttributes", map(&resource.attributes)),
        ("ScopeName", Cell::text(&scope.name)),
        ("ScopeVersion", Cell::text(&scope.version)),
        ("ScopeAttributes", map(&scope.attributes)),
        ("LogAttributes", map(&record.attributes)),
        ("EventName", Cell::text(&record.event_name)),
    ])
}

pub(super) fn metrics(request: &ExportMetricsServiceRequest, tables: &mut Tables) {
    for group in &request.resource_metrics {
        let resource = group.resource.clone().unwrap_or_default();
        for scope_group in &group.scope_metrics {
            let scope = scope_group.scope.clone().unwrap_or_default();
            for metric in &scope_group.metrics {
                let mut common = row([
                    ("ResourceAttributes", map(&resource.attributes)),
                    ("ResourceSchemaUrl", Cell::text(&group.schema_url)),
                    ("ScopeName", Cell::text(&scope.name)),
                    ("ScopeVersion", Cell::text(&scope.version)),
                    ("ScopeAttributes", map(&scope.attributes)),
                    ("ScopeDroppedAttrCount", Cell::Number(scope.dropped_attributes_count.into())),
                    ("ScopeSchemaUrl", Cell::text(&scope_group.schema_url)),
                    ("ServiceName", service_name(&resource)),
                ]);
                common.extend(row([
                    ("MetricName", Cell::text(&metric.name)),
                    ("MetricDescription", Cell::text(&metric.description)),
                    ("MetricUnit", Cell::text(&metric.unit)),
                ]));
                for (table, nanos, mut row) in points(metric).into_iter().filter(|(_, nanos, _)| fits_seconds(*nanos)) {
                    row.extend(common.clone());
                    let key = (table.to_owned(), (seconds(nanos) / 86_400) as i32);
                    tables.entry(key).or_default().push(row);
                }
            }
        }
    }
}

fn bits(double: Option<f64>) -> Cell {
    Cell::Number(double.unwrap_or_default().to_bits())
}

fn int32(int: i32) -> Cell {
    Cell::Number((int as u32).into())
}

/// What the points of all kinds have: (start, time, flags, attributes).
fn point(start: u64, time: u64, flags: u32, attributes: &[KeyValue]) -> Row {
    row([
        ("StartTimeUnix", Cell::Number(seconds(start))),
        ("TimeUnix", Cell::Number(seconds(time))),
        ("Flags", Cell::Number(flags.into())),
        ("Attributes", map(attributes)),
    ])
}

fn exemplars(list: &[Exemplar]) -> Row {
    let full = |id: &[u8], len: usize| {
        let mut id = id.to_vec();
        id.resize(len, 0);
        Cell::text(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    row([
        ("Exemplars.FilteredAttributes", array(list, |exemplar| map(&exemplar.filtered_attributes))),
        ("Exemplars.TimeUnix", array(list, |exemplar| Cell::Number(seconds(exemplar.time_unix_nano)))),
        ("Exemplars.SpanId", array(list, |exemplar| full(&exemplar.span_id, 8))),
        ("Exemplars.TraceId", array(list, |exemplar| full(&exemplar.trace_id, 16))),
        (
            "Exemplars.Value",
            array(list, |exemplar| {
                bits(match exemplar.value {
                    Some(exemplar::Value::AsDouble(double)) => Some(double),
                    Some(exemplar::Value::AsInt(int)) => Some(int as f64),
                    None => None,
                })
            }),
        ),
    ])
}

fn number_row(point_: &NumberDataPoint) -> Row {
    let mut row = point(point_.start_time_unix_nano, point_.time_unix_nano, point_.flags, &point_.attributes);
    row.extend(exemplars(&point_.exemplars));
    let value = match point_.value {
        Some(number_data_point::Value::AsDouble(double)) => Some(double),
        Some(number_data_point::Value::AsInt(int)) => Some(int as f64),
        None => None,
    };
    row.insert("Value".to_owned(), bits(value));
    row
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn points(metric: &Metric) -> Vec<(&'static str, u64, Row)> {
    let mut rows = Vec::new();
    match &metric.data {
        None => {}
        Some(Data::Gauge(gauge)) => {
            for point in &gauge.data_points {
                rows.push(("otel_metrics_gauge", point.time_unix_nano, number_row(point)));
            }
        }
        Some(Data::Sum(sum)) => {
            for point in &sum.data_points {
                let mut cells = number_row(point);
                cells.extend(row([
                    ("AggregationTemporality", int32(sum.aggregation_temporality)),
                    ("IsMonotonic", Cell::Number(sum.is_monotonic.into())),
                ]));
                rows.push(("otel_metrics_sum", point.time_unix_nano, cells));
            }
        }
        Some(Data::Histogram(histogram)) => {
            for p in &histogram.data_points {
                let mut cells = point(p.start_time_unix_nano, p.time_unix_nano, p.flags, &p.attributes);
                cells.extend(exemplars(&p.exemplars));
                cells.extend(row([
                    ("Count", Cell::Number(p.count)),
                    ("Sum", bits(p.sum)),
                    ("BucketCounts", array(&p.bucket_counts, |count| Cell::Number(*count))),
                    ("ExplicitBounds", array(&p.explicit_bounds, |bound| bits(Some(*bound)))),
                    ("Min", bits(p.min)),
                    ("Max", bits(p.max)),
                    ("AggregationTemporality", int32(histogram.aggregation_temporality)),
                ]));
                rows.push(("otel_metrics_histogram", p.time_unix_nano, cells));
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            for p in &histogram.data_points {
                let mut cells = point(p.start_time_unix_nano, p.time_unix_nano, p.flags, &p.attributes);
                cells.extend(exemplars(&p.exemplars));
                let positive = p.positive.clone().unwrap_or_default();
                let negative = p.negative.clone().unwrap_or_default();
                cells.extend(row([
                    ("Count", Cell::Number(p.count)),
                    ("Sum", bits(p.sum)),
                    ("Scale", int32(p.scale)),
                    ("ZeroCount", Cell::Number(p.zero_count)),
                    ("PositiveOffset", int32(positive.offset)),
                    ("PositiveBucketCounts", array(&positive.bucket_counts, |count| Cell::Number(*count))),
                    ("NegativeOffset", int32(negative.offset)),
                    ("NegativeBucketCounts", array(&negative.bucket_counts, |count| Cell::Number(*count))),
                    ("Min", bits(p.min)),
                    ("Max", bits(p.max)),
                    ("AggregationTemporality", int32(histogram.aggregation_temporality)),
                ]));
                rows.push(("otel_metrics_exponential_histogram", p.time_unix_nano, cells));
            }
        }
        Some(Data::Summary(summary)) => {
            for p in &summary.data_points {
                let mut cells = point(p.start_time_unix_nano, p.time_unix_nano, p.flags, &p.attributes);
                cells.extend(row([
                    ("Count", Cell::Number(p.count)),
                    ("Sum", bits(Some(p.sum))),
                    ("ValueAtQuantiles.Quantile", array(&p.quantile_values, |q| bits(Some(q.quantile)))),
                    ("ValueAtQuantiles.Value", array(&p.quantile_values, |q| bits(Some(q.value)))),
                ]));
                rows.push(("otel_metrics_summary", p.time_unix_nano, cells));
            }
        }
    }
    rows
}
