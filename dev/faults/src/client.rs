//! A client's connection to otelgate, and one request on it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use local_stack::Certificates;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic_types::StatusExt;

use crate::requests::{Protocol, Request, Signal};

/// How long a client waits for an answer before it takes the connection for broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where requests go, and how.
#[derive(Clone)]
pub struct Target {
    /// otelgate's port.
    pub port: u16,
    /// The ingestion key.
    pub key: String,
    /// How requests are sent.
    pub protocol: Protocol,
    /// HTTP/2; gRPC is always.
    pub http2: bool,
    tls: Option<TlsConnector>,
}

/// What otelgate said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Every record is kept.
    Accepted,
    /// Nothing is kept; send it again, not before so long.
    Later(Duration),
    /// Never send it again.
    Never(String),
}

/// An open connection; closed at once when it is dropped.
pub struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Target {
    /// A target that trusts `certificates`, or speaks plain text without.
    ///
    /// # Errors
    /// The CA's file cannot be read.
    pub fn new(
        port: u16,
        key: &str,
        protocol: Protocol,
        http2: bool,
        certificates: Option<&Certificates>,
    ) -> Result<Target> {
        let http2 = http2 || protocol == Protocol::Grpc;
        let tls = certificates.map(|certificates| connector(certificates, http2)).transpose()?;
        Ok(Target { port, key: key.to_owned(), protocol, http2, tls })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// otelgate does not accept it.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.open(tls.connect(ServerName::try_from("localhost")?, tcp).await?).await,
            None => self.open(tcp).await,
        }
    }

    async fn open<S>(&self, stream: S) -> Result<Connection>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        if self.http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
            let driver = tokio::spawn(async move { drop(driver.await) });
            Ok(Connection { sender: Sender::Http2(sender), driver })
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            let driver = tokio::spawn(async move { drop(driver.await) });
            Ok(Connection { sender: Sender::Http1(sender), driver })
        }
    }

    fn request(&self, request: &Request) -> Result<http::Request<Full<Bytes>>> {
        let (path, content_type) = match self.protocol {
            Protocol::Grpc => (grpc_path(request.signal), "application/grpc"),
            Protocol::Protobuf => (http_path(request.signal), "application/x-protobuf"),
            Protocol::Json => (http_path(request.signal), "application/json"),
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let authority = format!("localhost:{}", self.port);
        let uri = if self.http2 { format!("{scheme}://{authority}{path}") } else { path.to_owned() };
        let mut body = BytesMut::new();
        if self.protocol == Protocol::Grpc {
            body.put_u8(0);
            body.put_u32(u32::try_from(request.body.len())?);
        }
        body.extend_from_slice(&request.body);
        let mut builder = http::Request::post(uri).header("content-type", content_type);
        if self.protocol == Protocol::Grpc {
            builder = builder.header("te", "trailers");
        }
        if !self.http2 {
            builder = builder.header("host", authority);
        }
        Ok(builder.header("authorization", &self.key).body(Full::new(body.freeze()))?)
    }
}

impl Connection {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke before the whole answer was there.
    pub async fn send(&mut self, target: &Target, request: &Request) -> Result<Answer> {
        let call = target.request(request)?;
        let exchange = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(call).await?
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(call).await?
                }
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = body.to_bytes();
            match target.protocol {
                Protocol::Grpc => grpc_answer(&head.headers, &trailers, &body),
                _ => Ok(http_answer(&head, target.protocol, &body)),
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no answer")?
    }
}

fn grpc_answer(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<Answer> {
    let status = tonic::Status::from_header_map(trailers).or_else(|| tonic::Status::from_header_map(headers));
    let Some(status) = status else { bail!("an answer without grpc-status") };
    let advice = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Ok(match status.code() {
        tonic::Code::Ok => accepted(body.get(5..).unwrap_or_default()),
        tonic::Code::Unavailable => Answer::Later(advice.unwrap_or(Duration::from_millis(500))),
        tonic::Code::ResourceExhausted if advice.is_some() => Answer::Later(advice.unwrap_or_default()),
        code => Answer::Never(format!("{code:?}: {}", status.message())),
    })
}

fn http_answer(head: &http::response::Parts, protocol: Protocol, body: &[u8]) -> Answer {
    let advice = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    match head.status.as_u16() {
        200 if protocol == Protocol::Json => Answer::Accepted,
        200 => accepted(body),
        429 | 502 | 503 | 504 => Answer::Later(advice.map_or(Duration::from_millis(500), Duration::from_secs)),
        status => Answer::Never(format!("{status}: {}", String::from_utf8_lossy(body))),
    }
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

fn accepted(message: &[u8]) -> Answer {
    match ExportResponse::decode(message) {
        Ok(ExportResponse { partial_success: Some(partial) }) if partial.rejected > 0 => {
            Answer::Never(format!("{} records rejected", partial.rejected))
        }
        Ok(_) => Answer::Accepted,
        Err(error) => Answer::Never(format!("an unreadable answer: {error}")),
    }
}

fn connector(certificates: &Certificates, http2: bool) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&certificates.ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn http_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    }
}

fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}
