//! Connections to one address of an endpoint: TLS, or plaintext (HTTP/2 by prior knowledge for gRPC, HTTP/1.1 for HTTP).
//!
//! CA and client certificate are read again when their files change. What they make is swapped as a whole: a connection is made with the
//! old files or with the new ones, never with a mixture, and files that cannot be used change nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;

use super::refusal::Remembering;
use crate::config::{self, ForwardProtocol};
use crate::file_stamp::{FileStamp, stamps};
use crate::sink::body::Pieces;

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is kept this long; shorter than what load balancers and servers commonly allow.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// A connection with exports in flight is asked for a sign of life this often, and given up when none comes.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A client whose connections all go to one address.
pub(super) type Connections = Client<Remembering<HttpsConnector<ToAddress>>, Pieces>;

/// Why no connection can be attempted at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of certificates or of a private key cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// As it was configured.
        path: String,
        /// In words.
        why: String,
    },
    /// The TLS library refuses the certificates.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A token that cannot be sent in a header.
    #[error("sink.forward.token holds a character that cannot be sent in an HTTP header")]
    Token,
}

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connect {
    files: Files,
    protocol: ForwardProtocol,
    loaded: Mutex<Loaded>,
}

/// Where certificates come from.
#[derive(Debug)]
struct Files {
    ca: Option<PathBuf>,
    /// The chain and its private key.
    client: Option<(PathBuf, PathBuf)>,
}

/// What was made of the files.
#[derive(Debug)]
struct Loaded {
    tls: rustls::ClientConfig,
    /// The files that it was made of.
    of: Vec<FileStamp>,
    /// The files that were tried last.
    tried: Vec<FileStamp>,
}

impl Connect {
    /// Reads the certificates.
    pub(super) fn new(config: &config::Forward) -> Result<Connect, SetupError> {
        let files = Files { ca: config.ca_file.clone(), client: config.client_certificate.clone() };
        let of = files.stamps();
        let loaded = Mutex::new(Loaded { tls: files.load()?, tried: of.clone(), of });
        Ok(Connect { files, protocol: config.protocol, loaded })
    }

    /// Reads files that changed. True: clients that were made before use old ones.
    pub(super) fn refresh(&self) -> bool {
        let now = self.files.stamps();
        let mut loaded = self.loaded.lock();
        if now == loaded.of {
            return false;
        }
        // Files that were refused are tried again, but one complaint for each change is enough.
        let new = std::mem::replace(&mut loaded.tried, now.clone()) != now;
        match self.files.load() {
            Ok(tls) => {
                (loaded.tls, loaded.of) = (tls, now);
                tracing::info!("the certificates of sink.forward were loaded again");
                true
            }
            Err(error) => {
                if new {
                    tracing::error!(%error, "changed certificates of sink.forward cannot be used; the old ones stay");
                }
                false
            }
        }
    }

    /// A client for one address. Names and certificates are those of each request's URI.
    pub(super) fn to(&self, address: SocketAddr) -> Connections {
        let tls = self.loaded.lock().tls.clone();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let http2 = self.protocol == ForwardProtocol::Grpc;
        let connector = match http2 {
            true => builder.enable_http2().wrap_connector(ToAddress(address)),
            false => builder.enable_http1().wrap_connector(ToAddress(address)),
        };
        Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(Remembering(connector))
    }
}

impl Files {
    fn load(&self) -> Result<rustls::ClientConfig, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &self.ca {
            None => builder.with_webpki_roots(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                builder.with_root_certificates(roots)
            }
        };
        Ok(match &self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                // The parser's error may quote the file.
                let unreadable = |_| file(key, "it holds no PEM private key without a passphrase".to_owned());
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                builder.with_client_auth_cert(certificates(chain)?, key)?
            }
        })
    }

    fn stamps(&self) -> Vec<FileStamp> {
        let (chain, key) = self.client.as_ref().map(|(chain, key)| (chain, key)).unzip();
        stamps([self.ca.as_ref(), chain, key].into_iter().flatten().map(PathBuf::as_path))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let failed = |error: rustls::pki_types::pem::Error| file(path, error.to_string());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    match all {
        Ok(all) if all.is_empty() => Err(file(path, "it holds no certificate".to_owned())),
        all => all.map_err(failed),
    }
}

fn file(path: &Path, why: String) -> SetupError {
    SetupError::File { path: path.display().to_string(), why }
}

/// A TCP connector that goes to one address, whatever host the URI names: names are resolved by
/// [`Endpoints`](super::endpoints::Endpoints), so that each address of a name has its own share of the exports.
#[derive(Debug, Clone)]
pub(super) struct ToAddress(SocketAddr);

impl tower::Service<Uri> for ToAddress {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
