//! The messages of OTLP (opentelemetry-proto's .proto files): the one place that knows their fields.
//!
//! Names are those of the .proto files. OTLP/JSON writes them in lowerCamelCase; the collector's reader, and so otelgate's, takes both forms.

mod names;
mod profiles;

use names::{SEVERITY_NUMBER, SPAN_KIND, STATUS_CODE, TEMPORALITY};

use crate::signal::Signal;

/// A message type.
pub(crate) struct MessageDescriptor {
    /// Its fields; those seen most often first.
    pub(crate) fields: &'static [FieldDescriptor],
}

/// A field of a message.
pub(crate) struct FieldDescriptor {
    /// Its name in the .proto file, in snake_case.
    pub(crate) name: &'static str,
    /// Its number in protobuf, below 2^28.
    pub(crate) number: u32,
    /// What it holds.
    pub(crate) kind: FieldKind,
    /// Whether it holds any number of these; numbers are then packed.
    pub(crate) repeated: bool,
    /// Whether it is one of several of which only the last counts.
    pub(crate) oneof: bool,
    /// Whether its elements are what is counted: spans, log records, data points.
    pub(crate) record: bool,
}

/// What a field holds, and so how it is written in JSON and in protobuf.
#[derive(Clone, Copy)]
pub(crate) enum FieldKind {
    /// JSON string.
    Text,
    /// Trace and span ids: this many bytes, or none; hex in JSON, in either case.
    Hex(usize),
    /// Other bytes: base64 in JSON.
    Base64,
    Bool,
    /// A number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Double,
    Fixed32,
    Fixed64,
    Sfixed64,
    Uint32,
    Uint64,
    Int64,
    Sint32,
    Int32,
    /// An enum: in OTLP/JSON an integer, never a name; the collector takes its names too.
    Enum(Names),
    Message(&'static MessageDescriptor),
}

impl FieldKind {
    /// How one value is framed in protobuf (encoding guide, "Message Structure"): 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
    pub(crate) const fn wire_type(self) -> u8 {
        match self {
            FieldKind::Bool
            | FieldKind::Uint32
            | FieldKind::Uint64
            | FieldKind::Int64
            | FieldKind::Sint32
            | FieldKind::Int32
            | FieldKind::Enum(_) => 0,
            FieldKind::Double | FieldKind::Fixed64 | FieldKind::Sfixed64 => 1,
            FieldKind::Text | FieldKind::Hex(_) | FieldKind::Base64 | FieldKind::Message(_) => 2,
            FieldKind::Fixed32 => 5,
        }
    }
}

/// The names of an enum's values.
pub(crate) type Names = &'static [(&'static str, i32)];

/// The request that a signal's `Export` takes.
pub(crate) const fn request(signal: Signal) -> &'static MessageDescriptor {
    match signal {
        Signal::Traces => &TRACES_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
        Signal::Profiles => &profiles::REQUEST,
    }
}

const fn one(name: &'static str, number: u32, kind: FieldKind) -> FieldDescriptor {
    FieldDescriptor { name, number, kind, repeated: false, oneof: false, record: false }
}

/// One of several.
const fn either(name: &'static str, number: u32, kind: FieldKind) -> FieldDescriptor {
    FieldDescriptor { oneof: true, ..one(name, number, kind) }
}

const fn many(name: &'static str, number: u32, kind: FieldKind) -> FieldDescriptor {
    FieldDescriptor { repeated: true, ..one(name, number, kind) }
}

const fn records(name: &'static str, number: u32, message: &'static MessageDescriptor) -> FieldDescriptor {
    FieldDescriptor { record: true, ..many(name, number, Of(message)) }
}

use FieldKind::{
    Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int32, Int64, Message as Of, Sfixed64, Sint32, Text, Uint32,
    Uint64,
};

static ANY_VALUE: MessageDescriptor = MessageDescriptor {
    fields: &[
        either("string_value", 1, Text),
        either("int_value", 3, Int64),
        either("bool_value", 2, Bool),
        either("double_value", 4, Double),
        either("array_value", 5, Of(&ARRAY_VALUE)),
        either("kvlist_value", 6, Of(&KEY_VALUE_LIST)),
        either("bytes_value", 7, Base64),
        either("string_value_strindex", 8, Int32),
    ],
};

static ARRAY_VALUE: MessageDescriptor = MessageDescriptor { fields: &[many("values", 1, Of(&ANY_VALUE))] };

static KEY_VALUE_LIST: MessageDescriptor = MessageDescriptor { fields: &[many("values", 1, Of(&KEY_VALUE))] };

/// The attribute, of which there are more than of anything else.
pub(crate) static KEY_VALUE: MessageDescriptor = MessageDescriptor {
    fields: &[one("key", 1, Text), one("value", 2, Of(&ANY_VALUE)), one("key_strindex", 3, Int32)],
};

static SCOPE: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("name", 1, Text),
        one("version", 2, Text),
        many("attributes", 3, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 4, Uint32),
    ],
};

static ENTITY_REF: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("schema_url", 1, Text),
        one("type", 2, Text),
        many("id_keys", 3, Text),
        many("description_keys", 4, Text),
    ],
};

static RESOURCE: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("attributes", 1, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 2, Uint32),
        many("entity_refs", 3, Of(&ENTITY_REF)),
    ],
};

static TRACES_REQUEST: MessageDescriptor =
    MessageDescriptor { fields: &[many("resource_spans", 1, Of(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: MessageDescriptor = MessageDescriptor {
    fields: &[one("resource", 1, Of(&RESOURCE)), many("scope_spans", 2, Of(&SCOPE_SPANS)), one("schema_url", 3, Text)],
};

static SCOPE_SPANS: MessageDescriptor = MessageDescriptor {
    fields: &[one("scope", 1, Of(&SCOPE)), records("spans", 2, &SPAN), one("schema_url", 3, Text)],
};

static SPAN: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("trace_id", 1, Hex(16)),
        one("span_id", 2, Hex(8)),
        one("trace_state", 3, Text),
        one("parent_span_id", 4, Hex(8)),
        one("flags", 16, Fixed32),
        one("name", 5, Text),
        one("kind", 6, Enum(SPAN_KIND)),
        one("start_time_unix_nano", 7, Fixed64),
        one("end_time_unix_nano", 8, Fixed64),
        many("attributes", 9, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 10, Uint32),
        many("events", 11, Of(&EVENT)),
        one("dropped_events_count", 12, Uint32),
        many("links", 13, Of(&LINK)),
        one("dropped_links_count", 14, Uint32),
        one("status", 15, Of(&STATUS)),
    ],
};

static EVENT: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("time_unix_nano", 1, Fixed64),
        one("name", 2, Text),
        many("attributes", 3, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 4, Uint32),
    ],
};

static LINK: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("trace_id", 1, Hex(16)),
        one("span_id", 2, Hex(8)),
        one("trace_state", 3, Text),
        many("attributes", 4, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 5, Uint32),
        one("flags", 6, Fixed32),
    ],
};

static STATUS: MessageDescriptor =
    MessageDescriptor { fields: &[one("message", 2, Text), one("code", 3, Enum(STATUS_CODE))] };

static LOGS_REQUEST: MessageDescriptor = MessageDescriptor { fields: &[many("resource_logs", 1, Of(&RESOURCE_LOGS))] };

static RESOURCE_LOGS: MessageDescriptor = MessageDescriptor {
    fields: &[one("resource", 1, Of(&RESOURCE)), many("scope_logs", 2, Of(&SCOPE_LOGS)), one("schema_url", 3, Text)],
};

static SCOPE_LOGS: MessageDescriptor = MessageDescriptor {
    fields: &[one("scope", 1, Of(&SCOPE)), records("log_records", 2, &LOG_RECORD), one("schema_url", 3, Text)],
};

static LOG_RECORD: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("time_unix_nano", 1, Fixed64),
        one("observed_time_unix_nano", 11, Fixed64),
        one("severity_number", 2, Enum(SEVERITY_NUMBER)),
        one("severity_text", 3, Text),
        one("body", 5, Of(&ANY_VALUE)),
        many("attributes", 6, Of(&KEY_VALUE)),
        one("dropped_attributes_count", 7, Uint32),
        one("flags", 8, Fixed32),
        one("trace_id", 9, Hex(16)),
        one("span_id", 10, Hex(8)),
        one("event_name", 12, Text),
    ],
};

static METRICS_REQUEST: MessageDescriptor =
    MessageDescriptor { fields: &[many("resource_metrics", 1, Of(&RESOURCE_METRICS))] };

static RESOURCE_METRICS: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("resource", 1, Of(&RESOURCE)),
        many("scope_metrics", 2, Of(&SCOPE_METRICS)),
        one("schema_url", 3, Text),
    ],
};

static SCOPE_METRICS: MessageDescriptor = MessageDescriptor {
    fields: &[one("scope", 1, Of(&SCOPE)), many("metrics", 2, Of(&METRIC)), one("schema_url", 3, Text)],
};

static METRIC: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("name", 1, Text),
        one("description", 2, Text),
        one("unit", 3, Text),
        either("gauge", 5, Of(&GAUGE)),
        either("sum", 7, Of(&SUM)),
        either("histogram", 9, Of(&HISTOGRAM)),
        either("exponential_histogram", 10, Of(&EXPONENTIAL_HISTOGRAM)),
        either("summary", 11, Of(&SUMMARY)),
        many("metadata", 12, Of(&KEY_VALUE)),
    ],
};

static GAUGE: MessageDescriptor = MessageDescriptor { fields: &[records("data_points", 1, &NUMBER_POINT)] };

static SUM: MessageDescriptor = MessageDescriptor {
    fields: &[
        records("data_points", 1, &NUMBER_POINT),
        one("aggregation_temporality", 2, Enum(TEMPORALITY)),
        one("is_monotonic", 3, Bool),
    ],
};

static HISTOGRAM: MessageDescriptor = MessageDescriptor {
    fields: &[records("data_points", 1, &HISTOGRAM_POINT), one("aggregation_temporality", 2, Enum(TEMPORALITY))],
};

static EXPONENTIAL_HISTOGRAM: MessageDescriptor = MessageDescriptor {
    fields: &[
        records("data_points", 1, &EXPONENTIAL_HISTOGRAM_POINT),
        one("aggregation_temporality", 2, Enum(TEMPORALITY)),
    ],
};

static SUMMARY: MessageDescriptor = MessageDescriptor { fields: &[records("data_points", 1, &SUMMARY_POINT)] };

static NUMBER_POINT: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("attributes", 7, Of(&KEY_VALUE)),
        one("start_time_unix_nano", 2, Fixed64),
        one("time_unix_nano", 3, Fixed64),
        either("as_double", 4, Double),
        either("as_int", 6, Sfixed64),
        many("exemplars", 5, Of(&EXEMPLAR)),
        one("flags", 8, Uint32),
    ],
};

static HISTOGRAM_POINT: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("attributes", 9, Of(&KEY_VALUE)),
        one("start_time_unix_nano", 2, Fixed64),
        one("time_unix_nano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("bucket_counts", 6, Fixed64),
        many("explicit_bounds", 7, Double),
        many("exemplars", 8, Of(&EXEMPLAR)),
        one("flags", 10, Uint32),
        one("min", 11, Double),
        one("max", 12, Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_POINT: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("attributes", 1, Of(&KEY_VALUE)),
        one("start_time_unix_nano", 2, Fixed64),
        one("time_unix_nano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, Sint32),
        one("zero_count", 7, Fixed64),
        one("positive", 8, Of(&BUCKETS)),
        one("negative", 9, Of(&BUCKETS)),
        one("flags", 10, Uint32),
        many("exemplars", 11, Of(&EXEMPLAR)),
        one("min", 12, Double),
        one("max", 13, Double),
        one("zero_threshold", 14, Double),
    ],
};

static BUCKETS: MessageDescriptor =
    MessageDescriptor { fields: &[one("offset", 1, Sint32), many("bucket_counts", 2, Uint64)] };

static SUMMARY_POINT: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("attributes", 7, Of(&KEY_VALUE)),
        one("start_time_unix_nano", 2, Fixed64),
        one("time_unix_nano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("quantile_values", 6, Of(&QUANTILE)),
        one("flags", 8, Uint32),
    ],
};

static QUANTILE: MessageDescriptor =
    MessageDescriptor { fields: &[one("quantile", 1, Double), one("value", 2, Double)] };

static EXEMPLAR: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("filtered_attributes", 7, Of(&KEY_VALUE)),
        one("time_unix_nano", 2, Fixed64),
        either("as_double", 3, Double),
        either("as_int", 6, Sfixed64),
        one("span_id", 4, Hex(8)),
        one("trace_id", 5, Hex(16)),
    ],
};
