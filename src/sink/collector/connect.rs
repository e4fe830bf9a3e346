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
use std::time::{Duration, SystemTime};

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

use super::gather::Gathering;
use super::refusal::Remembering;
use crate::certificate::{self, Findings, Purpose};
use crate::config::{self, ForwardProtocol};
use crate::metrics::Metrics;
use crate::pem::{self, Lack};
use crate::rounds::{self, Changes, Rounds};
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
    /// SIGHUP cannot be listened to.
    #[error(transparent)]
    Signal(#[from] io::Error),
    /// A token that cannot be sent in a header.
    #[error("sink.forward.token holds a character that cannot be sent in an HTTP header")]
    Token,
}

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connect {
    files: Files,
    followed: Arc<rounds::Files>,
    protocol: ForwardProtocol,
    held: Mutex<Held>,
    metrics: Arc<Metrics>,
}

/// Where certificates come from.
#[derive(Debug)]
struct Files {
    ca: Option<PathBuf>,
    /// The chain and its private key.
    client: Option<(PathBuf, PathBuf)>,
}

/// What the files hold.
#[derive(Debug)]
struct Held {
    tls: rustls::ClientConfig,
    cas: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    /// Of the private key's file.
    key: [u8; 32],
}

impl Connect {
    /// Reads the certificates.
    pub(super) fn new(config: &config::Forward, metrics: Arc<Metrics>) -> Result<Connect, SetupError> {
        let files = Files { ca: config.ca_file.clone(), client: config.client_certificate.clone() };
        let followed = rounds::Files::new(files.all());
        let held = files.load()?;
        held.measure(&metrics);
        Ok(Connect { files, followed, protocol: config.protocol, held: Mutex::new(held), metrics })
    }

    /// When [`Connect::reload`] has something to do.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub(super) fn changes(&self, rounds: &Rounds) -> io::Result<Changes> {
        self.followed.changes(rounds)
    }

    /// Reads the files again; whether they hold something else that can be used, so that clients that were made before use old ones. Complains where that
    /// is news, or somebody `asked`. Blocks.
    pub(super) fn reload(&self, asked: bool) -> bool {
        let mut renewed = false;
        self.followed.read(asked, |complain| {
            let held = self.files.load().and_then(|held| held.worth_a_change(&self.files));
            match held {
                Ok(held) => {
                    renewed = !held.is(&self.held.lock());
                    if renewed {
                        self.take_over(held);
                    }
                    true
                }
                Err(error) => {
                    if complain {
                        tracing::error!(%error, "changed certificates of sink.forward cannot be used; the old ones stay");
                    }
                    false
                }
            }
        });
        renewed
    }

    fn take_over(&self, held: Held) {
        tracing::info!("the certificates of sink.forward were loaded again");
        held.findings(&self.files).iter().for_each(|(path, found)| found.say(path));
        held.measure(&self.metrics);
        *self.held.lock() = held;
    }

    /// A client for one address. Names and certificates are those of each request's URI.
    pub(super) fn to(&self, address: SocketAddr) -> Connections {
        let tls = self.held.lock().tls.clone();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let http2 = self.protocol == ForwardProtocol::Grpc;
        let connector = match http2 {
            true => builder.enable_http2().wrap_connector(ToAddress { address, http2 }),
            false => builder.enable_http1().wrap_connector(ToAddress { address, http2 }),
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
    fn is(&self, other: &Held) -> bool {
        (&self.cas, &self.chain, &self.key) == (&other.cas, &other.chain, &other.key)
    }

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
        let (mut cas, mut chain, mut digest) = (Vec::new(), Vec::new(), [0; 32]);
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
                digest = Sha256::digest(&pem).into();
                let key = pem::private_key(&pem).map_err(|lack| lacks(key, lack))?;
                chain = certificates(file_of_chain)?;
                builder.with_client_auth_cert(chain.clone(), key)?
            }
        };
        Ok(Held { tls, cas, chain, key: digest })
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let (chain, key) = self.client.as_ref().map(|(chain, key)| (chain, key)).unzip();
        [self.ca.as_ref(), chain, key].into_iter().flatten()
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
pub(super) struct ToAddress {
    address: SocketAddr,
    http2: bool,
}

impl tower::Service<Uri> for ToAddress {
    type Response = TokioIo<Gathering>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = self.address;
        let gathers = self.http2 && uri.scheme() == Some(&Scheme::HTTP);
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(Gathering::new(stream, gathers)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::blocking;
    use crate::rounds::WRITTEN_AFTER;
    use crate::sink::collector::tests::settings;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(["collector".to_owned()]).expect("a certificate").cert.pem()
    }

    /// A folder with the CA's file, and who reads it.
    fn with_ca() -> (tempfile::TempDir, PathBuf, Arc<Connect>) {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, authority()).expect("written");
        let settings = config::Forward { ca_file: Some(ca.clone()), ..settings(ForwardProtocol::Grpc, &[]) };
        let connect = Connect::new(&settings, Arc::default()).expect("good files");
        (dir, ca, Arc::new(connect))
    }

    #[tokio::test]
    async fn only_another_certificate_that_can_be_used_renews_connections() {
        let (_dir, ca, connect) = with_ca();
        let first = std::fs::read(&ca).expect("a CA");
        assert!(!connect.reload(true), "nothing changed");
        std::fs::write(&ca, "half").expect("written");
        assert!(!connect.reload(false));
        std::fs::write(&ca, first).expect("written");
        assert!(!connect.reload(false), "the old one");
        std::fs::write(&ca, authority()).expect("written");
        assert!(connect.reload(false));
    }

    /// The time of docs/configuration.md.
    #[tokio::test]
    async fn changed_certificates_are_left_alone_for_a_moment_and_a_disk_that_hangs_holds_up_nobody() {
        let (_dir, ca, connect) = with_ca();
        let rounds = Rounds::start().expect("a thread");
        let mut changes = connect.changes(&rounds).expect("a signal");
        let began = Instant::now();
        crate::file_stamp::hang(&ca);
        assert!(!changes.next().await, "nobody asked");
        let after = began.elapsed();
        assert!(after >= WRITTEN_AFTER, "{after:?}");

        let reads = connect.clone();
        let reading = tokio::spawn(blocking::run(move || reads.reload(false)));
        // On this runtime's one thread: were it held up, nothing here would go on.
        tokio::time::sleep(3 * WRITTEN_AFTER).await;
        drop(connect.to(([127, 0, 0, 1], 1).into()));
        assert!(!reading.is_finished());
        crate::file_stamp::answer(&ca, authority().as_bytes());
        assert_eq!(reading.await.expect("no panic"), Ok(true));
    }
}
