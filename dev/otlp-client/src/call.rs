//! A request, with everything of it open to a change.

use std::fmt;

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::Full;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC, always over HTTP/2.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    HttpJson,
}

impl Protocol {
    /// All three.
    pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Protocol::Grpc => "application/grpc",
            Protocol::HttpProtobuf => "application/x-protobuf",
            Protocol::HttpJson => "application/json",
        }
    }

    /// The path of a signal, which is named as OTLP/HTTP's paths name it.
    pub(crate) fn path(self, signal: &str) -> String {
        let service = match signal {
            "traces" => "trace.v1.TraceService",
            "logs" => "logs.v1.LogsService",
            "profiles" => "profiles.v1development.ProfilesService",
            _ => "metrics.v1.MetricsService",
        };
        match self {
            Protocol::Grpc => format!("/opentelemetry.proto.collector.{service}/Export"),
            _ if signal == "profiles" => "/v1development/profiles".to_owned(),
            _ => format!("/v1/{signal}"),
        }
    }
}

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points.
    Metrics,
}

impl Signal {
    /// All three.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// As OTLP/HTTP's paths name it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// gRPC's five bytes before a message, and the message.
///
/// # Errors
/// It is longer than gRPC can say.
pub fn grpc_frame(compressed: bool, message: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(message.len())?.to_be_bytes();
    Ok([&[u8::from(compressed)], &length[..], message].concat())
}

/// A request, before it is sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// How it is sent.
    pub protocol: Protocol,
    /// Path and query.
    pub path: String,
    /// POST, for an export.
    pub method: http::Method,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// As sent, compressed already; gRPC's five bytes are added when it is sent.
    pub body: Vec<u8>,
    /// gRPC's flag: the message is compressed.
    pub compressed: bool,
}

impl Call {
    /// An export of `body` (protobuf or JSON, as the protocol says) with a key, or with none when it is empty. The signal is named as OTLP/HTTP's
    /// paths name it.
    pub fn export(protocol: Protocol, signal: impl fmt::Display, key: &str, body: Vec<u8>) -> Call {
        let headers = vec![("content-type".to_owned(), protocol.content_type().to_owned())];
        let path = protocol.path(&signal.to_string());
        let call = Call { protocol, path, method: http::Method::POST, headers, body, compressed: false };
        if key.is_empty() { call } else { call.header("authorization", key) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Call {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
    }

    /// Says how the body is compressed, in the header that the protocol uses.
    #[must_use]
    pub fn encoding(mut self, encoding: &str) -> Call {
        self.compressed = true;
        let name = if self.protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
        self.header(name, encoding)
    }

    /// What goes on the wire to an address that begins with `base`.
    pub(crate) fn request(self, base: &str) -> Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder().method(self.method).uri(format!("{base}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = match self.protocol {
            Protocol::Grpc => {
                request = request.header("te", "trailers");
                grpc_frame(self.compressed, &self.body)?
            }
            _ => self.body,
        };
        Ok(request.body(Full::new(body.into()))?)
    }
}
