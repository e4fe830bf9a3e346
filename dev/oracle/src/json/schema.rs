//! OTLP's messages once more, as its JSON names them: written down apart from otelgate's own table, so that a mistake there is no mistake here.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Hex(usize),
    Base64,
    Bool,
    Double,
    Unsigned64,
    Signed64,
    Unsigned32,
    Signed32,
    /// How many values its enum has, and their names.
    Enum(&'static [&'static str]),
    Message(&'static Fields),
}

/// The fields of a message.
#[derive(Debug)]
pub(crate) struct Fields(pub(crate) &'static [Field]);

/// A field's name, what it holds, and whether it holds any number of these.
pub(crate) type Field = (&'static str, Kind, bool);

use Kind::{Base64, Bool, Double, Enum, Hex, Message, Signed32, Signed64, Text, Unsigned32, Unsigned64};

const fn one(name: &'static str, kind: Kind) -> Field {
    (name, kind, false)
}

const fn many(name: &'static str, kind: Kind) -> Field {
    (name, kind, true)
}

/// The requests of traces, logs and metrics.
pub(crate) static REQUESTS: [Fields; 3] = [
    Fields(&[many("resourceSpans", Message(&RESOURCE_SPANS))]),
    Fields(&[many("resourceLogs", Message(&RESOURCE_LOGS))]),
    Fields(&[many("resourceMetrics", Message(&RESOURCE_METRICS))]),
];

static ANY: Fields = Fields(&[
    one("stringValue", Text),
    one("boolValue", Bool),
    one("intValue", Signed64),
    one("doubleValue", Double),
    one("arrayValue", Message(&Fields(&[many("values", Message(&ANY))]))),
    one("kvlistValue", Message(&Fields(&[many("values", Message(&KEY_VALUE))]))),
    one("bytesValue", Base64),
    one("stringValueStrindex", Signed32),
]);

static KEY_VALUE: Fields = Fields(&[one("key", Text), one("value", Message(&ANY)), one("keyStrindex", Signed32)]);

static RESOURCE: Fields = Fields(&[
    many("attributes", Message(&KEY_VALUE)),
    one("droppedAttributesCount", Unsigned32),
    many(
        "entityRefs",
        Message(&Fields(&[
            one("schemaUrl", Text),
            one("type", Text),
            many("idKeys", Text),
            many("descriptionKeys", Text),
        ])),
    ),
]);

static SCOPE: Fields = Fields(&[
    one("name", Text),
    one("version", Text),
    many("attributes", Message(&KEY_VALUE)),
    one("droppedAttributesCount", Unsigned32),
]);

static RESOURCE_SPANS: Fields = Fields(&[
    one("resource", Message(&RESOURCE)),
    many(
        "scopeSpans",
        Message(&Fields(&[one("scope", Message(&SCOPE)), many("spans", Message(&SPAN)), one("schemaUrl", Text)])),
    ),
    one("schemaUrl", Text),
]);

static RESOURCE_LOGS: Fields = Fields(&[
    one("resource", Message(&RESOURCE)),
    many(
        "scopeLogs",
        Message(&Fields(&[one("scope", Message(&SCOPE)), many("logRecords", Message(&LOG)), one("schemaUrl", Text)])),
    ),
    one("schemaUrl", Text),
]);

static RESOURCE_METRICS: Fields = Fields(&[
    one("resource", Message(&RESOURCE)),
    many(
        "scopeMetrics",
        Message(&Fields(&[one("scope", Message(&SCOPE)), many("metrics", Message(&METRIC)), one("schemaUrl", Text)])),
    ),
    one("schemaUrl", Text),
]);

static SPAN: Fields = Fields(&[
    one("traceId", Hex(16)),
    one("spanId", Hex(8)),
    one("traceState", Text),
    one("parentSpanId", Hex(8)),
    one("flags", Unsigned32),
    one("name", Text),
    one(
        "kind",
        Enum(&[
            "SPAN_KIND_UNSPECIFIED",
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_PRODUCER",
            "SPAN_KIND_CONSUMER",
        ]),
    ),
    one("startTimeUnixNano", Unsigned64),
    one("endTimeUnixNano", Unsigned64),
    many("attributes", Message(&KEY_VALUE)),
    one("droppedAttributesCount", Unsigned32),
    many(
        "events",
        Message(&Fields(&[
            one("timeUnixNano", Unsigned64),
            one("name", Text),
            many("attributes", Message(&KEY_VALUE)),
            one("droppedAttributesCount", Unsigned32),
        ])),
    ),
    one("droppedEventsCount", Unsigned32),
    many(
        "links",
        Message(&Fields(&[
            one("traceId", Hex(16)),
            one("spanId", Hex(8)),
            one("traceState", Text),
            many("attributes", Message(&KEY_VALUE)),
            one("droppedAttributesCount", Unsigned32),
            one("flags", Unsigned32),
        ])),
    ),
    one("droppedLinksCount", Unsigned32),
    one(
        "status",
        Message(&Fields(&[
            one("message", Text),
            one("code", Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"])),
        ])),
    ),
]);

static LOG: Fields = Fields(&[
    one("timeUnixNano", Unsigned64),
    one("observedTimeUnixNano", Unsigned64),
    one(
        "severityNumber",
        Enum(&[
            "SEVERITY_NUMBER_UNSPECIFIED",
            "SEVERITY_NUMBER_TRACE ",
            "SEVERITY_NUMBER_TRACE2",
            "SEVERITY_NUMBER_TRACE3",
            "SEVERITY_NUMBER_TRACE4",
            "SEVERITY_NUMBER_DEBUG",
            "SEVERITY_NUMBER_DEBUG2",
            "SEVERITY_NUMBER_DEBUG3",
            "SEVERITY_NUMBER_DEBUG4",
            "SEVERITY_NUMBER_INFO",
            "SEVERITY_NUMBER_INFO2",
            "SEVERITY_NUMBER_INFO3",
            "SEVERITY_NUMBER_INFO4",
            "SEVERITY_NUMBER_WARN",
            "SEVERITY_NUMBER_WARN2",
            "SEVERITY_NUMBER_WARN3",
            "SEVERITY_NUMBER_WARN4",
            "SEVERITY_NUMBER_ERROR",
            "SEVERITY_NUMBER_ERROR2",
            "SEVERITY_NUMBER_ERROR3",
            "SEVERITY_NUMBER_ERROR4",
            "SEVERITY_NUMBER_FATAL",
            "SEVERITY_NUMBER_FATAL2",
            "SEVERITY_NUMBER_FATAL3",
            "SEVERITY_NUMBER_FATAL4",
        ]),
    ),
    one("severityText", Text),
    one("body", Message(&ANY)),
    many("attributes", Message(&KEY_VALUE)),
    one("droppedAttributesCount", Unsigned32),
    one("flags", Unsigned32),
    one("traceId", Hex(16)),
    one("spanId", Hex(8)),
    one("eventName", Text),
]);

const TEMPORALITY: Field = one(
    "aggregationTemporality",
    Enum(&[
        "AGGREGATION_TEMPORALITY_UNSPECIFIED",
        "AGGREGATION_TEMPORALITY_DELTA",
        "AGGREGATION_TEMPORALITY_CUMULATIVE",
    ]),
);

static METRIC: Fields = Fields(&[
    one("name", Text),
    one("description", Text),
    one("unit", Text),
    one("gauge", Message(&Fields(&[many("dataPoints", Message(&NUMBER))]))),
    one("sum", Message(&Fields(&[many("dataPoints", Message(&NUMBER)), TEMPORALITY, one("isMonotonic", Bool)]))),
    one("histogram", Message(&Fields(&[many("dataPoints", Message(&HISTOGRAM)), TEMPORALITY]))),
    one("exponentialHistogram", Message(&Fields(&[many("dataPoints", Message(&EXPONENTIAL)), TEMPORALITY]))),
    one("summary", Message(&Fields(&[many("dataPoints", Message(&SUMMARY))]))),
    many("metadata", Message(&KEY_VALUE)),
]);

const EXEMPLARS: Field = many("exemplars", Message(&EXEMPLAR));

static EXEMPLAR: Fields = Fields(&[
    many("filteredAttributes", Message(&KEY_VALUE)),
    one("timeUnixNano", Unsigned64),
    one("asDouble", Double),
    one("asInt", Signed64),
    one("spanId", Hex(8)),
    one("traceId", Hex(16)),
]);
const ATTRIBUTES: Field = many("attributes", Message(&KEY_VALUE));
const START: Field = one("startTimeUnixNano", Unsigned64);
const TIME: Field = one("timeUnixNano", Unsigned64);
const FLAGS: Field = one("flags", Unsigned32);

static NUMBER: Fields =
    Fields(&[ATTRIBUTES, START, TIME, one("asDouble", Double), one("asInt", Signed64), EXEMPLARS, FLAGS]);

static HISTOGRAM: Fields = Fields(&[
    ATTRIBUTES,
    START,
    TIME,
    one("count", Unsigned64),
    one("sum", Double),
    many("bucketCounts", Unsigned64),
    many("explicitBounds", Double),
    EXEMPLARS,
    FLAGS,
    one("min", Double),
    one("max", Double),
]);

static EXPONENTIAL: Fields = Fields(&[
    ATTRIBUTES,
    START,
    TIME,
    one("count", Unsigned64),
    one("sum", Double),
    one("scale", Signed32),
    one("zeroCount", Unsigned64),
    one("positive", Message(&BUCKETS)),
    one("negative", Message(&BUCKETS)),
    FLAGS,
    EXEMPLARS,
    one("min", Double),
    one("max", Double),
    one("zeroThreshold", Double),
]);

static BUCKETS: Fields = Fields(&[one("offset", Signed32), many("bucketCounts", Unsigned64)]);

static SUMMARY: Fields = Fields(&[
    ATTRIBUTES,
    START,
    TIME,
    one("count", Unsigned64),
    one("sum", Double),
    many("quantileValues", Message(&Fields(&[one("quantile", Double), one("value", Double)]))),
    FLAGS,
]);
