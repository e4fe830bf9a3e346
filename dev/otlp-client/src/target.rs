//! Where requests go.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::abrupt::Abrupt;
use crate::{Connection, Protocol, Signal, tls};

/// An address, and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) http2: bool,
    /// Every connection ends with a reset.
    abrupt: bool,
    /// What a request's address begins with.
    pub(crate) base: String,
}

impl Endpoint {
    pub(crate) fn new(endpoint: &Uri, ca: Option<&Path>, http2: bool) -> Result<Endpoint> {
        let host = endpoint.host().context("the endpoint has no host")?;
        let https = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the endpoint must start with https:// or http://"),
        };
        let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let tls = match https {
            true => Some((tls::connector(ca, http2)?, ServerName::try_from(host.to_owned())?)),
            false => None,
        };
        let base = match (http2, https) {
            (false, _) => String::new(),
            (true, true) => format!("https://{authority}"),
            (true, false) => format!("http://{authority}"),
        };
        Ok(Endpoint { authority, tls, http2, abrupt: false, base })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(&self.authority).await;
        let tcp = tcp.with_context(|| format!("cannot connect to {}", self.authority))?;
        tcp.set_nodelay(true)?;
        if self.abrupt {
            tcp.set_zero_linger()?;
        }
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await.context("TLS handshake")?;
                match self.abrupt {
                    true => Connection::open(Abrupt(stream), self.http2).await,
                    false => Connection::open(stream, self.http2).await,
                }
            }
            None if self.abrupt => Connection::open(Abrupt(tcp), self.http2).await,
            None => Connection::open(tcp, self.http2).await,
        }
    }
}

/// Where requests go and how, the same for every connection.
#[derive(Clone)]
pub struct Target {
    endpoint: Endpoint,
    protocol: Protocol,
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
        let endpoint = Endpoint::new(endpoint, ca, http2 || protocol == Protocol::Grpc)?;
        let [traces, logs, metrics] =
            Signal::ALL.map(|signal| format!("{}{}", endpoint.base, protocol.path(signal.name())).parse());
        let mut target = Target { protocol, uris: [traces?, logs?, metrics?], headers: HeaderMap::new(), endpoint };
        target.set_header(CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
        if protocol == Protocol::Grpc {
            target.set_header(TE, HeaderValue::from_static("trailers"));
        }
        if !target.endpoint.http2 {
            target.set_header(HOST, HeaderValue::from_str(&target.endpoint.authority)?);
        }
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).context("the key has characters that no header can carry")?;
            target.set_header(AUTHORIZATION, key);
        }
        Ok(target)
    }

    /// Its connections end as those of a client whose machine fails: with a reset, however they end.
    #[must_use]
    pub fn abrupt(mut self) -> Target {
        self.endpoint.abrupt = true;
        self
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
        self.endpoint.connect().await
    }

    pub(crate) fn request(&self, signal: Signal, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uris[signal as usize].clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
