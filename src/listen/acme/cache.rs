//! The folder in which the account, the certificate and what answers a challenge are kept: for its owner only (0700, 0600), one folder a directory, so that
//! a test's certificate is never shown as a real one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use crate::certificate;
use crate::config::Acme;
use crate::{pem, state_file};

const ACCOUNT: &str = "account.json";
const CHALLENGES: &str = "challenges";

/// The folder of one directory.
#[derive(Debug, Clone)]
pub(in crate::listen) struct Cache {
    dir: PathBuf,
    certificate: PathBuf,
}

impl Cache {
    pub(in crate::listen) fn of(acme: &Acme) -> Cache {
        Cache { dir: acme.folder(), certificate: acme.certificate() }
    }

    /// Makes what is not there.
    pub(super) fn open(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.dir.join(CHALLENGES))
    }

    /// The right to order; none: another process has it. Dropping the file gives it back.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.dir.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How long the certificate is good enough: until a third of its time is left. Zero when it is not there, broken, or lacks a name.
    pub(super) fn left(&self, domains: &[String], now: SystemTime) -> Duration {
        let good = || {
            let pem = fs::read(&self.certificate).ok()?;
            let (chain, key) = (pem::certificates(&pem).ok()?, pem::private_key(&pem).ok()?);
            let leaf = chain.first()?.clone();
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).ok()?;
            let names = certificate::host_names(&leaf);
            let due = UNIX_EPOCH + Duration::from_secs(u64::try_from(certificate::renew_at(&leaf)?).ok()?);
            domains.iter().all(|domain| names.contains(domain)).then(|| due.duration_since(now).unwrap_or_default())
        };
        good().unwrap_or_default()
    }

    /// The account's credentials, if it was made.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(ACCOUNT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    pub(super) fn keep_account(&self, credentials: &[u8]) -> io::Result<()> {
        state_file::replace(&self.dir.join(ACCOUNT), credentials)
    }

    /// The directory does not know it any more.
    pub(super) fn forget_account(&self) -> io::Result<()> {
        fs::remove_file(self.dir.join(ACCOUNT))
    }

    /// Both in one file: nobody sees the one without the other.
    pub(super) fn keep(&self, key: &str, chain: &str) -> io::Result<()> {
        state_file::replace(&self.certificate, format!("{key}{chain}").as_bytes())
    }

    /// From now on every process answers a challenge of this name with this text.
    pub(super) fn offer(&self, name: &str, text: &str) -> io::Result<()> {
        state_file::replace(&self.challenge_file(name).ok_or(io::ErrorKind::InvalidInput)?, text.as_bytes())
    }

    pub(super) fn challenge(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.challenge_file(name)?).ok()
    }

    /// No challenge is answered any more.
    pub(super) fn take_back(&self) {
        for file in fs::read_dir(self.dir.join(CHALLENGES)).into_iter().flatten().flatten() {
            // What stays is of no use to anybody.
            let _ = fs::remove_file(file.path());
        }
    }

    /// Names come from strangers: only what a token or a domain is made of, and no way out of the folder.
    fn challenge_file(&self, name: &str) -> Option<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let good = name.len() <= 200 && name.bytes().all(plain) && !name.starts_with('.');
        good.then(|| self.dir.join(CHALLENGES).join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn cache(dir: &Path) -> Cache {
        let cache = Cache { dir: dir.join("acme/one"), certificate: dir.join("acme/one/certificate.pem") };
        cache.open().expect("a folder");
        cache
    }

    #[test]
    fn one_orders_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, other) = (cache(dir.path()), cache(dir.path()));
        let lock = one.lock().expect("a lock");
        assert!(lock.is_some() && other.lock().expect("no error").is_none());
        drop(lock);
        assert!(other.lock().expect("a lock").is_some());
    }

    #[test]
    fn what_is_kept_is_its_owners_and_good_for_two_thirds_of_its_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = cache(dir.path());
        let (a, now) = (["a.example".to_owned()], SystemTime::now());
        assert!(cache.left(&a, now).is_zero());
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(a.clone()).expect("a pair");
        cache.keep(&signing_key.serialize_pem(), &cert.pem()).expect("kept");
        assert!(!cache.left(&a, now).is_zero());
        assert!(cache.left(&["b.example".to_owned()], now).is_zero());
        let much_later = UNIX_EPOCH + Duration::from_secs(4000 * 365 * 86_400);
        assert!(cache.left(&a, much_later).is_zero());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&cache.dir), mode(&cache.certificate)), (0o700, 0o600));
        fs::write(&cache.certificate, cert.pem()).expect("written");
        assert!(cache.left(&a, now).is_zero(), "without its key");
    }

    #[test]
    fn challenges_are_answered_from_the_folder_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = cache(dir.path());
        cache.keep_account(b"secret").expect("kept");
        cache.offer("http-Token_1", "text").expect("offered");
        assert_eq!(cache.challenge("http-Token_1").as_deref(), Some("text"));
        for name in ["http-token_2", "../account.json", "http-/../../account.json", "..", "", &"a".repeat(300)] {
            assert_eq!(cache.challenge(name), None, "{name}");
        }
        cache.take_back();
        assert_eq!(cache.challenge("http-Token_1"), None);
    }
}
