//! An OTLP client that shows everything: one connection, one request on it with the bytes that it is given, one whole answer. The load
//! tool and the fault harness send with it, because an SDK's exporter batches, repeats and hides connections.

#![forbid(unsafe_code)]

mod answer;
mod tls;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

pub use answer::Answer;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC, always over HTTP/2.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    HttpJson,
}

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

    fn path(self, protocol: Protocol) -> &'static str {
        match (protocol, self) {
            (Protocol::Grpc, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Protocol::Grpc, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            (Protocol::Grpc, Signal::Metrics) => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            (_, Signal::Traces) => "/v1/traces",
            (_, Signal::Logs) => "/v1/logs",
            (_, Signal::Metrics) => "/v1/metrics",
        }
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

/// Where requests go and how, the same for every connection.
#[derive(Clone)]
pub struct Target {
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    protocol: Protocol,
    http2: bool,
    /// By signal.
    uris: [Uri; 3],
    headers: HeaderMap,
}

impl Target {
    /// `endpoint` is `https://HOST:PORT`, whose CA is in the PEM file `ca`, or `http://HOST:PORT`. Opens no connection yet.
    ///
    /// # Errors
    /// Something of it cannot be used.
    pub fn new(
        endpoint: &Uri,
        ca: Option<&Path>,
        protocol: Protocol,
        http2: bool,
        key: Option<&str>,
    ) -> Result<Target> {
        let host = endpoint.host().context("the endpoint has no host")?;
        let https = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the endpoint must start with https:// or http://"),
        };
        let http2 = http2 || protocol == Protocol::Grpc;
        let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let tls = match https {
            true => Some((tls::connector(ca, http2)?, ServerName::try_from(host.to_owned())?)),
            false => None,
        };
        let base =
            if http2 { format!("{}://{authority}", endpoint.scheme_str().unwrap_or("http")) } else { String::new() };
        let [traces, logs, metrics] = Signal::ALL.map(|signal| format!("{base}{}", signal.path(protocol)).parse());
        let mut target =
            Target { authority, tls, protocol, http2, uris: [traces?, logs?, metrics?], headers: HeaderMap::new() };
        let content_type = match protocol {
            Protocol::Grpc => "application/grpc",
            Protocol::HttpProtobuf => "application/x-protobuf",
            Protocol::HttpJson => "application/json",
        };
        target.set_header(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if protocol == Protocol::Grpc {
            target.set_header(TE, HeaderValue::from_static("trailers"));
        }
        if !http2 {
            target.set_header(HOST, HeaderValue::from_str(&target.authority)?);
        }
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).context("the key has characters that no header can carry")?;
            target.set_header(AUTHORIZATION, key);
        }
        Ok(target)
    }

    /// How requests are sent.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Sends this header with each request.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Nobody accepts it, or TLS fails.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(&self.authority).await;
        let tcp = tcp.with_context(|| format!("cannot connect to {}", self.authority))?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => {
                self.handshake(connector.connect(name.clone(), tcp).await.context("TLS handshake")?).await
            }
            None => self.handshake(tcp).await,
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) -> Result<Connection> {
        let stream = TokioIo::new(stream);
        if self.http2 {
            let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .handshake(stream)
                .await?;
            Ok(Connection { sender: Sender::Http2(sender), driver: Driver::new(driver) })
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            Ok(Connection { sender: Sender::Http1(sender), driver: Driver::new(driver) })
        }
    }

    fn request(&self, signal: Signal, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uris[signal as usize].clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An open connection; closed at once, whatever is in flight, when it and all who share it are dropped.
pub struct Connection {
    sender: Sender,
    driver: Arc<Driver>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Driver(AbortHandle);

impl Driver {
    fn new<E>(driver: impl Future<Output = Result<(), E>> + Send + 'static) -> Arc<Driver> {
        // How the connection ends is seen by the requests on it.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Arc::new(Driver(driver.abort_handle()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Another handle on the same HTTP/2 connection; none for HTTP/1.1.
    pub fn share(&self) -> Option<Connection> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                Some(Connection { sender: Sender::Http2(sender.clone()), driver: self.driver.clone() })
            }
        }
    }

    /// Sends a body as the protocol has it (see [`grpc_frame`]) and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke before the whole answer was there.
    pub async fn send(&mut self, target: &Target, signal: Signal, body: Bytes) -> Result<Answer> {
        let request = target.request(signal, body);
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            protocol: target.protocol,
            status: head.status,
            headers: head.headers,
            trailers,
            body: body.to_bytes(),
        })
    }
}
