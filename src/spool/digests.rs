//! Digests of requests whose answer may not have reached their client: when the same bytes come again from the same key, they
//! join what was kept and are not stored twice.
//!
//! A digest is taken once for each time it was remembered: a client that sends the same thing twice on purpose, and
//! got both answers, is never matched.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::format::frame::Meta;

/// What a request is known by: the CityHash128 of its uncompressed bytes. Always used together with its key, so that who finds two requests
/// with one digest can only lose one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of a request's uncompressed OTLP bytes. On every request's path, so fast: SHA-256 would cost as much as encoding
    /// on processors that have no instructions for it.
    pub(crate) fn of(request: &[u8]) -> Digest {
        Digest(cityhash_rs::cityhash_110_128(request).to_le_bytes())
    }
}

/// Digests with what became of their requests: `T` is whatever a repeat joins (for a request that a process before this one
/// kept: nothing, it is on disk).
pub(crate) struct Digests<T> {
    ttl_ms: u64,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    by_digest: HashMap<(Digest, Arc<str>), VecDeque<Entry<T>>>,
    by_age: VecDeque<(u64, Digest, Arc<str>)>,
}

struct Entry<T> {
    at_ms: u64,
    joins: Option<T>,
}

/// A digest as it is kept across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// The key's name.
    pub(crate) key: Arc<str>,
    /// The request.
    pub(crate) digest: Digest,
    /// When it was kept, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// The digests of a frame's requests.
pub(crate) fn of(meta: &Meta) -> impl Iterator<Item = Remembered> {
    meta.requests.iter().map(|request| Remembered {
        key: request.key.clone(),
        digest: request.digest,
        at_ms: meta.sealed_ms,
    })
}

impl<T> Digests<T> {
    /// Nothing remembered yet; what will be is forgotten after `ttl`.
    pub(crate) fn new(ttl: Duration) -> Digests<T> {
        Digests {
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            inner: Mutex::new(Inner { by_digest: HashMap::new(), by_age: VecDeque::new() }),
        }
    }

    /// Takes up what a process before this one left.
    pub(crate) fn restore(&self, all: impl IntoIterator<Item = Remembered>) {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|one| one.at_ms);
        for one in all {
            self.insert(one, None);
        }
    }

    /// The request's answer may not have reached its client. `joins` is what a repeat of it waits for.
    pub(crate) fn remember(&self, key: &Arc<str>, digest: Digest, joins: T) {
        let one = Remembered { key: key.clone(), digest, at_ms: super::now_ms() };
        self.insert(one, Some(joins));
    }

    /// Takes one memory of this request, the oldest: `Some(joins)` when it was kept, with what to wait for, or `Some(None)`
    /// when it is on disk already. Who takes it and again cannot answer remembers it again.
    pub(crate) fn take(&self, key: &Arc<str>, digest: Digest) -> Option<Option<T>> {
        let mut inner = self.inner.lock();
        inner.expire(super::now_ms(), self.ttl_ms);
        if inner.by_digest.is_empty() {
            return None;
        }
        let of = (digest, key.clone());
        let entries = inner.by_digest.get_mut(&of)?;
        let entry = entries.pop_front()?;
        if entries.is_empty() {
            inner.by_digest.remove(&of);
        }
        Some(entry.joins)
    }

    /// Everything that is remembered, for the next process.
    pub(crate) fn all(&self) -> Vec<Remembered> {
        let mut inner = self.inner.lock();
        inner.expire(super::now_ms(), self.ttl_ms);
        let each = inner.by_digest.iter().flat_map(|((digest, key), entries)| {
            entries.iter().map(|entry| Remembered { key: key.clone(), digest: *digest, at_ms: entry.at_ms })
        });
        each.collect()
    }

    fn insert(&self, one: Remembered, joins: Option<T>) {
        let mut inner = self.inner.lock();
        // A clock that was set back would keep a digest for longer than its time.
        let now = super::now_ms();
        let at_ms = one.at_ms.min(now);
        inner.expire(now, self.ttl_ms);
        let entries = inner.by_digest.entry((one.digest, one.key.clone())).or_default();
        entries.push_back(Entry { at_ms, joins });
        inner.by_age.push_back((at_ms, one.digest, one.key));
    }
}

impl<T> Inner<T> {
    fn expire(&mut self, now: u64, ttl_ms: u64) {
        while let Some((at_ms, ..)) = self.by_age.front()
            && at_ms.saturating_add(ttl_ms) <= now
            && let Some((at_ms, digest, key)) = self.by_age.pop_front()
        {
            let of = (digest, key);
            if let Some(entries) = self.by_digest.get_mut(&of) {
                if let Some(place) = entries.iter().position(|entry| entry.at_ms == at_ms) {
                    entries.remove(place);
                }
                if entries.is_empty() {
                    self.by_digest.remove(&of);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_memory_is_taken_once_and_only_by_its_key() {
        let digests = Digests::new(Duration::from_secs(600));
        let (key, other) = (Arc::from("a"), Arc::from("b"));
        let digest = Digest::of(b"request");
        digests.remember(&key, digest, 1);
        digests.restore([Remembered { key: key.clone(), digest, at_ms: u64::MAX }]);
        assert_eq!(digests.take(&other, digest), None);
        assert_eq!(digests.all().len(), 2);
        assert_eq!(digests.take(&key, digest), Some(Some(1)));
        assert_eq!(digests.take(&key, digest), Some(None));
        assert_eq!(digests.take(&key, digest), None);
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let digests = Digests::<()>::new(Duration::from_millis(5));
        let key = Arc::from("a");
        digests.remember(&key, Digest::of(b""), ());
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(digests.take(&key, Digest::of(b"")), None);
        assert!(digests.inner.lock().by_digest.is_empty());
    }
}
