//! Step 2, TLS: what the listeners present and ask for, swapped without a restart.
//!
//! Certificates, their keys and the client CA make one `rustls::ServerConfig`, and the whole of it is swapped: a handshake sees a pair as it was or as it
//! is, never a mixture. Files that cannot be used change nothing, and hold up no others; they are tried again until they can be.
//!
//! - `files`: what each file holds; `names`: which certificate a client is shown

mod files;
mod names;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};

use crate::blocking;
use crate::certificate::{Findings, Purpose, Unusable};
use crate::config::{self, Challenge, TlsFiles};
use crate::file_stamp::{FileStamp, stamps};
use crate::metrics::{Metrics, OfHandshake, Outcome};
use crate::pem::Lack;
use crate::rounds::WRITTEN_AFTER;
use files::{Again, Loaded};

use super::acme::Cache;

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
    #[error("{path} and its key cannot be used: {source}")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// What was to be stapled cannot be.
    #[error("{path} {wrong}")]
    Staple {
        /// The file.
        path: PathBuf,
        /// Why.
        wrong: Unusable,
    },
    /// All together cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
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

impl TlsError {
    fn pem(path: &Path, lack: Lack) -> TlsError {
        TlsError::Pem { path: path.to_owned(), lack }
    }
}

/// The TLS files, and what was last made of them.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    /// Where the certificates are shown.
    listeners: Vec<SocketAddr>,
    /// Of the files, from before they were first read: whoever changes them while the rest starts is noticed.
    first_stamps: Vec<FileStamp>,
    in_use: ArcSwap<InUse>,
    /// Grows with each change of what is in use.
    generation: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct InUse {
    config: Arc<ServerConfig>,
    loaded: Loaded,
}

impl InUse {
    fn new(loaded: Loaded, files: &TlsFiles) -> Result<InUse, TlsError> {
        let config = loaded.config(files.min_version).map_err(TlsError::Setup)?;
        Ok(InUse { config: Arc::new(config), loaded })
    }
}

impl Tls {
    /// Loads the files, which are shown on `listeners`; `None` when the configuration says plaintext. A certificate that is over is no error
    /// here: the configuration's check has said it, and what lies in the spool is delivered all the same.
    pub(crate) fn load(
        tls: &config::Tls,
        listeners: &[SocketAddr],
        metrics: Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let config::Tls::Files(files) = tls else { return Ok(None) };
        let first_stamps = stamps_of(files);
        let loaded = Loaded::first(files)?;
        loaded.measure(files, &metrics);
        let in_use = ArcSwap::from_pointee(InUse::new(loaded, files)?);
        let (files, listeners) = (files.clone(), listeners.to_vec());
        Ok(Some(Arc::new(Tls { files, listeners, first_stamps, in_use, generation: AtomicU64::new(0), metrics })))
    }

    /// What the next handshake uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_use.load().config)
    }

    /// Whether the certificate that is ordered is there.
    pub(super) fn has_ordered(&self) -> bool {
        self.in_use.load().loaded.has_ordered(&self.files)
    }

    /// Where what answers a directory's challenges lies, when that is done on these listeners.
    pub(super) fn challenges(&self) -> Option<Cache> {
        let acme = self.files.acme.as_deref().filter(|acme| acme.challenge == Challenge::TlsAlpn01)?;
        Some(Cache::of(acme))
    }

    /// Counts a handshake that succeeded.
    pub(super) fn count(&self, connection: &ServerConnection) {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let group = connection.negotiated_key_exchange_group();
        let group = group.and_then(|group| group.name().as_str()).unwrap_or_default();
        let kind = if connection.handshake_kind() == Some(HandshakeKind::Resumed) { "resumed" } else { "full" };
        self.metrics.tls_handshakes.get_or_create(&OfHandshake { version, group, kind }).inc();
    }

    /// Changes whenever what [`Tls::trusts`] says may have changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a client that shows this chain, leaf first, is let in at this time.
    pub(super) fn trusts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&self.in_use.load().loaded.clients, chain) {
            (Some(clients), [leaf, rest @ ..]) => clients.verifier.verify_client_cert(leaf, rest, now).is_ok(),
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
                    self.remind();
                }
                continue;
            }
            tokio::time::sleep(WRITTEN_AFTER).await;
            let now = self.stamps().await?;
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
        Ok(blocking::run(move || stamps_of(&this.files)).await?)
    }

    /// Loads the files now; whether all could be used. Blocks.
    pub(super) fn reload(&self, complain: bool) -> bool {
        let Again { loaded, changed, mut errors } = self.in_use.load().loaded.again(&self.files, self.purpose());
        if !changed.is_empty() {
            match InUse::new(loaded, &self.files) {
                Ok(in_use) => {
                    tracing::info!(changed = changed.join(", "), "certificate loaded again");
                    in_use.loaded.say(&self.files, self.purpose());
                    in_use.loaded.measure(&self.files, &self.metrics);
                    self.in_use.store(Arc::new(in_use));
                    self.generation.fetch_add(1, Ordering::AcqRel);
                }
                Err(error) => errors.push(error),
            }
        }
        if complain {
            for error in &errors {
                tracing::error!(%error, "changed TLS files cannot be used; the old certificate stays");
            }
        }
        if complain || errors.is_empty() {
            let outcome = if errors.is_empty() { "ok" } else { "refused" };
            self.metrics.certificate_reloads.get_or_create(&Outcome { outcome }).inc();
        }
        errors.is_empty()
    }

    /// Says once more what is wrong with what is in use.
    fn remind(&self) {
        self.in_use.load().loaded.say(&self.files, self.purpose());
    }

    fn purpose(&self) -> Purpose<'_> {
        Purpose::Server(&self.listeners)
    }
}

/// What tells that a file was changed or replaced.
fn stamps_of(files: &TlsFiles) -> Vec<FileStamp> {
    stamps(files.all().map(PathBuf::as_path))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::config::testing::only_certificate as only;

    fn write_pair(dir: &Path, name: &str) -> config::Tls {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert_file, cert.pem()).expect("written");
        std::fs::write(&key_file, signing_key.serialize_pem()).expect("written");
        only(cert_file, key_file)
    }

    #[test]
    fn a_bad_new_pair_keeps_the_old_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = write_pair(dir.path(), "one");
        let metrics = Arc::new(Metrics::default());
        let tls = Tls::load(&files, &[], metrics).expect("good files").expect("TLS");
        let before = tls.current();

        let stamps = stamps_of(&tls.files);
        let key = std::fs::read(dir.path().join("key.pem")).expect("a key");
        write_pair(dir.path(), "two");
        assert_ne!(stamps_of(&tls.files), stamps);
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
