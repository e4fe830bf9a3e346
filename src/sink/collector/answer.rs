//! What an answer means. The one place that knows OTLP's tables of statuses (OTLP 1.11, "Failures", for gRPC and HTTP).
//!
//! Where OTLP says "retry", records may still have been taken when the answer comes from somebody who did not decide (a proxy that lost
//! its server, a deadline): that is [`Outcome::Unknown`], repeated all the same and counted as perhaps doubled. Where OTLP says "do not
//! retry" because somebody has to mend something (credentials, an address, a pipeline), the batch is held and not dropped.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::causes::readable;
use crate::otlp::wire::{Field, Fields};
use crate::sink::Outcome;

/// What the collector said to an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has taken the records, but for these.
    Taken(Option<PartialSuccess>),
    /// It has not, or nobody knows.
    Failed(Failure),
}

/// Records that the collector names as rejected; 0 with a message is a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    pub(super) rejected: u64,
    pub(super) message: String,
}

/// An export that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// In words, without the endpoint's name.
    pub(super) why: String,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// No connection: nothing was sent.
    Unreachable,
    /// Not taken; it may work later, or elsewhere.
    Retry(Option<Duration>),
    /// Perhaps taken.
    Unknown,
    /// Somebody has to mend something first.
    Hold(&'static str),
    /// As `Hold`, and the endpoint is well but for this signal.
    NotServed,
    /// Never will be.
    Refused,
}

pub(super) const CREDENTIALS: &str = "check sink.forward.token and the client certificate";
const NOT_SERVED: &str =
    "has the collector a pipeline for this signal, and is sink.forward.endpoint its OTLP address for this protocol?";

impl Failure {
    pub(super) fn new(class: Class, why: impl Into<String>) -> Failure {
        Failure { class, why: why.into() }
    }

    /// What becomes of the part.
    pub(super) fn outcome(self, endpoint: &str) -> Outcome {
        let why = format!("{endpoint}: {}", self.why);
        match self.class {
            Class::Unreachable => Outcome::Retry { why, after: None },
            Class::Retry(after) => Outcome::Retry { why, after },
            Class::Unknown => Outcome::Unknown { why },
            Class::Hold(remedy) => Outcome::Hold { why: format!("{why}; {remedy}") },
            Class::NotServed => Outcome::Hold { why: format!("{why}; {NOT_SERVED}") },
            Class::Refused => Outcome::Refused { why },
        }
    }
}

/// A gRPC answer: HTTP status, headers, the messages' bytes and the trailers.
pub(super) fn grpc(status: StatusCode, headers: &HeaderMap, body: &[u8], trailers: Option<&HeaderMap>) -> Answer {
    let said = trailers.and_then(tonic::Status::from_header_map).or_else(|| tonic::Status::from_header_map(headers));
    let Some(said) = said else {
        return match status {
            // The answer was cut before its end.
            StatusCode::OK => Answer::Failed(Failure::new(Class::Unknown, "the answer has no gRPC status")),
            // Something between here and the collector speaks, and it does not speak gRPC.
            _ => http(status, headers, body),
        };
    };
    if said.code() == Code::Ok {
        // A message's prefix: not compressed, for nothing else was asked for, and its length.
        let message = body.split_at_checked(5).filter(|(prefix, _)| prefix.first() == Some(&0));
        return Answer::Taken(message.and_then(|(_, message)| partial_success(message)));
    }
    let advice = said.get_details_retry_info().and_then(|info| info.retry_delay);
    let why = format!("{:?}: {}", said.code(), readable(said.message().as_bytes()));
    Answer::Failed(Failure::new(grpc_class(said.code(), advice), why))
}

fn grpc_class(code: Code, advice: Option<Duration>) -> Class {
    match code {
        Code::Unavailable | Code::Aborted | Code::OutOfRange => Class::Retry(advice),
        Code::ResourceExhausted if advice.is_some() => Class::Retry(advice),
        Code::Cancelled | Code::DeadlineExceeded | Code::DataLoss => Class::Unknown,
        Code::Unauthenticated | Code::PermissionDenied => Class::Hold(CREDENTIALS),
        Code::Unimplemented | Code::NotFound => Class::NotServed,
        // ResourceExhausted without advice is a message that is too large: its halves may not be.
        Code::ResourceExhausted
        | Code::InvalidArgument
        | Code::Internal
        | Code::Unknown
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Ok => Class::Refused,
    }
}

/// An HTTP answer.
pub(super) fn http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    if status.is_success() {
        return Answer::Taken(partial_success(body));
    }
    let protobuf = headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-protobuf");
    let message = tonic_types::pb::Status::decode(body).ok().filter(|_| protobuf).map(|status| status.message);
    let message = readable(message.as_deref().map_or(body, str::as_bytes));
    let class = match status.as_u16() {
        429 | 503 => Class::Retry(retry_after(headers)),
        502 | 504 => Class::Unknown,
        401 | 403 | 407 => Class::Hold(CREDENTIALS),
        300..=399 | 404 | 405 | 415 => Class::NotServed,
        _ => Class::Refused,
    };
    Answer::Failed(Failure::new(class, format!("HTTP {}: {message}", status.as_u16())))
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(SystemTime::from(date).duration_since(SystemTime::now()).unwrap_or_default())
}

/// `Export…ServiceResponse { partial_success = 1 { rejected_… = 1, error_message = 2 } }`. An answer that cannot be read was a yes all the same.
fn partial_success(response: &[u8]) -> Option<PartialSuccess> {
    let (mut rejected, mut message) = (0, String::new());
    let mut fields = Fields::new(response, 0);
    while let Ok(Some((number, field))) = fields.next() {
        let (1, Field::Len(partial)) = (number, field) else { continue };
        let mut fields = Fields::new(partial, 1);
        while let Ok(Some((number, field))) = fields.next() {
            match (number, field) {
                (1, Field::Varint(count)) => rejected = count,
                (2, Field::Len(text)) => message = readable(text),
                _ => {}
            }
        }
    }
    (rejected > 0 || !message.is_empty()).then_some(PartialSuccess { rejected, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(answer: Answer) -> Class {
        match answer {
            Answer::Failed(failure) => failure.class,
            Answer::Taken(_) => panic!("taken"),
        }
    }

    #[test]
    fn every_grpc_status() {
        use tonic::{Code, Status};
        use tonic_types::ErrorDetails;
        let advice = Some(Duration::from_secs(3));
        let with = |code: Code, details: Option<Duration>| {
            let details = ErrorDetails::with_retry_info(details);
            let said = Status::with_error_details(code, "text", details).into_http::<()>();
            class(grpc(StatusCode::OK, said.headers(), &[], None))
        };
        let without = |code: i32| {
            let said = Status::new(Code::from(code), "text").into_http::<()>();
            class(grpc(StatusCode::OK, said.headers(), &[], None))
        };
        let expected = [
            (1, Class::Unknown),            // CANCELLED
            (2, Class::Refused),            // UNKNOWN
            (3, Class::Refused),            // INVALID_ARGUMENT
            (4, Class::Unknown),            // DEADLINE_EXCEEDED
            (5, Class::NotServed),          // NOT_FOUND
            (6, Class::Refused),            // ALREADY_EXISTS
            (7, Class::Hold(CREDENTIALS)),  // PERMISSION_DENIED
            (8, Class::Refused),            // RESOURCE_EXHAUSTED
            (9, Class::Refused),            // FAILED_PRECONDITION
            (10, Class::Retry(None)),       // ABORTED
            (11, Class::Retry(None)),       // OUT_OF_RANGE
            (12, Class::NotServed),         // UNIMPLEMENTED
            (13, Class::Refused),           // INTERNAL
            (14, Class::Retry(None)),       // UNAVAILABLE
            (15, Class::Unknown),           // DATA_LOSS
            (16, Class::Hold(CREDENTIALS)), // UNAUTHENTICATED
        ];
        for (code, class) in expected {
            assert_eq!(without(code), class, "{code}");
        }
        assert_eq!(with(Code::ResourceExhausted, advice), Class::Retry(advice));
        assert_eq!(with(Code::Unavailable, advice), Class::Retry(advice));
    }

    #[test]
    fn every_http_status() {
        let headers = HeaderMap::new();
        for (status, expected) in [
            (429, Class::Retry(None)),
            (503, Class::Retry(None)),
            (502, Class::Unknown),
            (504, Class::Unknown),
            (401, Class::Hold(CREDENTIALS)),
            (403, Class::Hold(CREDENTIALS)),
            (301, Class::NotServed),
            (404, Class::NotServed),
            (400, Class::Refused),
            (413, Class::Refused),
            (500, Class::Refused),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(class(http(status, &headers, b"x")), expected, "{status}");
        }
    }

    #[test]
    fn advice_is_seconds_or_a_date() {
        let with = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            class(http(StatusCode::SERVICE_UNAVAILABLE, &headers, &[]))
        };
        assert_eq!(with("7"), Class::Retry(Some(Duration::from_secs(7))));
        assert_eq!(with("Fri, 31 Dec 1999 23:59:59 GMT"), Class::Retry(Some(Duration::ZERO)));
        assert!(
            matches!(with("Thu, 31 Dec 2099 23:59:59 GMT"), Class::Retry(Some(time)) if time.as_secs() > 1_000_000)
        );
        assert_eq!(with("soon"), Class::Retry(None));
    }

    #[test]
    fn a_yes_may_name_what_was_rejected() {
        let body = [10, 7, 8, 5, 18, 3, b'w', b'h', b'y'];
        let partial = PartialSuccess { rejected: 5, message: "why".into() };
        assert_eq!(http(StatusCode::OK, &HeaderMap::new(), &body), Answer::Taken(Some(partial.clone())));
        let ok = tonic::Status::new(Code::Ok, "").into_http::<()>();
        let framed = [&[0, 0, 0, 0, 9][..], &body].concat();
        let trailers = Some(ok.headers());
        assert_eq!(grpc(StatusCode::OK, &HeaderMap::new(), &framed, trailers), Answer::Taken(Some(partial)));
        assert_eq!(grpc(StatusCode::OK, &HeaderMap::new(), &[0; 5], trailers), Answer::Taken(None));
    }

    #[test]
    fn a_cut_grpc_answer_says_nothing_and_a_proxy_speaks_http() {
        let headers = HeaderMap::new();
        assert_eq!(class(grpc(StatusCode::OK, &headers, &[], None)), Class::Unknown);
        assert_eq!(class(grpc(StatusCode::SERVICE_UNAVAILABLE, &headers, &[], None)), Class::Retry(None));
    }
}
