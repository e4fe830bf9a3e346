//! Every reason for which a request is refused, and the one table that turns a reason into an answer:
//! HTTP status, gRPC code and retry advice. No other module decides on a status.
//!
//! Invariant: an answer holds nothing that the client sent, neither its key nor its bytes.

mod body;
mod table;
mod write;

use std::time::Duration;

use crate::signal::Signal;

pub(crate) use body::ReplyBody;
pub(crate) use table::ReplyStatus;
pub(crate) use write::{PartialSuccess, accepted, answer, text};

/// Why a request is refused. Nothing of a refused request was kept, whatever the reason
/// (the exceptions are [`Away::Unknown`] and [`Refusal::DeadlineExceeded`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key, an unknown, expired or disabled key, or two keys that differ. The answer never says which.
    #[error("the ingestion key is missing or not valid")]
    Unauthenticated,
    /// The same, from an address that failed to authenticate too often: its connection ends with the answer. Valid keys from it are never
    /// refused for this.
    #[error("the ingestion key is missing or not valid; too many failed authentications from this address")]
    TooManyFailures,
    /// The key is valid and may not send this signal.
    #[error("this key may not send {0}")]
    SignalNotAllowed(Signal),
    /// Over one of the key's rates; it fits after `retry_after`.
    #[error("over the key's limit of {limit}")]
    OverLimit {
        /// The configuration's name of the limit, for example `requests_per_second`.
        limit: &'static str,
        /// After this long the same request fits.
        retry_after: Duration,
    },
    /// Larger than a limit can ever admit: sending it again cannot help.
    #[error("larger than {limit} allows ({max})")]
    TooLarge {
        /// The configuration's name of the limit.
        limit: &'static str,
        /// The limit's value, in its own unit.
        max: u64,
    },
    /// Nothing is wrong with the request; it is to be sent again.
    #[error("{away}")]
    Unavailable {
        /// What is missing.
        away: Away,
        /// When to try again.
        retry_after: Duration,
    },
    /// The compressed bytes, the protobuf or the JSON are not well-formed.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The body is no message of gRPC: cut short, or marked as compressed in a way that it cannot be.
    #[error("malformed gRPC message: {0}")]
    Framing(&'static str),
    /// No gRPC message, or more than one, where a call has exactly one.
    #[error("the call is to have exactly one gRPC message")]
    NotOneMessage,
    /// The time that a gRPC client gave its call (`grpc-timeout`) is over. Something may have been kept when its records were being kept by then.
    #[error("the time that the client gave this call (grpc-timeout) is over")]
    DeadlineExceeded,
    /// A content encoding (HTTP) or message encoding (gRPC) that is not known.
    #[error("unknown compression; known are {known}")]
    UnknownCompression {
        /// The encodings that are taken here, for `grpc-accept-encoding` and the message.
        known: &'static str,
    },
    /// A transfer coding other than `chunked` (RFC 9112 section 6.1).
    #[error("unknown transfer coding; chunked is the only one here")]
    UnknownTransferCoding,
    /// A content type other than protobuf, JSON or gRPC.
    #[error("unsupported content type; send application/x-protobuf, application/json or, over gRPC, application/grpc")]
    UnsupportedContentType,
    /// No such path.
    #[error("no such path; OTLP/HTTP is POST /v1/traces, /v1/metrics and /v1/logs")]
    UnknownPath,
    /// OTLP's fourth signal, which nothing behind this gateway has a place for.
    #[error("this gateway takes no profiles: ClickStack has no table for them; it takes traces, metrics and logs")]
    NoProfiles,
    /// A known path with a method other than POST.
    #[error("method not allowed; use POST")]
    MethodNotAllowed,
    /// gRPC over HTTP/1.1, whose clients could not read how their call ended.
    #[error("gRPC needs HTTP/2")]
    NotHttp2,
    /// A gRPC service or method that does not exist here.
    #[error(
        "unknown gRPC method; OTLP/gRPC is Export of TraceService, MetricsService and LogsService in opentelemetry.proto.collector"
    )]
    UnknownMethod,
    /// The body came slower than the limits allow, or the request took longer than its time.
    #[error("the request took too long to arrive")]
    TooSlow,
    /// A browser's origin that is not in `cors.allowed_origins`.
    #[error("origin not allowed")]
    OriginNotAllowed,
    /// The key has `origins`, and the request comes from none of them.
    #[error("this key is for web pages of other origins")]
    KeyOfOtherOrigins,
}

/// What is missing when a well-formed, permitted request cannot be kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Away {
    /// The process holds as much as `request.max_memory` allows.
    #[error("no room in memory")]
    Memory,
    /// The key holds as much memory as its share allows.
    #[error("this key's share of memory is in use")]
    KeyMemory,
    /// Others had their turn first for as long as anybody waits.
    #[error("too busy with other requests")]
    Busy,
    /// The spool is full, or its disk is.
    #[error("no room in the spool")]
    Spool,
    /// The key has filled its share of the spool.
    #[error("this key's share of the spool is in use")]
    KeySpool,
    /// The sink did not take the batch in time and is known not to have it.
    #[error("the storage behind this gateway is away")]
    Sink,
    /// The sink did not answer, so that it may have the batch: the one refusal after which something may have been kept.
    #[error("the storage behind this gateway did not answer in time")]
    Unknown,
    /// Another gateway is at the same request, and nobody knows yet what becomes of it.
    #[error("another gateway is keeping this request")]
    Elsewhere,
    /// No keys are known yet.
    #[error("no keys are known yet")]
    Keys,
    /// The process is stopping.
    #[error("this gateway is stopping")]
    Stopping,
}
