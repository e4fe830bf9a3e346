//! The tables that the signals feed, with every column that the encoder can write.
//!
//! A column's place in its table's list is how the rest of the encoder names it, so the lists and the constants are
//! made by one macro and cannot drift apart.

/// A table of ClickStack's schema that the encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TableKind {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Log records that carry a session replay event.
    Sessions,
    /// Gauges.
    Gauge,
    /// Sums.
    Sum,
    /// Histograms with explicit bounds.
    Histogram,
    /// Exponential histograms.
    ExponentialHistogram,
    /// Summaries.
    Summary,
}

impl TableKind {
    /// Every table, in the order of [`TableKind::index`].
    pub(crate) const ALL: [TableKind; 8] = [
        TableKind::Traces,
        TableKind::Logs,
        TableKind::Sessions,
        TableKind::Gauge,
        TableKind::Sum,
        TableKind::Histogram,
        TableKind::ExponentialHistogram,
        TableKind::Summary,
    ];

    /// Its place in an array that has one entry a table.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The table's name in ClickStack's schema.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            TableKind::Traces => "otel_traces",
            TableKind::Logs => "otel_logs",
            TableKind::Sessions => "hyperdx_sessions",
            TableKind::Gauge => "otel_metrics_gauge",
            TableKind::Sum => "otel_metrics_sum",
            TableKind::Histogram => "otel_metrics_histogram",
            TableKind::ExponentialHistogram => "otel_metrics_exponential_histogram",
            TableKind::Summary => "otel_metrics_summary",
        }
    }

    /// The columns that the encoder can write.
    pub(super) const fn columns(self) -> &'static [ColumnSpec] {
        match self {
            TableKind::Traces => span::COLUMNS,
            TableKind::Logs | TableKind::Sessions => log::COLUMNS,
            TableKind::Gauge => gauge::COLUMNS,
            TableKind::Sum => sum::COLUMNS,
            TableKind::Histogram => histogram::COLUMNS,
            TableKind::ExponentialHistogram => exponential::COLUMNS,
            TableKind::Summary => summary::COLUMNS,
        }
    }
}

/// Columns that are the same in all rows of one resource, scope or metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Resource,
    Scope,
    Metric,
}

impl Group {
    pub(super) const COUNT: usize = 3;
}

/// Where a table keeps what the resource and the scope say.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) service_name: usize,
    pub(super) resource_attributes: usize,
    pub(super) resource_schema_url: Option<usize>,
    pub(super) scope_name: usize,
    pub(super) scope_version: usize,
    pub(super) scope_attributes: Option<usize>,
    pub(super) scope_dropped: Option<usize>,
    pub(super) scope_schema_url: Option<usize>,
    groups: [&'static [usize]; Group::COUNT],
}

impl TableKind {
    /// Where the table keeps what the resource and the scope say.
    pub(super) const fn places(self) -> &'static Places {
        match self {
            TableKind::Traces => &SPAN_PLACES,
            TableKind::Logs | TableKind::Sessions => &LOG_PLACES,
            _ => &METRIC_PLACES,
        }
    }

    /// The columns of a group.
    pub(super) const fn group(self, group: Group) -> &'static [usize] {
        self.places().groups[group as usize]
    }

    /// The column whose day names the row's partition.
    pub(super) const fn time_column(self) -> usize {
        match self {
            TableKind::Traces => span::TIMESTAMP,
            TableKind::Logs | TableKind::Sessions => log::TIMESTAMP,
            _ => gauge::TIME,
        }
    }
}

const SPAN_PLACES: Places = Places {
    service_name: span::SERVICE_NAME,
    resource_attributes: span::RESOURCE_ATTRIBUTES,
    resource_schema_url: None,
    scope_name: span::SCOPE_NAME,
    scope_version: span::SCOPE_VERSION,
    scope_attributes: None,
    scope_dropped: None,
    scope_schema_url: None,
    groups: [&[span::SERVICE_NAME, span::RESOURCE_ATTRIBUTES], &[span::SCOPE_NAME, span::SCOPE_VERSION], &[]],
};

const LOG_PLACES: Places = Places {
    service_name: log::SERVICE_NAME,
    resource_attributes: log::RESOURCE_ATTRIBUTES,
    resource_schema_url: Some(log::RESOURCE_SCHEMA_URL),
    scope_name: log::SCOPE_NAME,
    scope_version: log::SCOPE_VERSION,
    scope_attributes: Some(log::SCOPE_ATTRIBUTES),
    scope_dropped: None,
    scope_schema_url: Some(log::SCOPE_SCHEMA_URL),
    groups: [
        &[log::SERVICE_NAME, log::RESOURCE_ATTRIBUTES, log::RESOURCE_SCHEMA_URL],
        &[log::SCOPE_NAME, log::SCOPE_VERSION, log::SCOPE_ATTRIBUTES, log::SCOPE_SCHEMA_URL],
        &[],
    ],
};

/// All five metric tables begin with the same columns.
const METRIC_PLACES: Places = Places {
    service_name: gauge::SERVICE_NAME,
    resource_attributes: gauge::RESOURCE_ATTRIBUTES,
    resource_schema_url: Some(gauge::RESOURCE_SCHEMA_URL),
    scope_name: gauge::SCOPE_NAME,
    scope_version: gauge::SCOPE_VERSION,
    scope_attributes: Some(gauge::SCOPE_ATTRIBUTES),
    scope_dropped: Some(gauge::SCOPE_DROPPED),
    scope_schema_url: Some(gauge::SCOPE_SCHEMA_URL),
    groups: [
        &[gauge::SERVICE_NAME, gauge::RESOURCE_ATTRIBUTES, gauge::RESOURCE_SCHEMA_URL],
        &[
            gauge::SCOPE_NAME,
            gauge::SCOPE_VERSION,
            gauge::SCOPE_ATTRIBUTES,
            gauge::SCOPE_DROPPED,
            gauge::SCOPE_SCHEMA_URL,
        ],
        &[gauge::METRIC_NAME, gauge::METRIC_DESCRIPTION, gauge::METRIC_UNIT],
    ],
};

/// A column that the encoder can write.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnSpec {
    pub(super) name: &'static str,
    pub(super) value: ValueKind,
    /// One value a row, or an array of them.
    pub(super) array: bool,
    /// A row makes no sense without it; the others are left out where the table does not have them.
    pub(super) required: bool,
}

/// What a column's values are before the table's type is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// `String` or `LowCardinality(String)`.
    Text,
    /// Nanoseconds since 1970; `DateTime` or `DateTime64`.
    Time,
    /// Any integer type; a value that does not fit keeps its low bits, as the collector's conversion does.
    Integer,
    /// `Float64` or `Float32`.
    Double,
    /// `Bool` or `UInt8`.
    Flag,
    /// `Map(…String, String)` or `JSON`.
    Attributes,
}

/// Lists a table's columns and names each one's place.
macro_rules! columns {
    ($module:ident: $($place:ident $name:literal $kind:ident $(array $array:literal)? $(optional $optional:literal)?,)+) => {
        #[allow(dead_code, reason = "the metric tables share their first columns' places")]
        pub(super) mod $module {
            use super::{ColumnSpec, ValueKind};

            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Place { $($place),+ }
            $(pub(in super::super) const $place: usize = Place::$place as usize;)+

            pub(in super::super) const COLUMNS: &[ColumnSpec] = &[$(ColumnSpec {
                name: $name,
                value: ValueKind::$kind,
                array: false $(|| $array)?,
                required: true $(&& !$optional)?,
            }),+];
        }
    };
}

columns! { span:
    TIMESTAMP "Timestamp" Time,
    TRACE_ID "TraceId" Text,
    SPAN_ID "SpanId" Text,
    PARENT_SPAN_ID "ParentSpanId" Text,
    TRACE_STATE "TraceState" Text optional true,
    SPAN_NAME "SpanName" Text,
    SPAN_KIND "SpanKind" Text optional true,
    SERVICE_NAME "ServiceName" Text,
    RESOURCE_ATTRIBUTES "ResourceAttributes" Attributes,
    SCOPE_NAME "ScopeName" Text optional true,
    SCOPE_VERSION "ScopeVersion" Text optional true,
    SPAN_ATTRIBUTES "SpanAttributes" Attributes,
    DURATION "Duration" Integer,
    STATUS_CODE "StatusCode" Text optional true,
    STATUS_MESSAGE "StatusMessage" Text optional true,
    EVENTS_TIMESTAMP "Events.Timestamp" Time array true optional true,
    EVENTS_NAME "Events.Name" Text array true optional true,
    EVENTS_ATTRIBUTES "Events.Attributes" Attributes array true optional true,
    LINKS_TRACE_ID "Links.TraceId" Text array true optional true,
    LINKS_SPAN_ID "Links.SpanId" Text array true optional true,
    LINKS_TRACE_STATE "Links.TraceState" Text array true optional true,
    LINKS_ATTRIBUTES "Links.Attributes" Attributes array true optional true,
}

columns! { log:
    TIMESTAMP "Timestamp" Time,
    TRACE_ID "TraceId" Text,
    SPAN_ID "SpanId" Text,
    TRACE_FLAGS "TraceFlags" Integer optional true,
    SEVERITY_TEXT "SeverityText" Text optional true,
    SEVERITY_NUMBER "SeverityNumber" Integer optional true,
    SERVICE_NAME "ServiceName" Text,
    BODY "Body" Text,
    RESOURCE_SCHEMA_URL "ResourceSchemaUrl" Text optional true,
    RESOURCE_ATTRIBUTES "ResourceAttributes" Attributes,
    SCOPE_SCHEMA_URL "ScopeSchemaUrl" Text optional true,
    SCOPE_NAME "ScopeName" Text optional true,
    SCOPE_VERSION "ScopeVersion" Text optional true,
    SCOPE_ATTRIBUTES "ScopeAttributes" Attributes optional true,
    LOG_ATTRIBUTES "LogAttributes" Attributes,
    EVENT_NAME "EventName" Text optional true,
}

/// The columns that all five metric tables begin with, then those of one kind.
macro_rules! metric_columns {
    ($module:ident: $($rest:tt)*) => {
        columns! { $module:
            RESOURCE_ATTRIBUTES "ResourceAttributes" Attributes,
            RESOURCE_SCHEMA_URL "ResourceSchemaUrl" Text optional true,
            SCOPE_NAME "ScopeName" Text optional true,
            SCOPE_VERSION "ScopeVersion" Text optional true,
            SCOPE_ATTRIBUTES "ScopeAttributes" Attributes optional true,
            SCOPE_DROPPED "ScopeDroppedAttrCount" Integer optional true,
            SCOPE_SCHEMA_URL "ScopeSchemaUrl" Text optional true,
            SERVICE_NAME "ServiceName" Text optional true,
            METRIC_NAME "MetricName" Text,
            METRIC_DESCRIPTION "MetricDescription" Text optional true,
            METRIC_UNIT "MetricUnit" Text optional true,
            ATTRIBUTES "Attributes" Attributes,
            START_TIME "StartTimeUnix" Time,
            TIME "TimeUnix" Time,
            FLAGS "Flags" Integer optional true,
            $($rest)*
        }
    };
}

/// [`metric_columns`] with exemplars before those of one kind.
macro_rules! exemplar_columns {
    ($module:ident: $($rest:tt)*) => {
        metric_columns! { $module:
            EXEMPLARS_ATTRIBUTES "Exemplars.FilteredAttributes" Attributes array true optional true,
            EXEMPLARS_TIME "Exemplars.TimeUnix" Time array true optional true,
            EXEMPLARS_VALUE "Exemplars.Value" Double array true optional true,
            EXEMPLARS_SPAN_ID "Exemplars.SpanId" Text array true optional true,
            EXEMPLARS_TRACE_ID "Exemplars.TraceId" Text array true optional true,
            $($rest)*
        }
    };
}

exemplar_columns! { gauge:
    VALUE "Value" Double,
}

exemplar_columns! { sum:
    VALUE "Value" Double,
    TEMPORALITY "AggregationTemporality" Integer,
    IS_MONOTONIC "IsMonotonic" Flag,
}

exemplar_columns! { histogram:
    COUNT "Count" Integer,
    SUM "Sum" Double,
    BUCKET_COUNTS "BucketCounts" Integer array true,
    EXPLICIT_BOUNDS "ExplicitBounds" Double array true,
    MIN "Min" Double,
    MAX "Max" Double,
    TEMPORALITY "AggregationTemporality" Integer optional true,
}

exemplar_columns! { exponential:
    COUNT "Count" Integer,
    SUM "Sum" Double,
    SCALE "Scale" Integer,
    ZERO_COUNT "ZeroCount" Integer,
    POSITIVE_OFFSET "PositiveOffset" Integer,
    POSITIVE_COUNTS "PositiveBucketCounts" Integer array true,
    NEGATIVE_OFFSET "NegativeOffset" Integer,
    NEGATIVE_COUNTS "NegativeBucketCounts" Integer array true,
    MIN "Min" Double,
    MAX "Max" Double,
    TEMPORALITY "AggregationTemporality" Integer optional true,
}

metric_columns! { summary:
    COUNT "Count" Integer,
    SUM "Sum" Double,
    QUANTILES "ValueAtQuantiles.Quantile" Double array true,
    QUANTILE_VALUES "ValueAtQuantiles.Value" Double array true,
}
