//! Where keys come from, and the ring in which a presented key is found.
//!
//! Invariants: only digests are held, so that no log can show a key (a request's own buffers held it for a while; the program's allocator wipes them, as docs/security.md says); a source replaces all of its own keys at
//! once, no other source's, and takes away nothing from a key that stayed the same; a source that has nothing good to say replaces nothing.

mod clickstack;
mod counts;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod limiter;
mod near;
mod new;
mod oidc;
mod rate;
mod refused;
mod reload;
mod ring;
mod shared;
mod standing;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod usage;
mod work;

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::KeyEntry;
use crate::metrics::{Metrics, OfSource};
use crate::otlp::Stamp;

pub(crate) use clickstack::{ClickStackKeys, OpenError};
pub use file::{ChangeError, KeysYaml, Rotated};
pub(crate) use limiter::{Amounts, Did};
pub(crate) use near::look_after;
pub use new::{NewKey, NewKeyError, digest_of};
pub(crate) use oidc::{MAX_TOKEN_BYTES, Tokens};
pub(crate) use refused::Refused;
pub(crate) use reload::{KeysFile, KeysPlace, watch};
pub(crate) use ring::{KeyRing, Offer, Source};
pub(crate) use shared::{Server as LimitsServer, Shared, SharedState};
pub(crate) use standing::Standing;
pub(crate) use state::KeyState;

/// Longer than any key; what is longer is not hashed.
const MAX_KEY_BYTES: usize = 1024;

/// Whether a request can present these bytes as a key: 1 to 1024 visible ASCII characters.
fn is_presentable(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY_BYTES && key.iter().all(u8::is_ascii_graphic)
}

/// What a key may be: good; good for its source's time of grace, since the source no longer has it; over; ended by a person.
const WORDS: [&str; 4] = ["valid", "vanished", "expired", "disabled"];

/// A key as the path sees it.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name, limits and what it may send.
    pub(crate) entry: KeyEntry,
    /// Where it comes from.
    pub(crate) source: Source,
    /// Its source no longer has it; it is good for the source's time of grace.
    pub(crate) vanished: bool,
    /// The resource attributes that its telemetry gets, as they stand on the wire.
    pub(crate) stamp: Stamp,
    /// What it has used. Shared by the old and the new [`Key`] when a reload changed neither its digest nor its name
    /// nor its limits.
    pub(crate) state: Arc<KeyState>,
    /// Whether it is good, at any later time too.
    pub(crate) standing: Arc<Standing>,
}

impl Key {
    /// Whether it may be used at this time.
    pub(crate) fn is_valid(&self, now: SystemTime) -> bool {
        self.entry.is_valid(now)
    }

    /// What it is at this time, in one of [`WORDS`].
    pub(crate) fn word(&self, now: SystemTime) -> &'static str {
        if self.vanished && self.is_valid(now) { "vanished" } else { self.entry.state(now) }
    }
}

/// Counts the keys of a ring for the metrics.
fn count(ring: &KeyRing, metrics: &Metrics) {
    let (now, keys) = (SystemTime::now(), ring.all());
    let count = |matches: &dyn Fn(&Key) -> bool| {
        i64::try_from(keys.iter().filter(|key| matches(key)).count()).unwrap_or(i64::MAX)
    };
    metrics.keys_valid.set(count(&|key| key.is_valid(now)));
    for source in Source::ALL {
        for name in WORDS {
            let of = OfSource { source: source.name(), state: name };
            metrics.keys.get_or_create(&of).set(count(&|key| key.source == source && key.word(now) == name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::testing::entry;
    use super::*;

    #[test]
    fn why_a_key_is_not_good_is_said() {
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        let expires = Some(at(5));
        let good = entry("shop", "a", 5);
        for (enabled, expires, vanished, word) in [
            (true, None, false, "valid"),
            (true, Some(at(6)), true, "vanished"),
            (true, expires, false, "expired"),
            (true, expires, true, "expired"),
            (false, None, false, "disabled"),
            (false, expires, false, "disabled"),
        ] {
            let key = Key::new(KeyEntry { enabled, expires, ..good.clone() }, Source::File, None);
            let key = Key { vanished, ..Arc::into_inner(key).unwrap() };
            assert_eq!((key.word(at(5)), key.is_valid(at(5))), (word, expires != Some(at(5)) && enabled));
        }
    }
}
