//! Writes answers: over HTTP a body in the request's encoding, over gRPC a status in the trailers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Response, StatusCode};
use prost::Message;
use serde_json::json;
use tonic_types::{ErrorDetails, StatusExt};

use super::{Refusal, ReplyBody, ReplyStatus};
use crate::signal::{Protocol, Signal};

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Clients that were refused together do not come back together: each is told up to so many times the wait, and never less than it.
const SPREAD: f64 = 1.5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The answer to a refused request; in plain text when it named no protocol of OTLP.
pub(crate) fn answer(refusal: &Refusal, protocol: Option<Protocol>) -> Response<ReplyBody> {
    let verdict = refusal.verdict();
    let mut response = match protocol {
        Some(Protocol::Grpc) => trailers_only(refusal, &verdict),
        _ => status_body(refusal, &verdict, protocol),
    };
    let encodings = if protocol == Some(Protocol::Grpc) { GRPC_ACCEPT_ENCODING } else { ACCEPT_ENCODING };
    if let Refusal::UnknownCompression { known } = refusal {
        let known = HeaderValue::from_static(known);
        response.headers_mut().insert(encodings, known);
    }
    response
}

/// gRPC's "Trailers-Only": HTTP 200, the status in the only header block. Advice is a `google.rpc.RetryInfo` in
/// `grpc-status-details-bin`, and the details are there only to carry it.
fn trailers_only(refusal: &Refusal, verdict: &ReplyStatus) -> Response<ReplyBody> {
    let message = refusal.to_string();
    let status = match verdict.retry_after {
        None => tonic::Status::new(verdict.code, message),
        Some(after) => {
            let after = after.mul_f64(rand::random_range(1.0..SPREAD));
            tonic::Status::with_error_details(verdict.code, message, ErrorDetails::with_retry_info(Some(after)))
        }
    };
    status.into_http()
}

/// A `google.rpc.Status` in the request's encoding (OTLP/HTTP, "Failures"), or its message as text.
fn status_body(refusal: &Refusal, verdict: &ReplyStatus, protocol: Option<Protocol>) -> Response<ReplyBody> {
    let (code, message) = (i32::from(verdict.code), refusal.to_string());
    let mut response = match protocol {
        None => text(verdict.status, format!("{message}\n").into()),
        Some(Protocol::HttpJson) => {
            let body = json!({ "code": code, "message": message }).to_string();
            http_response(verdict.status, Protocol::HttpJson, body.into())
        }
        Some(protocol) => {
            let body = tonic_types::pb::Status { code, message, details: Vec::new() }.encode_to_vec();
            http_response(verdict.status, protocol, body.into())
        }
    };
    let headers = response.headers_mut();
    if let Some(after) = verdict.retry_after {
        let seconds = whole_seconds(after);
        // A second more is the least that tells two clients apart here.
        let latest = seconds.saturating_add((seconds / 2).max(1));
        headers.insert(RETRY_AFTER, HeaderValue::from(rand::random_range(seconds..=latest)));
    }
    match verdict.status {
        // RFC 9110 asks for these two.
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

/// `Retry-After` knows whole seconds only; rounded down, the client would come too early.
fn whole_seconds(after: Duration) -> u64 {
    let up = u64::from(after.subsec_nanos() > 0);
    after.as_secs().saturating_add(up).max(1)
}

/// Records of an accepted request that are not kept and never will be, or a warning (none rejected).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    /// Spans, log records or data points that are not kept.
    pub(crate) rejected: u64,
    /// Why, in English.
    pub(crate) message: String,
}

/// The answer to a request whose records are kept: an `Export…ServiceResponse`. The signals' messages differ in nothing
/// but the JSON name of one field.
pub(crate) fn accepted(protocol: Protocol, signal: Signal, partial: Option<&PartialSuccess>) -> Response<ReplyBody> {
    match protocol {
        Protocol::Grpc => {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let mut response = Response::new(ReplyBody::grpc(&export_response(partial), trailers));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, grpc);
            response
        }
        Protocol::HttpProtobuf => http_response(StatusCode::OK, protocol, export_response(partial).into()),
        Protocol::HttpJson => {
            let body = export_response_json(signal, partial);
            http_response(StatusCode::OK, protocol, body)
        }
    }
}

/// `Export…ServiceResponse`: `partial_success` = 1, absent when all is well.
#[derive(prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportPartialSuccess>,
}

/// `Export…PartialSuccess`: `rejected_…` = 1, `error_message` = 2.
#[derive(prost::Message)]
struct ExportPartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

fn export_response(partial: Option<&PartialSuccess>) -> Vec<u8> {
    let partial_success = partial.map(|partial| ExportPartialSuccess {
        rejected: i64::try_from(partial.rejected).unwrap_or(i64::MAX),
        error_message: partial.message.clone(),
    });
    ExportResponse { partial_success }.encode_to_vec()
}

fn export_response_json(signal: Signal, partial: Option<&PartialSuccess>) -> Bytes {
    let Some(partial) = partial else {
        return Bytes::from_static(b"{}");
    };
    let rejected = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Profiles => "rejectedProfiles",
    };
    // Protobuf's JSON mapping writes 64-bit integers as strings.
    let count = partial.rejected.to_string();
    let body = json!({ "partialSuccess": { rejected: count, "errorMessage": partial.message } });
    Bytes::from(body.to_string())
}

/// Words for a person.
pub(crate) fn text(status: StatusCode, words: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::bytes(words));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn http_response(status: StatusCode, protocol: Protocol, body: Bytes) -> Response<ReplyBody> {
    let content_type = match protocol {
        Protocol::HttpJson => "application/json",
        _ => "application/x-protobuf",
    };
    let mut response = Response::new(ReplyBody::bytes(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use http_body::Body;
    use http_body_util::BodyExt;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    use tonic::Code;

    use super::*;

    const HALF: Duration = Duration::from_millis(2500);

    fn over() -> Refusal {
        Refusal::OverLimit { limit: "bytes_per_second", retry_after: HALF }
    }

    /// Whether the answer to [`over`] says when to come again: in time, and not all at once.
    fn advice(head: &http::response::Parts) -> bool {
        [3, 4].map(HeaderValue::from).contains(&head.headers[RETRY_AFTER])
    }

    #[test]
    fn clients_that_were_refused_together_are_told_different_times() {
        let refusal = Refusal::OverLimit { limit: "bytes_per_second", retry_after: Duration::from_secs(20) };
        let over_http =
            || answer(&refusal, Some(Protocol::HttpJson)).headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        let over_grpc = || {
            let status = tonic::Status::from_header_map(answer(&refusal, Some(Protocol::Grpc)).headers()).unwrap();
            status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs()
        };
        for told in [&over_http as &dyn Fn() -> u64, &over_grpc] {
            let times: std::collections::BTreeSet<u64> = (0..100).map(|_| told()).collect();
            assert!(times.len() > 5 && times.iter().all(|time| (20..=30).contains(time)), "{times:?}");
        }
    }

    async fn read(response: Response<ReplyBody>) -> (http::response::Parts, Bytes, Option<HeaderMap>) {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        (head, body.to_bytes(), trailers)
    }

    #[tokio::test]
    async fn http_refusals_are_a_status_in_the_requests_encoding() {
        let (head, body, _) = read(answer(&over(), Some(Protocol::HttpProtobuf))).await;
        assert_eq!((head.status.as_u16(), advice(&head)), (429, true));
        assert_eq!(head.headers[CONTENT_TYPE], "application/x-protobuf");
        let status = tonic_types::pb::Status::decode(body).unwrap();
        assert_eq!(status.code, 8);
        assert_eq!(status.message, "over the key's limit of bytes_per_second");

        let (head, body, _) = read(answer(&Refusal::Unauthenticated, Some(Protocol::HttpJson))).await;
        assert_eq!((head.status.as_u16(), head.headers.get(RETRY_AFTER)), (401, None));
        assert_eq!(head.headers[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(head.headers[CONTENT_TYPE], "application/json");
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status["code"], 16);
    }

    #[tokio::test]
    async fn who_speaks_no_otlp_is_answered_in_words() {
        let (head, body, _) = read(answer(&over(), None)).await;
        assert_eq!((head.status.as_u16(), advice(&head)), (429, true));
        assert_eq!(head.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(&body[..], b"over the key's limit of bytes_per_second\n");
        let (head, ..) = read(answer(&Refusal::MethodNotAllowed, None)).await;
        assert_eq!((head.status.as_u16(), &head.headers[ALLOW]), (405, &HeaderValue::from_static("POST")));
    }

    #[test]
    fn advice_is_never_shorter_than_the_wait() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn grpc_refusals_are_trailers_only_with_details_only_for_advice() {
        let response = answer(&over(), Some(Protocol::Grpc));
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body().is_end_stream());
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let advice = status.get_details_retry_info().unwrap();
        assert!(advice.retry_delay.is_some_and(|delay| (HALF..=HALF.mul_f64(SPREAD)).contains(&delay)));
        // The details are a google.rpc.Status that agrees with the trailers.
        let details = tonic_types::pb::Status::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (8, status.message()));

        let large = Refusal::TooLarge { limit: "max_records", max: 1 };
        let response = answer(&large, Some(Protocol::Grpc));
        assert_eq!(response.headers()[GRPC_STATUS], "3");
        assert_eq!(response.headers()["grpc-message"], "larger%20than%20max_records%20allows%20(1)");
        assert!(!response.headers().contains_key("grpc-status-details-bin"));
    }

    #[test]
    fn an_unknown_compression_is_told_what_is_known() {
        let refusal = Refusal::UnknownCompression { known: "gzip,zstd" };
        let grpc = answer(&refusal, Some(Protocol::Grpc));
        assert_eq!(grpc.headers()["grpc-status"], "12");
        assert_eq!(grpc.headers()["grpc-accept-encoding"], "gzip,zstd");
        let http = answer(&refusal, Some(Protocol::HttpJson));
        assert_eq!(http.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(http.headers()[ACCEPT_ENCODING], "gzip,zstd");
    }

    #[tokio::test]
    async fn success_is_an_empty_export_response() {
        let (head, body, trailers) = read(accepted(Protocol::Grpc, Signal::Logs, None)).await;
        assert_eq!(head.headers[CONTENT_TYPE], "application/grpc");
        assert_eq!((&body[..], &trailers.unwrap()[GRPC_STATUS]), (&[0; 5][..], &HeaderValue::from(0)));
        let (head, body, _) = read(accepted(Protocol::HttpProtobuf, Signal::Logs, None)).await;
        assert_eq!((head.status, body.len()), (StatusCode::OK, 0));
        let (_, body, _) = read(accepted(Protocol::HttpJson, Signal::Logs, None)).await;
        assert_eq!(&body[..], b"{}");
    }

    #[tokio::test]
    async fn partial_success_reads_as_the_generated_types() {
        let partial = PartialSuccess { rejected: 7, message: "why".into() };
        let some = Some(&partial);
        let (_, body, _) = read(accepted(Protocol::Grpc, Signal::Traces, some)).await;
        assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, body.len() - 5);
        let traces = ExportTraceServiceResponse::decode(&body[5..]).unwrap();
        assert_eq!(traces.partial_success.unwrap().rejected_spans, 7);
        let (_, body, _) = read(accepted(Protocol::HttpJson, Signal::Logs, some)).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedLogRecords"], "7");
        let (_, body, _) = read(accepted(Protocol::HttpProtobuf, Signal::Logs, some)).await;
        let logs = ExportLogsServiceResponse::decode(body).unwrap().partial_success.unwrap();
        assert_eq!((logs.rejected_log_records, logs.error_message.as_str()), (7, "why"));
    }
}
