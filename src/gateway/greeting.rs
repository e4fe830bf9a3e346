//! What a person sees who opens an OTLP port in a browser: words, and no more than anybody may know.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::reply::{self, ReplyBody};

const WORDS: &str = "\
This is otelgate. It takes telemetry by the OpenTelemetry protocol (OTLP); there is nothing to see here.

Any OpenTelemetry SDK or collector sends to it, over gRPC or HTTP:

    OTEL_EXPORTER_OTLP_ENDPOINT=<the address of this page>
    OTEL_EXPORTER_OTLP_HEADERS=authorization=<ingestion key>

Over HTTP that is POST /v1/traces, /v1/metrics and /v1/logs, in protobuf or JSON.
";

/// Whether this asks for the page that a host shows to whoever comes by.
pub(super) fn is_asked(head: &Parts) -> bool {
    head.uri.path() == "/" && (head.method == Method::GET || head.method == Method::HEAD)
}

/// The page.
pub(super) fn answer() -> Response<ReplyBody> {
    reply::text(StatusCode::OK, Bytes::from_static(WORDS.as_bytes()))
}
