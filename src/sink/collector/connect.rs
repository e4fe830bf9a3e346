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
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::refusal::Remembering;
use crate::blocking;
use crate::certificate::{self, Findings, Purpose};
use crate::config::{self, ForwardProtocol};
use crate::file_stamp::{FileStamp, stamps};
use crate::metrics::Metrics;
use crate::pem::{self, Lack};
use crate::rounds::WRITTEN_AFTER;
use crate::sink::body::Pieces;

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a look at files that may have changed.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
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
    /// Nobody accepts the certificates now.
    #[error("{path} {found}")]
    Fault {
        /// As it was configured.
        path: String,
        /// What everybody sees.
        found: Findings,
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
    /// A look at the files is under way.
    looking: AtomicBool,
    /// Files were loaded since it was asked last.
    renewed: AtomicBool,
    metrics: Arc<Metrics>,
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

/// What the files hold.
struct Held {
    tls: rustls::ClientConfig,
    cas: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
}

impl Connect {
    /// Reads the certificates.
    pub(super) fn new(config: &config::Forward, metrics: Arc<Metrics>) -> Result<Connect, SetupError> {
        let files = Files { ca: config.ca_file.clone(), client: config.client_certificate.clone() };
        let of = files.stamps();
        let held = files.load()?;
        held.measure(&metrics);
        let loaded = Mutex::new(Loaded { tls: held.tls, tried: of.clone(), of });
        let (looking, renewed) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Connect { files, protocol: config.protocol, loaded, looking, renewed, metrics })
    }

    /// Reads files that changed. True: clients that were made before use old ones.
    ///
    /// The files may lie on a disk that hangs. Nothing but the look itself waits for it long: names are resolved and peers chosen as if nothing had
    /// changed, and what the look finds in the end is used then.
    pub(super) async fn refresh(self: &Arc<Self>) -> bool {
        if !self.looking.swap(true, Ordering::AcqRel) {
            let this = self.clone();
            let look = blocking::run(move || {
                let renewed = this.look();
                this.renewed.fetch_or(renewed, Ordering::AcqRel);
                this.looking.store(false, Ordering::Release);
            });
            // What it found is in `renewed`.
            let _ = tokio::time::timeout(LOOK_TIMEOUT, look).await;
        }
        self.renewed.swap(false, Ordering::AcqRel)
    }

    /// Whether changed files were loaded. Blocks.
    fn look(&self) -> bool {
        if self.files.stamps() == self.loaded.lock().of {
            return false;
        }
        std::thread::sleep(WRITTEN_AFTER);
        let now = self.files.stamps();
        // Files that were refused are tried again, but one complaint for each change is enough.
        let new = std::mem::replace(&mut self.loaded.lock().tried, now.clone()) != now;
        match self.files.load().and_then(|held| held.worth_a_change(&self.files)) {
            Ok(held) => {
                tracing::info!("the certificates of sink.forward were loaded again");
                held.findings(&self.files).iter().for_each(|(path, found)| found.say(path));
                held.measure(&self.metrics);
                let mut loaded = self.loaded.lock();
                (loaded.tls, loaded.of) = (held.tls, now);
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

impl Held {
    fn findings<'a>(&self, files: &'a Files) -> Vec<(&'a Path, Findings)> {
        let now = SystemTime::now();
        let cas = files.ca.as_deref().map(|file| (file, certificate::authorities(&self.cas, now)));
        let chain =
            |(file, _): &'a (PathBuf, PathBuf)| (file.as_path(), certificate::chain(&self.chain, Purpose::Client, now));
        cas.into_iter().chain(files.client.as_ref().map(chain)).collect()
    }

    /// Refuses files that nobody accepts: whatever is in use is no worse.
    fn worth_a_change(self, files: &Files) -> Result<Held, SetupError> {
        match self.findings(files).into_iter().find(|(_, found)| !found.faults.is_empty()) {
            None => Ok(self),
            Some((path, found)) => Err(SetupError::Fault { path: path.display().to_string(), found }),
        }
    }

    fn measure(&self, metrics: &Metrics) {
        metrics.certificate_ends("sink.forward.ca_file", certificate::authorities_end(&self.cas));
        metrics.certificate_ends("sink.forward.cert_file", certificate::chain_ends(&self.chain));
    }
}

impl Files {
    fn load(&self) -> Result<Held, SetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let (mut cas, mut chain) = (Vec::new(), Vec::new());
        let builder = match &self.ca {
            None => builder.with_webpki_roots(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                cas = certificates(path)?;
                for certificate in &cas {
                    roots.add(certificate.clone())?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let tls = match &self.client {
            None => builder.with_no_client_auth(),
            Some((file_of_chain, key)) => {
                let pem = read(key)?;
                let key = pem::private_key(&pem).map_err(|lack| lacks(key, lack))?;
                chain = certificates(file_of_chain)?;
                builder.with_client_auth_cert(chain.clone(), key)?
            }
        };
        Ok(Held { tls, cas, chain })
    }

    fn stamps(&self) -> Vec<FileStamp> {
        let (chain, key) = self.client.as_ref().map(|(chain, key)| (chain, key)).unzip();
        stamps([self.ca.as_ref(), chain, key].into_iter().flatten().map(PathBuf::as_path))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    pem::certificates(&read(path)?).map_err(|lack| lacks(path, lack))
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|error| file(path, error.to_string()))
}

fn lacks(path: &Path, lack: Lack) -> SetupError {
    file(path, format!("it {lack}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::collector::tests::settings;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(["collector".to_owned()]).expect("a certificate").cert.pem()
    }

    #[tokio::test]
    async fn certificates_on_a_disk_that_hangs_are_used_when_it_answers() {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, authority()).expect("written");
        let settings = config::Forward { ca_file: Some(ca.clone()), ..settings(ForwardProtocol::Grpc, &[]) };
        let connect = Arc::new(Connect::new(&settings, Arc::default()).expect("good files"));
        assert!(!connect.refresh().await);
        crate::file_stamp::hang(&ca);
        // On this runtime's one thread: were it held up, nothing here would go on.
        for _ in 0..3 {
            let refresh = tokio::time::timeout(LOOK_TIMEOUT + Duration::from_secs(5), connect.refresh());
            assert_eq!(refresh.await, Ok(false));
            drop(connect.to(([127, 0, 0, 1], 1).into()));
        }
        assert!(crate::file_stamp::answer(&ca, authority().as_bytes()), "one thread still reads");
        while !connect.refresh().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
