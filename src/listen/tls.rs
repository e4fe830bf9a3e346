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
use crate::metrics::{Metrics, OfHandshake, Outcome};
use crate::pem::Lack;
use crate::rounds::{Files, Rounds};
use files::{Again, Loaded};

use super::acme::Cache;

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
    followed: Arc<Files>,
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
        let followed = Files::new(files.all());
        let loaded = Loaded::first(files)?;
        loaded.measure(files, &metrics);
        let in_use = ArcSwap::from_pointee(InUse::new(loaded, files)?);
        let (files, listeners) = (files.clone(), listeners.to_vec());
        Ok(Some(Arc::new(Tls { files, listeners, followed, in_use, generation: AtomicU64::new(0), metrics })))
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

    /// Loads the files again whenever one of `rounds` finds them changed, and at SIGHUP; never ends.
    pub(crate) async fn keep_current(self: Arc<Self>, rounds: Rounds) -> io::Result<()> {
        let mut changes = self.followed.changes(&rounds)?;
        let (reminds, mut reminded) = (self.clone(), Instant::now());
        rounds.add(move || {
            if reminded.elapsed() >= REMIND_EVERY {
                reminded = Instant::now();
                reminds.remind();
            }
        });
        loop {
            let (this, asked) = (self.clone(), changes.next().await);
            blocking::run(move || this.reload(asked)).await?;
        }
    }

    /// Loads the files now; whether all could be used. Complains where that is news, or somebody `asked`. Blocks.
    pub(super) fn reload(&self, asked: bool) -> bool {
        self.followed.read(asked, |complain| {
            let Again { loaded, changed, mut errors } = self.in_use.load().loaded.again(&self.files, self.purpose());
            if !changed.is_empty() {
                match InUse::new(loaded, &self.files) {
                    Ok(in_use) => self.take_over(in_use, &changed),
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
        })
    }

    fn take_over(&self, in_use: InUse, changed: &[String]) {
        tracing::info!(changed = changed.join(", "), "certificate loaded again");
        in_use.loaded.say(&self.files, self.purpose());
        in_use.loaded.measure(&self.files, &self.metrics);
        self.in_use.store(Arc::new(in_use));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Says once more what is wrong with what is in use.
    fn remind(&self) {
        self.in_use.load().loaded.say(&self.files, self.purpose());
    }

    fn purpose(&self) -> Purpose<'_> {
        Purpose::Server(&self.listeners)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::config::testing::only_certificate as only;
    use crate::rounds::WRITTEN_AFTER;

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

        let key = std::fs::read(dir.path().join("key.pem")).expect("a key");
        write_pair(dir.path(), "two");
        let new_key = std::fs::read(dir.path().join("key.pem")).expect("a key");
        std::fs::write(dir.path().join("key.pem"), key).expect("written");
        assert!(!tls.reload(true), "the old key does not fit the new certificate");
        assert!(Arc::ptr_eq(&before, &tls.current()));

        std::fs::write(dir.path().join("key.pem"), new_key).expect("written");
        assert!(tls.reload(true));
        assert!(!Arc::ptr_eq(&before, &tls.current()));
    }

    /// The time of docs/configuration.md: less, and half of what is being written is read.
    #[tokio::test]
    async fn changed_files_are_left_alone_for_a_moment() {
        let dir = tempfile::tempdir().expect("a folder");
        let tls = Tls::load(&write_pair(dir.path(), "one"), &[], Arc::default()).expect("good files").expect("TLS");
        let keeping = tokio::spawn(tls.clone().keep_current(Rounds::start().expect("a thread")));
        let (before, began) = (tls.current(), Instant::now());
        write_pair(dir.path(), "two");
        while Arc::ptr_eq(&before, &tls.current()) {
            assert!(!keeping.is_finished());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let after = began.elapsed();
        assert!(after >= WRITTEN_AFTER, "{after:?}");
        keeping.abort();
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
                tokio::spawn(tls.keep_current(Rounds::start().expect("a thread")));
                crate::file_stamp::hang(&hanging);
                tokio::time::sleep(10 * WRITTEN_AFTER).await;
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
