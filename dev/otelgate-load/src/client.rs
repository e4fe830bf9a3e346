//! One connection to the target, and one request on it.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Args, Compression, HttpVersion, Protocol, Signal};

/// Where requests go and what they look like, the same for every connection.
pub(crate) struct Target {
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http2: bool,
    grpc: bool,
    uri: http::Uri,
    headers: HeaderMap,
}

impl Target {
    /// Reads the arguments; opens no connection yet.
    pub(crate) fn new(args: &Args, key: Option<&str>) -> Result<Arc<Target>> {
        let host = args.endpoint.host().context("--endpoint has no host")?;
        let https = match args.endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("--endpoint must start with https:// or http://"),
        };
        let grpc = args.protocol == Protocol::Grpc;
        let http2 = grpc || args.http_version == HttpVersion::Http2;
        let port = args.endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let tls = if https { Some((connector(args, http2)?, ServerName::try_from(host.to_owned())?)) } else { None };
        let uri =
            format!("{}://{authority}{}", if https { "https" } else { "http" }, path(grpc, args.signal)).parse()?;
        Ok(Arc::new(Target { authority, tls, http2, grpc, uri, headers: headers(args, key)? }))
    }

    /// Whether one connection carries several requests at a time.
    pub(crate) fn multiplexes(&self) -> bool {
        self.http2
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("cannot connect to {}", self.authority))?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => {
                self.handshake(connector.connect(name.clone(), tcp).await.context("TLS handshake")?).await
            }
            None => self.handshake(tcp).await,
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) -> Result<Connection> {
        if self.http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .handshake(TokioIo::new(stream))
                .await?;
            tokio::spawn(connection);
            Ok(Connection::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(Connection::Http1(sender))
        }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if !self.http2 {
            if let Ok(host) = HeaderValue::from_str(&self.authority) {
                request.headers_mut().insert(http::header::HOST, host);
            }
            *request.uri_mut() = self.uri.path().parse().unwrap_or_default();
        }
        request
    }
}

/// An open connection. HTTP/2's may be cloned: the clones share it.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Another handle on the same HTTP/2 connection; none for HTTP/1.1.
    pub(crate) fn share(&self) -> Option<Connection> {
        match self {
            Connection::Http1(_) => None,
            Connection::Http2(sender) => Some(Connection::Http2(sender.clone())),
        }
    }

    /// Sends one body and reads the whole answer.
    pub(crate) async fn send(&mut self, target: &Target, body: Bytes) -> Result<Answer> {
        let request = target.request(body);
        let response = match self {
            Connection::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Connection::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status = if target.grpc {
            let code = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
            match code.and_then(|code| code.to_str().ok()) {
                Some("0") => None,
                Some(code) => Some(format!("grpc {code}")),
                None => Some(format!("http {} without grpc-status", head.status.as_u16())),
            }
        } else {
            (!head.status.is_success()).then(|| format!("http {}", head.status.as_u16()))
        };
        let is_json =
            head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        let rejected = if status.is_none() && !is_json { rejected(target.grpc, &body.to_bytes()) } else { 0 };
        Ok(Answer { refused: status, rejected })
    }
}

/// What the server said.
pub(crate) struct Answer {
    /// The status of a refusal; none when the request was accepted.
    pub(crate) refused: Option<String>,
    /// Records that an accepted request's `partial_success` rejects.
    pub(crate) rejected: u64,
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

fn rejected(grpc: bool, body: &Bytes) -> u64 {
    let message = if grpc { body.get(5..).unwrap_or_default() } else { body };
    let partial = ExportResponse::decode(message).ok().and_then(|response| response.partial_success);
    partial.and_then(|partial| u64::try_from(partial.rejected).ok()).unwrap_or(0)
}

fn connector(args: &Args, http2: bool) -> Result<TlsConnector> {
    let path = args.ca.as_ref().context("--ca is needed for https")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(|| format!("cannot read {}", path.display()))? {
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

fn path(grpc: bool, signal: Signal) -> &'static str {
    match (grpc, signal) {
        (true, Signal::Traces) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        (true, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        (true, Signal::Metrics) => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        (false, Signal::Traces) => "/v1/traces",
        (false, Signal::Logs) => "/v1/logs",
        (false, Signal::Metrics) => "/v1/metrics",
    }
}

fn headers(args: &Args, key: Option<&str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let content_type = match args.protocol {
        Protocol::Grpc => "application/grpc",
        Protocol::HttpProtobuf => "application/x-protobuf",
        Protocol::HttpJson => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(key) = key {
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(key).context("the key has characters that no header can carry")?,
        );
    }
    let encoding = match args.compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
        Compression::Deflate => Some("deflate"),
        Compression::Snappy => Some("snappy"),
        Compression::Lz4 => Some("lz4"),
    };
    if args.protocol == Protocol::Grpc {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(encoding) = encoding {
        let value = HeaderValue::from_static(encoding);
        if args.protocol == Protocol::Grpc {
            headers.insert("grpc-encoding", value);
        } else {
            headers.insert(CONTENT_ENCODING, value);
        }
    }
    Ok(headers)
}
