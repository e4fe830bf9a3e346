//! All keys by the digest of their value, each source's beside the others'.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::oidc::{KeysAwaited, Tokens};
use super::shared::{Shared, SharedState};
use super::{Key, KeyState, Standing, is_presentable};
use crate::config::{KeyEntry, digest_of};
use crate::otlp::Stamp;

/// Where a key comes from. A key that several sources have is that of the first of them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// keys.yaml.
    File,
    /// ClickStack's app.
    ClickStack,
    /// Tokens of OpenID Connect issuers.
    Oidc,
}

impl Source {
    /// Every source, the one that decides first.
    pub(crate) const ALL: [Source; 3] = [Source::File, Source::ClickStack, Source::Oidc];

    /// The word for it in the configuration, logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::ClickStack => "clickstack",
            Source::Oidc => "oidc",
        }
    }
}

/// All that a source has to say now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    /// Its keys.
    pub(crate) keys: Vec<KeyEntry>,
    /// Keys that it had until lately, and that are still good for a while.
    pub(crate) vanished: Vec<KeyEntry>,
    /// Whose requests are that present no key of any source; `None`: such requests are refused.
    pub(crate) anonymous: Option<KeyEntry>,
    /// It has never had a key, so one that is unknown may turn out to be valid.
    pub(crate) waiting: bool,
}

impl From<Vec<KeyEntry>> for Offer {
    fn from(keys: Vec<KeyEntry>) -> Self {
        Offer { keys, ..Offer::default() }
    }
}

type ByDigest = HashMap<[u8; 32], Arc<Key>>;

/// All keys by the SHA-256 of their value.
///
/// A hash map's comparison is not constant-time, and need not be: what is compared is the digest of the presented
/// bytes, which nobody can steer without inverting SHA-256, so its timing tells nothing about any key.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    current: ArcSwap<Current>,
    offers: Mutex<Offers>,
    tokens: ArcSwapOption<Tokens>,
    shared: Option<Arc<Shared>>,
}

/// What requests see; replaced as a whole.
#[derive(Debug, Default)]
struct Current {
    keys: ByDigest,
    anonymous: Option<Arc<Key>>,
    waiting: bool,
}

#[derive(Debug, Default)]
struct Offers {
    by_source: BTreeMap<Source, Offer>,
    /// Digests of which was said that two sources have them.
    said: HashSet<[u8; 32]>,
}

/// What a replacement did, in numbers for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Keys that were not there before.
    pub(crate) added: usize,
    /// Keys with the same digest whose name, signals, expiry, limits or `enabled` changed.
    pub(crate) changed: usize,
    /// Keys that are refused from now on.
    pub(crate) removed: usize,
}

impl KeyRing {
    /// A ring of the keys of keys.yaml, with nothing used.
    #[cfg(test)]
    pub(crate) fn new(entries: Vec<KeyEntry>) -> Self {
        let ring = KeyRing::default();
        ring.replace(Source::File, entries.into());
        ring
    }

    /// A ring without a key yet, whose keys share their limits with other replicas'.
    pub(crate) fn sharing(shared: Option<Arc<Shared>>) -> Self {
        KeyRing { shared, ..KeyRing::default() }
    }

    /// By what its keys share their limits; `None`: they do not.
    pub(crate) fn shares(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// How it stands with the replicas; `None`: limits are not shared.
    pub(crate) fn shared(&self) -> Option<SharedState> {
        self.shared.as_ref().map(|shared| shared.state())
    }

    /// From now on these tokens are keys too, and no others.
    pub(crate) fn take_tokens(&self, tokens: Option<Arc<Tokens>>) {
        self.tokens.store(tokens);
    }

    /// The tokens that are keys.
    pub(crate) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.load_full()
    }

    /// Whose the presented bytes are: a key's, or a token's bearer. Whether it is enabled and not expired is the caller's to check.
    ///
    /// # Errors
    /// A token whose issuer's keys are not here yet.
    pub(crate) fn look_up(&self, presented: &[u8]) -> Result<Option<Arc<Key>>, KeysAwaited> {
        match (self.find(presented), self.tokens.load().as_deref()) {
            (None, Some(tokens)) => tokens.find(presented, SystemTime::now()),
            (found, _) => Ok(found),
        }
    }

    /// The key whose digest is that of the presented bytes.
    pub(crate) fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        if !is_presentable(presented) {
            return None;
        }
        self.current.load().keys.get(&digest_of(presented)).cloned()
    }

    /// The key of the first of these names of a client certificate that has one. Each is a digest that no key can have.
    pub(crate) fn find_certificate(&self, names: &[[u8; 32]]) -> Option<Arc<Key>> {
        let current = self.current.load();
        names.iter().find_map(|name| current.keys.get(name).cloned())
    }

    /// Whose requests are that present no known key; `None`: nobody's, they are refused.
    pub(crate) fn anonymous(&self) -> Option<Arc<Key>> {
        self.current.load().anonymous.clone()
    }

    /// Whether a source has never had a key, so that one that is unknown may turn out to be valid.
    pub(crate) fn is_waiting(&self) -> bool {
        self.current.load().waiting
    }

    /// Every key, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        let current = self.current.load();
        let of_tokens = self.tokens.load().as_deref().map(Tokens::all).unwrap_or_default();
        current.keys.values().chain(&current.anonymous).cloned().chain(of_tokens).collect()
    }

    /// Replaces all keys of a source, and logs what that changed. What a request already holds stays valid until it ends.
    pub(crate) fn replace(&self, source: Source, offer: Offer) -> Changes {
        let mut offers = self.offers.lock();
        offers.by_source.insert(source, offer);
        let (next, changes) = self.current.load().successor(&offers.by_source, self.shared.as_ref());
        offers.say_twice();
        self.current.store(Arc::new(next));
        if changes != Changes::default() {
            let Changes { added, changed, removed } = changes;
            info!(source = source.name(), added, changed, removed, "keys replaced");
        }
        changes
    }
}

impl Offer {
    fn entries(&self) -> impl Iterator<Item = (&KeyEntry, bool)> {
        let vanished = self.vanished.iter().map(|entry| (entry, true));
        self.keys.iter().map(|entry| (entry, false)).chain(vanished)
    }
}

impl Offers {
    /// A key that two sources have is said aloud, once: its limits are the first one's, and removing it there does not remove it.
    fn say_twice(&mut self) {
        let mut first: HashMap<[u8; 32], (Source, &str)> = HashMap::new();
        for (source, offer) in &self.by_source {
            for (entry, _) in offer.entries() {
                let (holder, name) = *first.entry(entry.sha256).or_insert((*source, &entry.name));
                if holder != *source && self.said.insert(entry.sha256) {
                    let (holder, other) = (holder.name(), source.name());
                    warn!(key = name, "this key comes from {holder} and from {other}; {holder} decides about it");
                }
            }
        }
    }
}

impl Current {
    /// The new keys, each with the old one's state where it stayed the same.
    fn successor(&self, offers: &BTreeMap<Source, Offer>, shared: Option<&Arc<Shared>>) -> (Current, Changes) {
        let mut changes = Changes::default();
        let mut keys = ByDigest::new();
        for (source, offer) in offers {
            for (entry, vanished) in offer.entries() {
                if keys.contains_key(&entry.sha256) {
                    continue;
                }
                let old = self.keys.get(&entry.sha256);
                let key = Key::after(old, entry, *source, vanished, shared);
                match old {
                    Some(old) if !Arc::ptr_eq(old, &key) => changes.changed += 1,
                    Some(_) => {}
                    None => changes.added += 1,
                }
                keys.insert(entry.sha256, key);
            }
        }
        let gone: Vec<_> = self.keys.iter().filter(|(digest, _)| !keys.contains_key(*digest)).collect();
        gone.iter().for_each(|(_, key)| key.standing.end());
        changes.removed = gone.len();
        let anonymous = offers.iter().find_map(|(source, offer)| Some((*source, offer.anonymous.as_ref()?)));
        let anonymous =
            anonymous.map(|(source, entry)| Key::after(self.anonymous.as_ref(), entry, source, false, shared));
        if let (Some(old), None) = (&self.anonymous, &anonymous) {
            old.standing.end();
        }
        let waiting = offers.values().any(|offer| offer.waiting);
        (Current { keys, anonymous, waiting }, changes)
    }
}

impl Key {
    /// The key of this entry: the old one itself where nothing changed, with the old one's state where that may stay.
    pub(super) fn after(
        old: Option<&Arc<Key>>,
        entry: &KeyEntry,
        source: Source,
        vanished: bool,
        shared: Option<&Arc<Shared>>,
    ) -> Arc<Key> {
        let unchanged = |old: &&Arc<Key>| old.entry == *entry && old.source == source && old.vanished == vanished;
        if let Some(old) = old.filter(unchanged) {
            return old.clone();
        }
        let standing = old.map_or_else(|| Arc::new(Standing::new(entry)), |old| old.standing.clone());
        standing.follow(entry);
        let new = || KeyState::new(&entry.limits, format!("{}:{}", source.name(), entry.name), shared.cloned());
        let same = old.filter(|old| old.entry.name == entry.name);
        let state = same.map_or_else(|| Arc::new(new()), |old| old.state.clone());
        state.follow(&entry.limits);
        Arc::new(Key { entry: entry.clone(), source, vanished, stamp: Stamp::new(&entry.resource), state, standing })
    }

    /// A key that no source has and nobody can show.
    pub(crate) fn own(entry: KeyEntry) -> Arc<Key> {
        Key::new(entry, Source::File, None)
    }

    /// A key that was not there before.
    pub(super) fn new(entry: KeyEntry, source: Source, shared: Option<&Arc<Shared>>) -> Arc<Key> {
        Key::after(None, &entry, source, false, shared)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::keys::testing::entry;

    #[test]
    fn a_reload_keeps_what_an_unchanged_key_has_used() {
        let ring = KeyRing::new(vec![entry("same", "a", 5), entry("limited", "b", 5), entry("gone", "c", 5)]);
        let before: Vec<_> = ["a", "b", "c"].map(|key| ring.find(key.as_bytes()).unwrap()).into();
        let limiter = &before[1].state.limiter;
        (0..5).for_each(|_| limiter.charge_request().unwrap());
        limiter.charge_volume(1 << 20, 0).unwrap();
        let mut disabled = entry("same", "a", 5);
        disabled.enabled = false;
        let changes = ring.replace(Source::File, vec![disabled, entry("limited", "b", 6), entry("new", "d", 5)].into());
        assert_eq!(changes, Changes { added: 1, changed: 2, removed: 1 });
        let same = ring.find(b"a").unwrap();
        assert!(Arc::ptr_eq(&same.state, &before[0].state) && !same.entry.enabled);
        let limited = ring.find(b"b").unwrap();
        // Its requests' limit is another one, and its bytes' is the same.
        assert!(Arc::ptr_eq(&limited.state, &before[1].state));
        let left = limited.state.limiter.left();
        assert!(left.requests == 6 && left.bytes < 1 << 19, "{left:?}");
        assert!(ring.find(b"c").is_none() && ring.find(b"d").is_some() && ring.find(b"e").is_none());
        assert_eq!(ring.all().len(), 3);
        assert_eq!(before[2].entry.name, "gone");
    }

    #[test]
    fn who_holds_a_key_for_long_hears_of_its_end() {
        let now = SystemTime::now();
        let hour = std::time::Duration::from_secs(3600);
        let ring = KeyRing::new(vec![entry("a", "a", 5)]);
        let standing = ring.find(b"a").unwrap().standing.clone();
        for (after, good) in [
            (vec![KeyEntry { limits: entry("a", "a", 6).limits, ..entry("a", "a", 5) }], true),
            (vec![KeyEntry { enabled: false, ..entry("a", "a", 6) }], false),
            (vec![KeyEntry { expires: Some(now + hour), ..entry("a", "a", 6) }], true),
            (vec![KeyEntry { expires: Some(now - hour), ..entry("a", "a", 6) }], false),
            (vec![entry("a", "a", 6)], true),
            (vec![], false),
        ] {
            ring.replace(Source::File, after.into());
            assert_eq!(standing.is_good(now), good);
        }
    }

    #[test]
    fn a_key_that_stayed_the_same_is_the_same() {
        let ring = KeyRing::new(vec![entry("a", "a", 5)]);
        let before = ring.find(b"a").unwrap();
        assert_eq!(ring.replace(Source::File, vec![entry("a", "a", 5)].into()), Changes::default());
        assert!(Arc::ptr_eq(&before, &ring.find(b"a").unwrap()));
    }

    #[test]
    fn a_source_replaces_its_own_keys_only_and_the_first_source_decides() {
        let ring = KeyRing::new(vec![entry("filed", "a", 5)]);
        let mut both = Offer::from(vec![entry("told-1", "a", 7), entry("told-2", "b", 7)]);
        both.vanished.push(entry("told-2", "old", 7));
        ring.replace(Source::ClickStack, both);
        let of = |key: &str| ring.find(key.as_bytes()).map(|key| (key.entry.name.clone(), key.source, key.vanished));
        assert_eq!(of("a"), Some(("filed".into(), Source::File, false)));
        assert_eq!(of("b"), Some(("told-2".into(), Source::ClickStack, false)));
        assert_eq!(of("old"), Some(("told-2".into(), Source::ClickStack, true)));
        ring.replace(Source::File, Offer::default());
        assert_eq!(of("a"), Some(("told-1".into(), Source::ClickStack, false)));
        ring.replace(Source::ClickStack, Offer::default());
        assert_eq!(ring.all().len(), 0);
    }

    #[test]
    fn waiting_and_anonymous_are_what_any_source_says() {
        let ring = KeyRing::new(vec![entry("filed", "a", 5)]);
        assert!(!ring.is_waiting() && ring.anonymous().is_none());
        ring.replace(Source::ClickStack, Offer { waiting: true, ..Offer::default() });
        assert!(ring.is_waiting());
        let open = Offer { anonymous: Some(entry("anonymous", "", 3)), ..Offer::default() };
        ring.replace(Source::ClickStack, open.clone());
        let first = ring.anonymous().unwrap();
        ring.replace(Source::ClickStack, open);
        assert!(!ring.is_waiting() && Arc::ptr_eq(&first, &ring.anonymous().unwrap()));
    }
}
