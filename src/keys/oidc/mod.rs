//! Tokens of OpenID Connect issuers as keys: who has one that is signed, meant for otelgate and not over, is who it says.
//!
//! Invariants: nobody waits for an issuer (its keys are fetched beside the requests, and a token that may turn out to be valid is told to come again);
//! what a stranger presents causes no more than one fetch in [`issuer::FLOOR`] and costs one signature at most; what algorithm is
//! used the issuer's key decides, never the token; names are bounded, since they are labels.

mod issuer;
mod key_set;
mod names;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Key, OpenError, Shared};
use crate::config::OidcIssuer;
use crate::limited;
use crate::metrics::{Metrics, Reason};
use issuer::Issuer;
use token::{Refused, Verified};

/// Longer than any token that fits the headers beside other things.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Verified tokens that are remembered, twice.
const MAX_REMEMBERED: usize = 8192;

/// All issuers, and the tokens that were verified.
#[derive(Debug)]
pub(crate) struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    remembered: Mutex<Remembered>,
    metrics: Arc<Metrics>,
}

/// Verified tokens by their digest, in two generations: a full one replaces the older.
#[derive(Debug, Default)]
struct Remembered {
    young: HashMap<[u8; 32], Good>,
    old: HashMap<[u8; 32], Good>,
}

#[derive(Debug, Clone)]
struct Good {
    key: Arc<Key>,
    until: SystemTime,
    issuer: usize,
    /// The issuer's keys with which it was verified.
    generation: u64,
}

/// The token may turn out to be valid once its issuer's keys are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeysAwaited;

impl Tokens {
    /// The tokens of these issuers, where there are any. What is known of those that were there in `old` already stays.
    ///
    /// # Errors
    /// The certificates of an issuer's `ca_file`.
    pub(crate) fn of(
        config: &[OidcIssuer],
        old: Option<&Tokens>,
        shared: Option<&Arc<Shared>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, OpenError> {
        let known = |config: &OidcIssuer| {
            let mut known = old.into_iter().flat_map(|old| &old.issuers);
            known.find(|known| known.config.issuer == config.issuer)
        };
        let issuer =
            |config: &OidcIssuer| Ok(Arc::new(Issuer::new(config.clone(), known(config).map(Arc::as_ref), shared)?));
        let issuers = config.iter().map(issuer).collect::<Result<Vec<_>, _>>().map_err(OpenError::Oidc)?;
        let tokens = Tokens { issuers, remembered: Mutex::default(), metrics: metrics.clone() };
        Ok((!config.is_empty()).then(|| Arc::new(tokens)))
    }

    /// Keeps the issuers' keys fresh, each in a task of its own.
    pub(crate) fn follow(&self) -> impl Iterator<Item = impl Future<Output = ()> + Send + use<>> {
        self.issuers.iter().map(|issuer| issuer.clone().follow(self.metrics.clone()))
    }

    /// Whose token this is; `None`: nobody's that is valid.
    ///
    /// # Errors
    /// [`KeysAwaited`].
    pub(crate) fn find(&self, presented: &[u8], now: SystemTime) -> Result<Option<Arc<Key>>, KeysAwaited> {
        if presented.len() > MAX_TOKEN_BYTES || !token::looks_like_one(presented) {
            return Ok(None);
        }
        let digest = Sha256::digest(presented).into();
        if let Some(key) = self.remembered(&digest, now) {
            return Ok(Some(key));
        }
        let result = self.verify(presented, now);
        let refused = match result {
            Ok((issuer, verified)) => return Ok(Some(self.take(digest, issuer, verified))),
            Err(refused) => refused,
        };
        self.metrics.token_refusals.get_or_create(&Reason { reason: refused.name() }).inc();
        limited!(info, why = %refused, "token refused");
        if refused == Refused::KeysAwaited { Err(KeysAwaited) } else { Ok(None) }
    }

    /// Every key that a token made, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        self.issuers.iter().flat_map(|issuer| issuer.names.all()).collect()
    }

    fn remembered(&self, digest: &[u8; 32], now: SystemTime) -> Option<Arc<Key>> {
        let mut remembered = self.remembered.lock();
        let found = remembered.young.get(digest).or_else(|| remembered.old.get(digest))?;
        let keys = self.issuers[found.issuer].keys(now);
        let good = now < found.until && keys.is_some_and(|keys| keys.generation == found.generation);
        let key = good.then(|| found.key.clone());
        match good {
            // What is used stays.
            true => {
                if let Some(found) = remembered.old.remove(digest) {
                    remembered.insert(*digest, found);
                }
            }
            false => {
                remembered.young.remove(digest);
                remembered.old.remove(digest);
            }
        }
        key
    }

    fn verify(&self, presented: &[u8], now: SystemTime) -> Result<(usize, Verified), Refused> {
        let (kid, issuer) = token::claimed(presented)?;
        let place = self.issuers.iter().position(|known| known.config.issuer == issuer).ok_or(Refused::Issuer)?;
        let issuer = &self.issuers[place];
        let keys = issuer.keys(now).ok_or_else(|| issuer.want(Refused::KeysAwaited))?;
        let key = keys.find(kid.as_deref()).ok_or_else(|| issuer.want(Refused::KeyId))?;
        Ok((place, token::verify(presented, key, keys.generation, &issuer.config)?))
    }

    fn take(&self, digest: [u8; 32], issuer: usize, verified: Verified) -> Arc<Key> {
        let key = self.issuers[issuer].names.key(&verified);
        let good = Good { key: key.clone(), until: verified.until, issuer, generation: verified.generation };
        self.remembered.lock().insert(digest, good);
        key
    }
}

impl Remembered {
    fn insert(&mut self, digest: [u8; 32], good: Good) {
        if self.young.len() >= MAX_REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, good);
    }
}

/// What a fuzz target reaches: whether a token is good, to an issuer that publishes these keys.
pub(super) fn fuzzing(keys: &[u8], token: &[u8], issuer: &OidcIssuer) -> bool {
    let claimed = token::claimed(token);
    let Some(keys) = key_set::KeySet::read(keys, 0) else { return false };
    let id = claimed.as_ref().ok().and_then(|(id, _)| id.as_deref());
    let found = keys.find(id);
    token::looks_like_one(token) && found.is_some_and(|key| token::verify(token, key, 0, issuer).is_ok())
}
