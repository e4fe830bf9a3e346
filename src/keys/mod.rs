//! Where keys come from, and the ring in which a presented key is found.
//!
//! Invariants: only digests are held, so neither a dump of the memory nor a log can show a key; a reload replaces all
//! keys at once and takes away nothing from a key that stayed the same; a file with a mistake replaces nothing.

mod limiter;
mod new;
mod reload;
mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::config::KeyEntry;
use crate::otlp::Stamp;

pub use new::{NewKey, NewKeyError};
pub use reload::{KeysFile, watch};
pub(crate) use state::Counter;
pub use state::KeyState;

/// A key as the path sees it.
#[derive(Debug)]
pub struct Key {
    /// What keys.yaml says of it.
    pub entry: KeyEntry,
    /// The resource attributes that its telemetry gets, as they stand on the wire.
    pub(crate) stamp: Stamp,
    /// What it has used. Shared by the old and the new [`Key`] when a reload changed neither its digest nor its name
    /// nor its limits.
    pub state: Arc<KeyState>,
}

impl Key {
    /// Whether it may be used at this time.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.entry.enabled && self.entry.expires.is_none_or(|expires| now < expires)
    }
}

type ByDigest = HashMap<[u8; 32], Arc<Key>>;

/// All keys by the SHA-256 of their value; replaced as a whole by a reload.
///
/// A hash map's comparison is not constant-time, and need not be: what is compared is the digest of the presented
/// bytes, which nobody can steer without inverting SHA-256, so its timing tells nothing about any key.
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<ByDigest>,
}

/// What a reload did, in numbers for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that were not there before.
    pub added: usize,
    /// Keys with the same digest whose name, signals, expiry, limits or `enabled` changed.
    pub changed: usize,
    /// Keys that are refused from now on.
    pub removed: usize,
}

impl KeyRing {
    /// A ring of these keys, with nothing used.
    pub fn new(entries: impl IntoIterator<Item = KeyEntry>) -> Self {
        let (keys, _) = successors(&HashMap::new(), entries);
        KeyRing { keys: ArcSwap::from_pointee(keys) }
    }

    /// The key whose digest is that of the presented bytes. Whether it is enabled and not expired is the caller's to
    /// check.
    pub fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        self.keys.load().get(&digest).cloned()
    }

    /// Every key, in no order.
    pub fn all(&self) -> Vec<Arc<Key>> {
        self.keys.load().values().cloned().collect()
    }

    /// Replaces all keys. What a request already holds stays valid until it ends.
    pub fn replace(&self, entries: impl IntoIterator<Item = KeyEntry>) -> Changes {
        let before = self.keys.load();
        let (keys, changes) = successors(&before, entries);
        self.keys.store(Arc::new(keys));
        changes
    }
}

/// The new keys, each with the old one's state where it stayed the same.
fn successors(before: &ByDigest, entries: impl IntoIterator<Item = KeyEntry>) -> (ByDigest, Changes) {
    let mut changes = Changes::default();
    let mut keys = HashMap::new();
    for entry in entries {
        let key = match before.get(&entry.sha256) {
            Some(old) if old.entry == entry => old.clone(),
            old => {
                match old {
                    Some(_) => changes.changed += 1,
                    None => changes.added += 1,
                }
                let same = old.filter(|old| old.entry.name == entry.name && old.entry.limits == entry.limits);
                let state = same.map_or_else(|| Arc::new(KeyState::new(&entry.limits)), |old| old.state.clone());
                let stamp = Stamp::new(&entry.resource);
                Arc::new(Key { entry, stamp, state })
            }
        };
        keys.insert(key.entry.sha256, key);
    }
    changes.removed = before.keys().filter(|digest| !keys.contains_key(*digest)).count();
    (keys, changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyLimits;
    use crate::signal::Signal;

    fn entry(name: &str, key: &str, requests_per_second: u32) -> KeyEntry {
        KeyEntry {
            name: name.to_owned(),
            sha256: Sha256::digest(key).into(),
            signals: Signal::ALL.into(),
            expires: None,
            resource: std::collections::BTreeMap::new(),
            enabled: true,
            limits: KeyLimits {
                requests_per_second,
                bytes_per_second: 1 << 20,
                records_per_second: 1000,
                burst: std::time::Duration::from_secs(1),
            },
        }
    }

    #[test]
    fn a_reload_keeps_what_an_unchanged_key_has_used() {
        let ring = KeyRing::new([entry("same", "a", 5), entry("limited", "b", 5), entry("gone", "c", 5)]);
        let before: Vec<_> = ["a", "b", "c"].map(|key| ring.find(key.as_bytes()).unwrap()).into();
        let mut disabled = entry("same", "a", 5);
        disabled.enabled = false;
        let changes = ring.replace([disabled, entry("limited", "b", 6), entry("new", "d", 5)]);
        assert_eq!(changes, Changes { added: 1, changed: 2, removed: 1 });
        let same = ring.find(b"a").unwrap();
        assert!(Arc::ptr_eq(&same.state, &before[0].state) && !same.entry.enabled);
        let limited = ring.find(b"b").unwrap();
        assert!(!Arc::ptr_eq(&limited.state, &before[1].state));
        assert_eq!(limited.state.limits().requests_per_second, 6);
        assert!(ring.find(b"c").is_none() && ring.find(b"d").is_some() && ring.find(b"e").is_none());
        assert_eq!(ring.all().len(), 3);
        assert_eq!(before[2].entry.name, "gone");
    }

    #[test]
    fn a_key_that_stayed_the_same_is_the_same() {
        let ring = KeyRing::new([entry("a", "a", 5)]);
        let before = ring.find(b"a").unwrap();
        assert_eq!(ring.replace([entry("a", "a", 5)]), Changes::default());
        assert!(Arc::ptr_eq(&before, &ring.find(b"a").unwrap()));
    }
}
