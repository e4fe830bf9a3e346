//! Digests of requests whose answer may not have reached their client: when the same bytes come again from the same key, they
//! join what was kept and are not stored twice.
//!
//! A digest is taken once for each time it was remembered: a client that sends the same thing twice on purpose, and
//! got both answers, is never matched.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

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

/// How many digests of one key are remembered beside those that an earlier process left: about 10 MiB. Beyond, the oldest is forgotten: whoever loses so many
/// answers in their time can have a request stored twice, of their own.
const MAX_PER_KEY: usize = if cfg!(test) { 100 } else { 65_536 };

/// Digests with what became of their requests: `T` is whatever a repeat joins (for a request that is on disk, or that a process before this one kept:
/// nothing).
pub(crate) struct Digests<T> {
    ttl_ms: u64,
    by_key: Mutex<HashMap<Arc<str>, OfKey<T>>>,
}

/// One key's.
struct OfKey<T> {
    by_digest: HashMap<Digest, Vec<Entry<T>>>,
    by_age: VecDeque<(u64, Digest)>,
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

impl<T> Digests<T> {
    /// Nothing remembered yet; what will be is forgotten after `ttl`.
    pub(crate) fn new(ttl: Duration) -> Digests<T> {
        Digests { ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX), by_key: Mutex::default() }
    }

    /// Takes up what a process before this one left, all of it.
    pub(crate) fn restore(&self, all: impl IntoIterator<Item = Remembered>) {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|one| one.at_ms);
        let now = super::now_ms();
        let mut by_key = self.by_key.lock();
        for one in all {
            // A clock that was set back would keep a digest for longer than its time.
            let at_ms = one.at_ms.min(now);
            by_key.entry(one.key).or_default().insert(one.digest, Entry { at_ms, joins: None });
        }
    }

    /// The request's answer may not have reached its client. `joins` is what a repeat of it waits for; nothing when it is kept for good.
    pub(crate) fn remember(&self, key: &Arc<str>, digest: Digest, joins: Option<T>) {
        let at_ms = super::now_ms();
        let mut by_key = self.by_key.lock();
        let of_key = by_key.entry(key.clone()).or_default();
        of_key.expire(at_ms, self.ttl_ms);
        if of_key.by_age.len() >= MAX_PER_KEY {
            of_key.forget_oldest();
        }
        of_key.insert(digest, Entry { at_ms, joins });
    }

    /// Takes one memory of this request, the oldest: `Some(joins)` when it was kept, with what to wait for, or `Some(None)`
    /// when it is kept already. Who takes it and again cannot answer remembers it again.
    pub(crate) fn take(&self, key: &Arc<str>, digest: Digest) -> Option<Option<T>> {
        let mut by_key = self.by_key.lock();
        let of_key = by_key.get_mut(key)?;
        of_key.expire(super::now_ms(), self.ttl_ms);
        let entries = of_key.by_digest.get_mut(&digest)?;
        let entry = entries.remove(0);
        if entries.is_empty() {
            of_key.by_digest.remove(&digest);
        }
        Some(entry.joins)
    }

    /// Everything that is remembered, for the next process.
    pub(crate) fn all(&self) -> Vec<Remembered> {
        self.expire();
        let by_key = self.by_key.lock();
        let each = by_key.iter().flat_map(|(key, of_key)| {
            let entries =
                of_key.by_digest.iter().flat_map(|(digest, entries)| entries.iter().map(move |one| (digest, one)));
            entries.map(|(digest, one)| Remembered { key: key.clone(), digest: *digest, at_ms: one.at_ms })
        });
        each.collect()
    }

    /// In how long the first of them is too old.
    pub(crate) fn first_ends_in(&self) -> Option<Duration> {
        let oldest =
            self.by_key.lock().values().filter_map(|of_key| of_key.by_age.front()).map(|(at_ms, _)| *at_ms).min()?;
        Some(Duration::from_millis(oldest.saturating_add(self.ttl_ms).saturating_sub(super::now_ms())))
    }

    /// Forgets what is too old; returns how many are left.
    pub(crate) fn expire(&self) -> usize {
        let (now, mut left) = (super::now_ms(), 0);
        self.by_key.lock().retain(|_, of_key| {
            of_key.expire(now, self.ttl_ms);
            left += of_key.by_age.len();
            !of_key.by_age.is_empty()
        });
        left
    }
}

impl<T> Default for OfKey<T> {
    fn default() -> Self {
        OfKey { by_digest: HashMap::new(), by_age: VecDeque::new() }
    }
}

impl<T> OfKey<T> {
    fn insert(&mut self, digest: Digest, entry: Entry<T>) {
        self.by_age.push_back((entry.at_ms, digest));
        self.by_digest.entry(digest).or_insert_with(|| Vec::with_capacity(1)).push(entry);
    }

    fn expire(&mut self, now: u64, ttl_ms: u64) {
        while self.by_age.front().is_some_and(|(at_ms, _)| at_ms.saturating_add(ttl_ms) <= now) {
            self.forget_oldest();
        }
    }

    /// Forgets the oldest, unless it was taken already.
    fn forget_oldest(&mut self) {
        let Some((at_ms, digest)) = self.by_age.pop_front() else { return };
        if let Some(entries) = self.by_digest.get_mut(&digest) {
            if let Some(place) = entries.iter().position(|entry| entry.at_ms == at_ms) {
                entries.remove(place);
            }
            if entries.is_empty() {
                self.by_digest.remove(&digest);
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
        digests.remember(&key, digest, Some(1));
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
        digests.remember(&key, Digest::of(b""), Some(()));
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(digests.first_ends_in(), Some(Duration::ZERO));
        assert_eq!(digests.take(&key, Digest::of(b"")), None);
        assert_eq!((digests.expire(), digests.first_ends_in()), (0, None));
        assert!(digests.by_key.lock().is_empty());
    }

    #[test]
    fn a_key_that_loses_many_answers_forgets_its_own_oldest() {
        let digests = Digests::new(Duration::from_secs(600));
        let (flood, other) = (Arc::from("a"), Arc::from("b"));
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        digests.remember(&other, digest(0), Some(0));
        (0..5 * MAX_PER_KEY).for_each(|number| digests.remember(&flood, digest(number), Some(number)));
        assert_eq!(digests.expire(), MAX_PER_KEY + 1);
        assert_eq!(digests.by_key.lock()[&flood].by_digest.len(), MAX_PER_KEY);
        assert_eq!(digests.take(&flood, digest(0)), None);
        let last = 5 * MAX_PER_KEY - 1;
        assert_eq!(digests.take(&flood, digest(last)), Some(Some(last)));
        assert_eq!(digests.take(&other, digest(0)), Some(Some(0)));
    }
}
