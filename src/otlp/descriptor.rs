//! The messages of OTLP 1.11 (opentelemetry-proto's .proto files): the one place that knows their fields.
//!
//! Names are in lowerCamelCase, the only form that OTLP/JSON takes. `stringValueStrindex` and `keyStrindex` belong to profiles and are left out.

use crate::signal::Signal;

/// A message type.
pub(crate) struct Message {
    /// Its fields; those seen most often first.
    pub(crate) fields: &'static [Field],
}

/// A field of a message.
pub(crate) struct Field {
    /// Its name in JSON.
    pub(crate) name: &'static str,
    /// Its number in protobuf, below 2^28.
    pub(crate) number: u32,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether it holds any number of these; numbers are then packed.
    pub(crate) repeated: bool,
}

/// What a field holds, and so how it is written in JSON and in protobuf.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
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
    /// An enum: an integer in OTLP/JSON, never a name.
    Enum,
    Message(&'static Message),
}

/// The request that a signal's `Export` takes.
pub(crate) const fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
    }
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

use Kind::{
    Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int64, Message as Of, Sfixed64, Sint32, Text, Uint32, Uint64,
};

static ANY_VALUE: Message = Message {
    fields: &[
        one("stringValue", 1, Text),
        one("intValue", 3, Int64),
        one("boolValue", 2, Bool),
        one("doubleValue", 4, Double),
        one("arrayValue", 5, Of(&ARRAY_VALUE)),
        one("kvlistValue", 6, Of(&KEY_VALUE_LIST)),
        one("bytesValue", 7, Base64),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[many("values", 1, Of(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[many("values", 1, Of(&KEY_VALUE))] };

static KEY_VALUE: Message = Message { fields: &[one("key", 1, Text), one("value", 2, Of(&ANY_VALUE))] };

static SCOPE: Message = Message {
    fields: &[
        one("name", 1, Text),
        one("version", 2, Text),
        many("attributes", 3, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Uint32),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        one("schemaUrl", 1, Text),
        one("type", 2, Text),
        many("idKeys", 3, Text),
        many("descriptionKeys", 4, Text),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        many("attributes", 1, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 2, Uint32),
        many("entityRefs", 3, Of(&ENTITY_REF)),
    ],
};

static TRACES_REQUEST: Message = Message { fields: &[many("resourceSpans", 1, Of(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[one("resource", 1, Of(&RESOURCE)), many("scopeSpans", 2, Of(&SCOPE_SPANS)), one("schemaUrl", 3, Text)],
};

static SCOPE_SPANS: Message =
    Message { fields: &[one("scope", 1, Of(&SCOPE)), many("spans", 2, Of(&SPAN)), one("schemaUrl", 3, Text)] };

static SPAN: Message = Message {
    fields: &[
        one("traceId", 1, Hex(16)),
        one("spanId", 2, Hex(8)),
        one("traceState", 3, Text),
        one("parentSpanId", 4, Hex(8)),
        one("flags", 16, Fixed32),
        one("name", 5, Text),
        one("kind", 6, Enum),
        one("startTimeUnixNano", 7, Fixed64),
        one("endTimeUnixNano", 8, Fixed64),
        many("attributes", 9, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 10, Uint32),
        many("events", 11, Of(&EVENT)),
        one("droppedEventsCount", 12, Uint32),
        many("links", 13, Of(&LINK)),
        one("droppedLinksCount", 14, Uint32),
        one("status", 15, Of(&STATUS)),
    ],
};

static EVENT: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Fixed64),
        one("name", 2, Text),
        many("attributes", 3, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Uint32),
    ],
};

static LINK: Message = Message {
    fields: &[
        one("traceId", 1, Hex(16)),
        one("spanId", 2, Hex(8)),
        one("traceState", 3, Text),
        many("attributes", 4, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Uint32),
        one("flags", 6, Fixed32),
    ],
};

static STATUS: Message = Message { fields: &[one("message", 2, Text), one("code", 3, Enum)] };

static LOGS_REQUEST: Message = Message { fields: &[many("resourceLogs", 1, Of(&RESOURCE_LOGS))] };

static RESOURCE_LOGS: Message = Message {
    fields: &[one("resource", 1, Of(&RESOURCE)), many("scopeLogs", 2, Of(&SCOPE_LOGS)), one("schemaUrl", 3, Text)],
};

static SCOPE_LOGS: Message = Message {
    fields: &[one("scope", 1, Of(&SCOPE)), many("logRecords", 2, Of(&LOG_RECORD)), one("schemaUrl", 3, Text)],
};

static LOG_RECORD: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Fixed64),
        one("observedTimeUnixNano", 11, Fixed64),
        one("severityNumber", 2, Enum),
        one("severityText", 3, Text),
        one("body", 5, Of(&ANY_VALUE)),
        many("attributes", 6, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 7, Uint32),
        one("flags", 8, Fixed32),
        one("traceId", 9, Hex(16)),
        one("spanId", 10, Hex(8)),
        one("eventName", 12, Text),
    ],
};

static METRICS_REQUEST: Message = Message { fields: &[many("resourceMetrics", 1, Of(&RESOURCE_METRICS))] };

static RESOURCE_METRICS: Message = Message {
    fields: &[
        one("resource", 1, Of(&RESOURCE)),
        many("scopeMetrics", 2, Of(&SCOPE_METRICS)),
        one("schemaUrl", 3, Text),
    ],
};

static SCOPE_METRICS: Message =
    Message { fields: &[one("scope", 1, Of(&SCOPE)), many("metrics", 2, Of(&METRIC)), one("schemaUrl", 3, Text)] };

static METRIC: Message = Message {
    fields: &[
        one("name", 1, Text),
        one("description", 2, Text),
        one("unit", 3, Text),
        one("gauge", 5, Of(&GAUGE)),
        one("sum", 7, Of(&SUM)),
        one("histogram", 9, Of(&HISTOGRAM)),
        one("exponentialHistogram", 10, Of(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Of(&SUMMARY)),
        many("metadata", 12, Of(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message { fields: &[many("dataPoints", 1, Of(&NUMBER_POINT))] };

static SUM: Message = Message {
    fields: &[
        many("dataPoints", 1, Of(&NUMBER_POINT)),
        one("aggregationTemporality", 2, Enum),
        one("isMonotonic", 3, Bool),
    ],
};

static HISTOGRAM: Message =
    Message { fields: &[many("dataPoints", 1, Of(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, Enum)] };

static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[many("dataPoints", 1, Of(&EXPONENTIAL_HISTOGRAM_POINT)), one("aggregationTemporality", 2, Enum)],
};

static SUMMARY: Message = Message { fields: &[many("dataPoints", 1, Of(&SUMMARY_POINT))] };

static NUMBER_POINT: Message = Message {
    fields: &[
        many("attributes", 7, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("asDouble", 4, Double),
        one("asInt", 6, Sfixed64),
        many("exemplars", 5, Of(&EXEMPLAR)),
        one("flags", 8, Uint32),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    fields: &[
        many("attributes", 9, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("bucketCounts", 6, Fixed64),
        many("explicitBounds", 7, Double),
        many("exemplars", 8, Of(&EXEMPLAR)),
        one("flags", 10, Uint32),
        one("min", 11, Double),
        one("max", 12, Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_POINT: Message = Message {
    fields: &[
        many("attributes", 1, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, Sint32),
        one("zeroCount", 7, Fixed64),
        one("positive", 8, Of(&BUCKETS)),
        one("negative", 9, Of(&BUCKETS)),
        one("flags", 10, Uint32),
        many("exemplars", 11, Of(&EXEMPLAR)),
        one("min", 12, Double),
        one("max", 13, Double),
        one("zeroThreshold", 14, Double),
    ],
};

static BUCKETS: Message = Message { fields: &[one("offset", 1, Sint32), many("bucketCounts", 2, Uint64)] };

static SUMMARY_POINT: Message = Message {
    fields: &[
        many("attributes", 7, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("quantileValues", 6, Of(&QUANTILE)),
        one("flags", 8, Uint32),
    ],
};

static QUANTILE: Message = Message { fields: &[one("quantile", 1, Double), one("value", 2, Double)] };

static EXEMPLAR: Message = Message {
    fields: &[
        many("filteredAttributes", 7, Of(&KEY_VALUE)),
        one("timeUnixNano", 2, Fixed64),
        one("asDouble", 3, Double),
        one("asInt", 6, Sfixed64),
        one("spanId", 4, Hex(8)),
        one("traceId", 5, Hex(16)),
    ],
};
