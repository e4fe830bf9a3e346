//! Step 2, TLS: what the listeners present and ask for, swapped without a restart.
//!
//! Certificate, key and client CA make one `rustls::ServerConfig`, and the whole of it is swapped: a handshake sees the old files
//! or the new ones, never a mixture. Files that cannot be used change nothing; they are tried again until they can be.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::blocking;
use crate::certificate::{self, Findings, Purpose};
use crate::config;
use crate::file_stamp::{FileStamp, is_readable_by_others, stamps};
use crate::metrics::{Metrics, Outcome};
use crate::pem::{self, Lack};

/// How often the files' times are looked at.
const RELOAD_EVERY: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });
/// How often a certificate that is over, or soon will be, is spoken of again.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the TLS files cannot be used. None of these words holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not PEM, or lacks what it is to hold.
    #[error("{path} {lack}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it is to hold.
        lack: Lack,
    },
    /// The certificate and the key do not belong together, or are of a kind that TLS does not take.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// Nobody who looks at the certificate accepts it now.
    #[error("{path} {found}")]
    Fault {
        /// The file.
        path: PathBuf,
        /// What everybody sees.
        found: Findings,
    },
    /// The client CA cannot verify anybody.
    #[error("client CA cannot be used: {0}")]
    ClientCa(#[from] VerifierBuilderError),
}

/// The TLS files, and what was last made of them.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    /// Of the files, from before they were first read: whoever changes them while the rest starts is noticed.
    first_stamps: Vec<FileStamp>,
    current: ArcSwap<ServerConfig>,
    /// Who is let in; none: anybody, without a certificate.
    clients: ArcSwapOption<Clients>,
    /// Grows with each change of what is in use.
    generation: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    /// Where the certificate is shown.
    listeners: Vec<SocketAddr>,
}

/// What the files hold.
struct Loaded {
    config: ServerConfig,
    chain: Vec<CertificateDer<'static>>,
    client_cas: Vec<CertificateDer<'static>>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
    clients: Option<Arc<Clients>>,
}

/// What looks at clients' certificates.
#[derive(Debug)]
struct Clients(Arc<dyn ClientCertVerifier>);

impl Tls {
    /// Loads the files, which are shown on `listeners`; `None` when the configuration says plaintext. A certificate that is over is no error
    /// here: the configuration's check has said it, and what lies in the spool is delivered all the same.
    pub(crate) fn load(
        tls: &config::Tls,
        listeners: &[SocketAddr],
        metrics: Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let config::Tls::Files { cert_file, key_file, client_ca_file, client_crl_file } = tls else {
            return Ok(None);
        };
        let (cert, key) = (cert_file.clone(), key_file.clone());
        let (client_ca, client_crl) = (client_ca_file.clone(), client_crl_file.clone());
        let files = Files { cert, key, client_ca, client_crl, listeners: listeners.to_vec() };
        let first_stamps = files.stamps();
        let loaded = files.load()?;
        loaded.measure(&metrics);
        let (current, clients) = (ArcSwap::from_pointee(loaded.config), ArcSwapOption::new(loaded.clients));
        Ok(Some(Arc::new(Tls { files, first_stamps, current, clients, generation: AtomicU64::new(0), metrics })))
    }

    /// What the next handshake uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Changes whenever what [`Tls::trusts`] says may have changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a client that shows this chain, leaf first, is let in at this time.
    pub(super) fn trusts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&*self.clients.load(), chain) {
            (Some(clients), [leaf, rest @ ..]) => clients.0.verify_client_cert(leaf, rest, now).is_ok(),
            _ => false,
        }
    }

    /// Loads the files again whenever they change, and at SIGHUP; never ends.
    pub(crate) async fn keep_current(self: Arc<Self>) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let mut loaded = self.first_stamps.clone();
        let mut tried = loaded.clone();
        let mut reminded = Instant::now();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => false,
                _ = hangup.recv() => true,
            };
            let now = self.stamps().await?;
            if now == loaded && !asked {
                if reminded.elapsed() >= REMIND_EVERY {
                    reminded = Instant::now();
                    let this = self.clone();
                    blocking::run(move || this.remind()).await?;
                }
                continue;
            }
            // Files that were refused are tried again, but one complaint for each change is enough.
            let (this, complain) = (self.clone(), now != tried || asked);
            if blocking::run(move || this.reload(complain)).await? {
                loaded.clone_from(&now);
            }
            tried = now;
        }
    }

    /// The files may lie on a disk that hangs, which must not hold up whoever else this thread serves.
    async fn stamps(self: &Arc<Self>) -> io::Result<Vec<FileStamp>> {
        let this = self.clone();
        Ok(blocking::run(move || this.files.stamps()).await?)
    }

    /// Loads the files now; whether they could be used. Blocks.
    pub(super) fn reload(&self, complain: bool) -> bool {
        let result = self.files.load().and_then(|loaded| loaded.worth_a_change(&self.files));
        let outcome = if result.is_ok() { "ok" } else { "refused" };
        match result {
            Ok(loaded) => {
                tracing::info!(cert_file = %self.files.cert.display(), "certificate loaded again");
                loaded.say(&self.files);
                loaded.measure(&self.metrics);
                self.clients.store(loaded.clients);
                self.current.store(Arc::new(loaded.config));
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) if complain => {
                tracing::error!(%error, "changed TLS files cannot be used; the old certificate stays");
            }
            Err(_) => return false,
        }
        let reloads = &self.metrics.certificate_reloads;
        reloads.get_or_create(&Outcome { outcome }).inc();
        outcome == "ok"
    }

    /// Says once more what is wrong with the files that are in use. Blocks.
    fn remind(&self) {
        if let Ok(loaded) = self.files.load() {
            loaded.say(&self.files);
        }
    }
}

impl Loaded {
    fn findings<'a>(&self, files: &'a Files) -> Vec<(&'a Path, Findings)> {
        let now = SystemTime::now();
        let chain = certificate::chain(&self.chain, Purpose::Server(&files.listeners), now);
        let cas = files.client_ca.as_deref().map(|file| (file, certificate::authorities(&self.client_cas, now)));
        let revoked = || certificate::revocations(&self.revocations, &self.client_cas, now);
        let crl = files.client_crl.as_deref().map(|file| (file, revoked()));
        [(files.cert.as_path(), chain)].into_iter().chain(cas).chain(crl).collect()
    }

    /// Refuses files that nobody accepts: whatever is in use is no worse.
    fn worth_a_change(self, files: &Files) -> Result<Loaded, TlsError> {
        match self.findings(files).into_iter().find(|(_, found)| !found.faults.is_empty()) {
            None => Ok(self),
            Some((path, found)) => Err(TlsError::Fault { path: path.to_owned(), found }),
        }
    }

    fn say(&self, files: &Files) {
        self.findings(files).iter().for_each(|(path, found)| found.say(path));
    }

    fn measure(&self, metrics: &Metrics) {
        metrics.certificate_ends("tls.cert_file", certificate::chain_ends(&self.chain));
        metrics.certificate_ends("tls.client_ca_file", certificate::authorities_end(&self.client_cas));
        metrics.certificate_ends("tls.client_crl_file", certificate::revocations_end(&self.revocations));
    }
}

impl Files {
    fn load(&self) -> Result<Loaded, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let client_cas = self.client_ca.as_deref().map_or(Ok(Vec::new()), certificates)?;
        let revocations = self.client_crl.as_deref().map_or(Ok(Vec::new()), revocation_lists)?;
        let clients = if client_cas.is_empty() { None } else { Some(verifier(&client_cas, &revocations, provider)?) };
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
        };
        warn_if_others_may_read(&self.key);
        let key = read(&self.key)?;
        let key = pem::private_key(&key).map_err(|lack| TlsError::Pem { path: self.key.clone(), lack })?;
        let chain = certificates(&self.cert)?;
        let mut config = builder.with_single_cert(chain.clone(), key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients that come back resume without a signature, and without a cache in this process.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        let clients = clients.map(|clients| Arc::new(Clients(clients)));
        Ok(Loaded { config, chain, client_cas, revocations, clients })
    }

    /// What tells that a file was changed or replaced.
    fn stamps(&self) -> Vec<FileStamp> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref(), self.client_crl.as_ref()];
        stamps(files.into_iter().flatten().map(PathBuf::as_path))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(&read(path)?).map_err(|lack| TlsError::Pem { path: path.to_owned(), lack })
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    pem::revocation_lists(&read(path)?).map_err(|lack| TlsError::Pem { path: path.to_owned(), lack })
}

/// Whoever shows a certificate that one of the CAs signed and none of the lists revokes. A CA without a list revokes nobody, and a list that should
/// have been replaced counts on: that it is late must not lock everybody out.
fn verifier(
    client_cas: &[CertificateDer<'static>],
    revocations: &[CertificateRevocationListDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in client_cas {
        roots.add(certificate.clone())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(verifier.with_crls(revocations.iter().cloned()).allow_unknown_revocation_status().build()?)
}

fn warn_if_others_may_read(path: &Path) {
    if is_readable_by_others(path) {
        tracing::warn!(key_file = %path.display(), "every user of this machine may read the private key; chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn write_pair(dir: &Path, name: &str) -> config::Tls {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert_file, cert.pem()).expect("written");
        std::fs::write(&key_file, signing_key.serialize_pem()).expect("written");
        config::Tls::Files { cert_file, key_file, client_ca_file: None, client_crl_file: None }
    }

    #[test]
    fn a_bad_new_pair_keeps_the_old_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = write_pair(dir.path(), "one");
        let metrics = Arc::new(Metrics::default());
        let tls = Tls::load(&files, &[], metrics).expect("good files").expect("TLS");
        let before = tls.current();

        let stamps = tls.files.stamps();
        let key = std::fs::read(dir.path().join("key.pem")).expect("a key");
        write_pair(dir.path(), "two");
        assert_ne!(tls.files.stamps(), stamps);
        let new_key = std::fs::read(dir.path().join("key.pem")).expect("a key");
        std::fs::write(dir.path().join("key.pem"), key).expect("written");
        assert!(!tls.reload(true), "the old key does not fit the new certificate");
        assert!(Arc::ptr_eq(&before, &tls.current()));

        std::fs::write(dir.path().join("key.pem"), new_key).expect("written");
        assert!(tls.reload(true));
        assert!(!Arc::ptr_eq(&before, &tls.current()));
    }

    #[test]
    fn a_disk_that_hangs_holds_up_nobody_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let tls = Tls::load(&write_pair(dir.path(), "one"), &[], Arc::default()).expect("good files").expect("TLS");
        let cert = dir.path().join("cert.pem");
        let (served, serves) = std::sync::mpsc::channel();
        let hanging = cert.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                tokio::spawn(tls.keep_current());
                tokio::time::sleep(RELOAD_EVERY / 2).await;
                crate::file_stamp::hang(&hanging);
                tokio::time::sleep(5 * RELOAD_EVERY).await;
                served.send(()).expect("heard");
            });
            runtime.shutdown_background();
        });
        let served = serves.recv_timeout(Duration::from_secs(10));
        crate::file_stamp::answer(&cert, b"");
        assert!(served.is_ok(), "the reactor waits for the disk");
    }

    #[test]
    fn each_mistake_is_named_with_its_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let load = |files: &config::Tls| {
            let error = Tls::load(files, &[], Arc::default()).expect_err("refused");
            error.to_string()
        };
        let files = write_pair(dir.path(), "one");
        std::fs::write(dir.path().join("key.pem"), "no key").expect("written");
        assert!(load(&files).contains("key.pem holds no PEM private key"));
        std::fs::write(dir.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----secret").expect("written");
        assert!(!load(&files).contains("secret"), "nothing of a file is repeated");
        write_pair(dir.path(), "one");
        std::fs::write(dir.path().join("cert.pem"), "").expect("written");
        assert!(load(&files).contains("cert.pem holds no PEM certificate"));
        std::fs::remove_file(dir.path().join("cert.pem")).expect("removed");
        assert!(load(&files).starts_with("cannot read "));
    }
}
