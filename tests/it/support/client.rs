//! A raw OTLP client: sends any bytes with any headers and keeps the whole answer, so that tests can send what no SDK would.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use otelgate::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];
}

/// A client of one edge.
pub struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
}

/// A request, before it is sent.
pub struct Call {
    pub protocol: Protocol,
    pub path: String,
    pub method: http::Method,
    pub headers: Vec<(String, String)>,
    /// As sent, compressed already; gRPC's five bytes are added when it is sent.
    pub body: Vec<u8>,
    /// gRPC's flag: the message is compressed.
    pub compressed: bool,
}

/// The whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub trailers: http::HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// An export of `body` (protobuf or JSON, as the protocol says) with a key.
    pub fn export(protocol: Protocol, signal: Signal, key: &str, body: Vec<u8>) -> Call {
        let (path, content_type) = match protocol {
            Protocol::Grpc => (grpc_path(signal).to_owned(), "application/grpc"),
            Protocol::HttpProtobuf => (format!("/v1/{signal}"), "application/x-protobuf"),
            Protocol::HttpJson => (format!("/v1/{signal}"), "application/json"),
        };
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        let call = Call { protocol, path, method: http::Method::POST, headers, body, compressed: false };
        if key.is_empty() { call } else { call.header("authorization", key) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header.
    pub fn set(mut self, name: &str, value: &str) -> Call {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
    }

    /// Says how the body is compressed, in the header that the protocol uses.
    pub fn encoding(mut self, encoding: &str) -> Call {
        self.compressed = true;
        let name = if self.protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
        self.header(name, encoding)
    }
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

impl Client {
    /// A client that trusts `ca` and speaks HTTP/2 or HTTP/1.1.
    pub fn new(base: &str, ca: &Path, http2: bool) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("the CA's file") {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = if http2 { connector.enable_http2().build() } else { connector.enable_http1().build() };
        let http = HyperClient::builder(TokioExecutor::new()).http2_only(http2).build(connector);
        Client { http, base: base.replace("127.0.0.1", "localhost") }
    }

    /// Sends a call and reads the whole answer.
    pub async fn send(&self, call: Call) -> Answer {
        self.try_send(call).await.expect("an answer")
    }

    /// As [`Client::send`]; the connection may break.
    pub async fn try_send(&self, call: Call) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = http::Request::builder().method(call.method).uri(format!("{}{}", self.base, call.path));
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let mut body = call.body;
        if call.protocol == Protocol::Grpc {
            request = request.header("te", "trailers");
            let mut framed = vec![u8::from(call.compressed)];
            framed.extend(u32::try_from(body.len())?.to_be_bytes());
            framed.append(&mut body);
            body = framed;
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = tokio::time::timeout(Duration::from_secs(90), self.http.request(request)).await??;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, trailers, body: body.to_bytes() })
    }
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
        match protocol {
            Protocol::Grpc => self.status == 200 && self.grpc_status() == Some(0),
            _ => self.status == 200,
        }
    }
}
