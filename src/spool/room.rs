//! Whether there is room: in the spool, in a key's share of it, on its disk. Nothing that was acknowledged is ever dropped
//! to make room; who finds none is refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::disk::Disk;
use super::reserve;
use crate::reply::Away;

/// How much the spool may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// All files together, in bytes.
    pub(crate) max_bytes: u64,
    /// One key's share of `max_bytes`.
    pub(crate) max_bytes_per_key: u64,
    /// The disk keeps at least this much free.
    pub(crate) min_free_bytes: u64,
}

impl Limits {
    /// No limit: memory is bounded elsewhere.
    pub(crate) const NONE: Limits = Limits { max_bytes: u64::MAX, max_bytes_per_key: u64::MAX, min_free_bytes: 0 };
}

/// What is used, and by whom.
pub(crate) struct Room {
    limits: Limits,
    used: AtomicU64,
    by_key: Mutex<HashMap<Arc<str>, u64>>,
    /// As the last look found.
    disk_takes_more: AtomicBool,
}

impl Room {
    pub(crate) fn new(limits: Limits) -> Room {
        Room { limits, used: AtomicU64::new(0), by_key: Mutex::default(), disk_takes_more: AtomicBool::new(true) }
    }

    /// Whether this key's share has room for a request.
    pub(crate) fn check_key(&self, key: &str) -> Result<(), Away> {
        if self.used_by(key) >= self.limits.max_bytes_per_key {
            return Err(Away::KeySpool);
        }
        Ok(())
    }

    /// Bytes that are charged to this key.
    pub(crate) fn used_by(&self, key: &str) -> u64 {
        self.by_key.lock().get(key).copied().unwrap_or(0)
    }

    /// Whether a request of any key may come in.
    pub(crate) fn check_all(&self) -> Result<(), Away> {
        let full = self.used.load(Ordering::Relaxed) >= self.limits.max_bytes;
        if full || !self.disk_takes_more.load(Ordering::Relaxed) {
            return Err(Away::Spool);
        }
        Ok(())
    }

    /// Looks whether the disk takes more, for all checks until the next look. Blocks, and for as long as the disk hangs: requests never look
    /// themselves, they go by the last look.
    pub(crate) fn look(&self, disk: &dyn Disk) {
        // What is free only as long as the reserve is not used is not free.
        let least = self.limits.min_free_bytes.max(reserve::BYTES);
        // A disk that cannot say is not known to be full: the write will tell.
        let takes = disk.check().is_ok() && disk.free_bytes().map_or(true, |free| free >= least);
        self.disk_takes_more.store(takes, Ordering::Relaxed);
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        Some(self.limits.max_bytes).filter(|most| *most != Limits::NONE.max_bytes)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn used_by_key(&self) -> BTreeMap<Arc<str>, u64> {
        let by_key = self.by_key.lock();
        by_key.iter().map(|(key, used)| (key.clone(), *used)).collect()
    }

    /// A file grew by `bytes`, and the keys' shares of it from `before` to `now`.
    pub(crate) fn charge(&self, bytes: u64, now: &BTreeMap<Arc<str>, u64>, before: &BTreeMap<Arc<str>, u64>) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let mut by_key = self.by_key.lock();
        for (key, share) in now {
            let grown = share - before.get(key).copied().unwrap_or(0).min(*share);
            *by_key.entry(key.clone()).or_default() += grown;
        }
    }

    /// A file is gone.
    pub(crate) fn release(&self, bytes: u64, shares: &BTreeMap<Arc<str>, u64>) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let mut by_key = self.by_key.lock();
        for (key, share) in shares {
            if let Some(used) = by_key.get_mut(key) {
                *used = used.saturating_sub(*share);
                if *used == 0 {
                    by_key.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_share_refuses_its_key_and_a_full_spool_everybody() {
        let room = Room::new(Limits { max_bytes: 100, max_bytes_per_key: 50, min_free_bytes: 0 });
        let shares = BTreeMap::from([(Arc::from("a"), 50)]);
        room.charge(60, &shares, &BTreeMap::new());
        assert_eq!(room.check_key("a"), Err(Away::KeySpool));
        assert_eq!((room.check_key("b"), room.check_all()), (Ok(()), Ok(())));
        room.charge(40, &shares, &shares);
        assert_eq!(room.check_all(), Err(Away::Spool));
        room.release(100, &shares);
        assert_eq!((room.check_key("a"), room.check_all()), (Ok(()), Ok(())));
        assert!(room.used_by_key().is_empty());
    }
}
