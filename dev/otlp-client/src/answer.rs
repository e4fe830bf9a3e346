//! What a server said.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use prost::Message;

use crate::Protocol;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub(crate) protocol: Protocol,
    /// The HTTP status; 200 for gRPC.
    pub status: StatusCode,
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
    /// In short, as what the request was refused; none when it was accepted.
    pub fn refusal(&self) -> Option<String> {
        if self.protocol != Protocol::Grpc {
            return (!self.status.is_success()).then(|| format!("http {}", self.status.as_u16()));
        }
        let code = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
        match code.and_then(|code| code.to_str().ok()) {
            Some("0") => None,
            Some(code) => Some(format!("grpc {code}")),
            None => Some(format!("http {} without grpc-status", self.status.as_u16())),
        }
    }

    /// Records that an accepted request's `partial_success` rejects. JSON is not read.
    ///
    /// # Errors
    /// The answer is not what OTLP has.
    pub fn rejected(&self) -> Result<u64> {
        let message = match self.protocol {
            Protocol::Grpc => self.body.get(5..).unwrap_or_default(),
            Protocol::HttpProtobuf => &self.body,
            Protocol::HttpJson => return Ok(0),
        };
        let answer = ExportResponse::decode(message).context("an unreadable answer")?;
        Ok(answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0)))
    }
}
