//! OTLP's signals, and the three ways in which a client writes them. A lane, a path, a gRPC service and a permission of a key
//! are each one signal.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Version};

/// An OTLP signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points of all five kinds.
    Metrics,
    /// Profiles, which are still in development in OTLP 1.10: forwarded, and stored nowhere.
    Profiles,
}

impl Signal {
    /// Every signal, in the order of [`Signal::index`].
    pub const ALL: [Signal; 4] = [Signal::Traces, Signal::Logs, Signal::Metrics, Signal::Profiles];
    /// The signals that OTLP calls stable, and ClickStack has tables for.
    pub const STABLE: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// Its place in an array that has one entry a signal.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// `traces`, `logs`, `metrics` or `profiles`, as in OTLP/HTTP's paths, the configuration and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Profiles => "profiles",
        }
    }

    /// Where it is sent over HTTP.
    pub(crate) const fn http_path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
            Signal::Profiles => "/v1development/profiles",
        }
    }

    /// The method that takes it over gRPC.
    pub(crate) const fn grpc_path(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        }
    }

    /// The gRPC service whose method that is.
    pub(crate) fn grpc_service(self) -> &'static str {
        self.grpc_path().trim_start_matches('/').trim_end_matches("/Export")
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// OTLP/gRPC: a unary call.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    HttpJson,
}

impl Protocol {
    /// The protocol in which to answer a request, whatever else is wrong with it. `None`: the head names none of them, so no OTLP client
    /// sent it; a person did, with a browser or a command, and reads text.
    pub(crate) fn of(head: &Parts) -> Option<Protocol> {
        // A gRPC client reads its answer out of gRPC's headers whatever its messages are written in, and over HTTP/2 only.
        match (Protocol::named(&head.headers), head.version >= Version::HTTP_2) {
            (Some(Protocol::Grpc), false) => None,
            (None, true) if of_grpc(&head.headers) => Some(Protocol::Grpc),
            (named, _) => named,
        }
    }

    /// The protocol that the content type names; its parameters do not matter (OTLP 1.11, "OTLP/HTTP Request"; gRPC over HTTP/2,
    /// "Content-Type").
    pub(crate) fn named(headers: &HeaderMap) -> Option<Protocol> {
        let media_type = media_type(headers)?;
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        if is("application/grpc") || is("application/grpc+proto") {
            Some(Protocol::Grpc)
        } else if is("application/x-protobuf") || is("application/protobuf") {
            Some(Protocol::HttpProtobuf)
        } else if is("application/json") {
            Some(Protocol::HttpJson)
        } else {
            None
        }
    }

    /// `grpc`, `http-protobuf` or `http-json`, as in metric labels.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http-protobuf",
            Protocol::HttpJson => "http-json",
        }
    }
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(content_type.split(';').next()?.trim())
}

/// Whether a gRPC client sent this, with messages that may be written in something else than protobuf (`application/grpc+json`).
fn of_grpc(headers: &HeaderMap) -> bool {
    let start = "application/grpc+";
    media_type(headers).and_then(|name| name.get(..start.len())).is_some_and(|found| found.eq_ignore_ascii_case(start))
}
