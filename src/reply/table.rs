//! The one table: reason → HTTP status, gRPC code, retry advice.
//!
//! What may be retried follows OTLP 1.11: over HTTP 429, 502, 503 and 504 with `Retry-After`; over gRPC UNAVAILABLE, and RESOURCE_EXHAUSTED
//! only when it carries `google.rpc.RetryInfo`. Everything else makes a client drop its data, so whatever may pass by
//! itself is one of these.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use super::Refusal;

/// A client whose body came too slowly may come again at once.
const TOO_SLOW_RETRY: Duration = Duration::from_secs(1);

/// What a refusal is over each protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyStatus {
    /// The status over HTTP.
    pub(crate) status: StatusCode,
    /// The status over gRPC.
    pub(crate) code: Code,
    /// When to send the same request again; `None`: never.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// Its row of the table.
    pub(crate) fn verdict(&self) -> ReplyStatus {
        let (status, code, retry_after) = match self {
            // However often: what may be retried would keep a client with a wrong key waiting, at its exit too.
            Refusal::Unauthenticated | Refusal::TooManyFailures => {
                (StatusCode::UNAUTHORIZED, Code::Unauthenticated, None)
            }
            Refusal::SignalNotAllowed(_) | Refusal::OriginNotAllowed | Refusal::KeyOfOtherOrigins => {
                (StatusCode::FORBIDDEN, Code::PermissionDenied, None)
            }
            Refusal::OverLimit { retry_after, .. } => {
                let retry = Some(*retry_after);
                (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, retry)
            }
            // tonic's own OUT_OF_RANGE would be retried, and by Python's and Java's exporters RESOURCE_EXHAUSTED too, advice or not.
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument, None),
            Refusal::Unavailable { retry_after, .. } => {
                let retry = Some(*retry_after);
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, retry)
            }
            // Not 408 / DEADLINE_EXCEEDED: an OTLP/HTTP client drops its data at 408.
            Refusal::TooSlow => {
                let retry = Some(TOO_SLOW_RETRY);
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, retry)
            }
            Refusal::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, Some(TOO_SLOW_RETRY)),
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, None),
            // gRPC's own documents on status codes and on compression name these two.
            Refusal::Framing(_) => (StatusCode::BAD_REQUEST, Code::Internal, None),
            Refusal::NotOneMessage => (StatusCode::BAD_REQUEST, Code::Unimplemented, None),
            Refusal::UnknownCompression { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, None),
            Refusal::UnknownTransferCoding => (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented, None),
            Refusal::UnsupportedContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, None),
            Refusal::UnknownPath | Refusal::UnknownMethod | Refusal::NoProfiles => {
                (StatusCode::NOT_FOUND, Code::Unimplemented, None)
            }
            Refusal::NotHttp2 => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, Code::Unimplemented, None),
            Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, None),
        };
        ReplyStatus { status, code, retry_after }
    }

    /// The reason's name in metrics: a few fixed words, so that a client cannot make more of them.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Refusal::Unauthenticated => "unauthenticated",
            Refusal::TooManyFailures => "too_many_failures",
            Refusal::SignalNotAllowed(_) => "signal_not_allowed",
            Refusal::OverLimit { .. } => "over_limit",
            Refusal::TooLarge { .. } => "too_large",
            Refusal::Unavailable { .. } => "unavailable",
            Refusal::Malformed(_) => "malformed",
            Refusal::Framing(_) => "framing",
            Refusal::NotOneMessage => "not_one_message",
            Refusal::DeadlineExceeded => "deadline_exceeded",
            Refusal::UnknownCompression { .. } => "unknown_compression",
            Refusal::UnknownTransferCoding => "unknown_transfer_coding",
            Refusal::UnsupportedContentType => "unsupported_content_type",
            Refusal::UnknownPath => "unknown_path",
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::UnknownMethod => "unknown_method",
            Refusal::NoProfiles => "no_profiles",
            Refusal::NotHttp2 => "not_http2",
            Refusal::TooSlow => "too_slow",
            Refusal::OriginNotAllowed => "origin_not_allowed",
            Refusal::KeyOfOtherOrigins => "key_of_other_origins",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Away;
    use super::*;
    use crate::signal::Signal;

    const IN_3_S: Duration = Duration::from_secs(3);

    /// The rows of the answer table in the documentation: refusal, HTTP, gRPC, whether it may be retried.
    fn rows() -> Vec<(Refusal, u16, Code, bool)> {
        let over = |limit| Refusal::OverLimit { limit, retry_after: IN_3_S };
        let large = |limit| Refusal::TooLarge { limit, max: 1 };
        let away = |away| Refusal::Unavailable { away, retry_after: IN_3_S };
        let compression = Refusal::UnknownCompression { known: "gzip" };
        vec![
            (Refusal::Unauthenticated, 401, Code::Unauthenticated, false),
            (Refusal::TooManyFailures, 401, Code::Unauthenticated, false),
            (Refusal::SignalNotAllowed(Signal::Logs), 403, Code::PermissionDenied, false),
            (over("requests_per_second"), 429, Code::ResourceExhausted, true),
            (over("bytes_per_second"), 429, Code::ResourceExhausted, true),
            (over("records_per_second"), 429, Code::ResourceExhausted, true),
            (large("max_body_bytes"), 413, Code::InvalidArgument, false),
            (large("records_per_second"), 413, Code::InvalidArgument, false),
            (away(Away::Memory), 503, Code::Unavailable, true),
            (away(Away::KeyMemory), 503, Code::Unavailable, true),
            (away(Away::Busy), 503, Code::Unavailable, true),
            (away(Away::Spool), 503, Code::Unavailable, true),
            (away(Away::KeySpool), 503, Code::Unavailable, true),
            (away(Away::Sink), 503, Code::Unavailable, true),
            (away(Away::Unknown), 503, Code::Unavailable, true),
            (away(Away::Elsewhere), 503, Code::Unavailable, true),
            (away(Away::Keys), 503, Code::Unavailable, true),
            (away(Away::Stopping), 503, Code::Unavailable, true),
            (Refusal::TooSlow, 503, Code::Unavailable, true),
            (Refusal::DeadlineExceeded, 504, Code::DeadlineExceeded, true),
            (Refusal::Malformed("x".into()), 400, Code::InvalidArgument, false),
            (Refusal::Framing("x"), 400, Code::Internal, false),
            (Refusal::NotOneMessage, 400, Code::Unimplemented, false),
            (compression, 415, Code::Unimplemented, false),
            (Refusal::UnknownTransferCoding, 501, Code::Unimplemented, false),
            (Refusal::UnsupportedContentType, 415, Code::InvalidArgument, false),
            (Refusal::UnknownPath, 404, Code::Unimplemented, false),
            (Refusal::MethodNotAllowed, 405, Code::Unimplemented, false),
            (Refusal::UnknownMethod, 404, Code::Unimplemented, false),
            (Refusal::NoProfiles, 404, Code::Unimplemented, false),
            (Refusal::NotHttp2, 505, Code::Unimplemented, false),
            (Refusal::OriginNotAllowed, 403, Code::PermissionDenied, false),
            (Refusal::KeyOfOtherOrigins, 403, Code::PermissionDenied, false),
        ]
    }

    #[test]
    fn every_row_is_as_documented() {
        for (refusal, status, code, retry) in rows() {
            let verdict = refusal.verdict();
            assert_eq!(
                (verdict.status.as_u16(), verdict.code, verdict.retry_after.is_some()),
                (status, code, retry),
                "{refusal:?}"
            );
        }
    }

    /// OTLP's own rule: a client may retry exactly where advice is given.
    #[test]
    fn what_a_client_may_retry_is_what_carries_advice() {
        for (refusal, ..) in rows() {
            let verdict = refusal.verdict();
            let by_status = matches!(verdict.status.as_u16(), 429 | 502 | 503 | 504);
            assert_eq!(by_status, verdict.retry_after.is_some(), "{refusal:?}");
            // RESOURCE_EXHAUSTED is retryable with advice only, and for Python's and Java's exporters always, as these are for all.
            let always = matches!(
                verdict.code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            );
            assert!(!always || verdict.retry_after.is_some(), "{refusal:?}");
        }
    }
}
