//! Step 2, TLS: what the listeners present and ask for, swapped without a restart.
//!
//! Certificate, key and client CA make one `rustls::ServerConfig`, and the whole of it is swapped: a handshake sees the old files
//! or the new ones, never a mixture. Files that cannot be used change nothing; they are tried again until they can be.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
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
    current: ArcSwap<ServerConfig>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// Where the certificate is shown.
    listeners: Vec<SocketAddr>,
}

/// What the files hold.
struct Loaded {
    config: ServerConfig,
    chain: Vec<CertificateDer<'static>>,
    client_cas: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// Loads the files, which are shown on `listeners`; `None` when the configuration says plaintext. A certificate that is over is no error
    /// here: the configuration's check has said it, and what lies in the spool is delivered all the same.
    pub(crate) fn load(
        tls: &config::Tls,
        listeners: &[SocketAddr],
        metrics: Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let config::Tls::Files { cert_file, key_file, client_ca_file } = tls else {
            return Ok(None);
        };
        let (cert, key, client_ca) = (cert_file.clone(), key_file.clone(), client_ca_file.clone());
        let files = Files { cert, key, client_ca, listeners: listeners.to_vec() };
        let loaded = files.load()?;
        loaded.measure(&metrics);
        let current = ArcSwap::from_pointee(loaded.config);
        Ok(Some(Arc::new(Tls { files, current, metrics })))
    }

    /// What the next handshake uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Loads the files again whenever they change, and at SIGHUP; never ends.
    pub(crate) async fn keep_current(self: Arc<Self>) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let mut loaded = self.stamps().await?;
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
                self.current.store(Arc::new(loaded.config));
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
        [(files.cert.as_path(), chain)].into_iter().chain(cas).collect()
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
    }
}

impl Files {
    fn load(&self) -> Result<Loaded, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let mut client_cas = Vec::new();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                client_cas = certificates(path)?;
                for certificate in &client_cas {
                    roots.add(certificate.clone())?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        warn_if_others_may_read(&self.key);
        let key = read(&self.key)?;
        let key = pem::private_key(&key).map_err(|lack| TlsError::Pem { path: self.key.clone(), lack })?;
        let chain = certificates(&self.cert)?;
        let mut config = builder.with_single_cert(chain.clone(), key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients that come back resume without a signature, and without a cache in this process.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Loaded { config, chain, client_cas })
    }

    /// What tells that a file was changed or replaced.
    fn stamps(&self) -> Vec<FileStamp> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        stamps(files.into_iter().flatten().map(PathBuf::as_path))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(&read(path)?).map_err(|lack| TlsError::Pem { path: path.to_owned(), lack })
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
        config::Tls::Files { cert_file, key_file, client_ca_file: None }
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
