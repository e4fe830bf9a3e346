//! What a server said.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::HeaderMap;
use prost::Message;

use crate::Protocol;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status; 200 for gRPC.
    pub status: u16,
    /// Its header.
    pub headers: HeaderMap,
    /// What came behind its body.
    pub trailers: HeaderMap,
    /// Its body, for gRPC with the five bytes before the message.
    pub body: Bytes,
}

/// `Export…ServiceResponse` of each signal, whose `partial_success` has the same numbers.
#[derive(Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
}

impl Answer {
    /// gRPC's status, from the trailers or from an answer that is trailers only.
    pub fn grpc_status(&self) -> Option<u32> {
        self.text("grpc-status")?.parse().ok()
    }

    /// A trailer, or else a header.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name))?.to_str().ok()
    }

    /// Whether the answer accepts the request, in the protocol's own way.
    pub fn accepted(&self, protocol: Protocol) -> bool {
        self.refusal(protocol).is_none()
    }

    /// In short, as what the request was refused; none when it was accepted.
    pub fn refusal(&self, protocol: Protocol) -> Option<String> {
        match (protocol, self.grpc_status()) {
            (Protocol::Grpc, Some(0)) if self.status == 200 => None,
            (Protocol::Grpc, Some(code)) => Some(format!("grpc {code}")),
            (Protocol::Grpc, None) => Some(format!("http {} without grpc-status", self.status)),
            _ => (self.status != 200).then(|| format!("http {}", self.status)),
        }
    }

    /// Records that an accepted request's `partial_success` rejects. JSON is not read.
    ///
    /// # Errors
    /// The answer is not what OTLP has.
    pub fn rejected(&self, protocol: Protocol) -> Result<u64> {
        let message = match protocol {
            Protocol::Grpc => self.body.get(5..).unwrap_or_default(),
            Protocol::HttpProtobuf => &self.body,
            Protocol::HttpJson => return Ok(0),
        };
        let answer = ExportResponse::decode(message).context("an unreadable answer")?;
        Ok(answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0)))
    }
}
