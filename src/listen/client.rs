//! The certificate that a client showed: by what names keys.yaml may know it, and whether it is still good.
//!
//! A handshake looks at it once, and a connection lives for half an hour. So it is looked at again whenever the CAs or the revocation lists
//! changed since, and its own end is looked at with every request: what is revoked ends with the next request, not with the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::tls::Tls;
use crate::certificate::{CertificateName, chain_ends};

/// A client's certificate, on one connection.
#[derive(Debug)]
pub(super) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    names: Vec<[u8; 32]>,
    /// In seconds since 1970.
    ends: Option<i64>,
    tls: Arc<Tls>,
    /// What was in use when it was looked at last, and what was seen.
    looked_with: AtomicU64,
    good: AtomicBool,
}

/// It was revoked, is over, or its CA is trusted no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoLongerGood;

impl ClientCertificate {
    /// `chain` was verified in a handshake with what was in use at `generation`.
    pub(super) fn new(chain: &[CertificateDer<'_>], tls: &Arc<Tls>, generation: u64) -> Option<Self> {
        let names = CertificateName::all_of(chain.first()?).iter().map(CertificateName::digest).collect();
        Some(ClientCertificate {
            names,
            ends: chain_ends(&chain[..1]),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            tls: tls.clone(),
            looked_with: AtomicU64::new(generation),
            good: AtomicBool::new(true),
        })
    }

    /// The digests that stand for its names, the most exact name first.
    ///
    /// # Errors
    /// It is no longer good.
    pub(super) fn names(&self) -> Result<&[[u8; 32]], NoLongerGood> {
        if self.is_good(SystemTime::now()) { Ok(&self.names) } else { Err(NoLongerGood) }
    }

    fn is_good(&self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.ends.is_some_and(|ends| i64::try_from(since.as_secs()).is_ok_and(|now| now > ends)) {
            return false;
        }
        let generation = self.tls.generation();
        if self.looked_with.load(Ordering::Acquire) != generation {
            let good = self.tls.trusts(&self.chain, UnixTime::since_unix_epoch(since));
            self.good.store(good, Ordering::Release);
            self.looked_with.store(generation, Ordering::Release);
        }
        self.good.load(Ordering::Acquire)
    }
}
