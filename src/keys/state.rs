//! What a key has used: its rates, the memory of its requests, and when it was seen last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::counts::Counts;
use super::limiter::KeyLimiter;
use super::refused::Refused;
use super::shared::Shared;
use crate::config::KeyLimits;
use crate::counted::{Apart, Counter};

/// What a key has used. It outlives a reload of the keys as long as the key's name stays the same.
#[derive(Debug)]
pub(crate) struct KeyState {
    /// Its rates and its work.
    pub(crate) limiter: KeyLimiter,
    /// Bytes of memory that its requests hold now.
    pub(crate) memory: Counter,
    /// Its series among the metrics.
    pub(crate) counts: Counts,
    /// How fast its requests are refused.
    pub(crate) refused: Refused,
    /// In milliseconds since 1970; 0: never.
    seen_ms: Apart<AtomicU64>,
    /// Records that were not stored, for their table would not keep them.
    unkept: AtomicU64,
}

impl KeyState {
    /// Nothing used yet; `id` is what the key is called among the replicas that share its limits.
    pub(super) fn new(limits: &KeyLimits, id: String, shared: Option<Arc<Shared>>) -> Self {
        KeyState {
            limiter: KeyLimiter::new(limits, id, shared),
            memory: Counter::default(),
            counts: Counts::default(),
            refused: Refused::new(),
            seen_ms: Apart::default(),
            unkept: AtomicU64::new(0),
        }
    }

    /// These are its limits from now on, also for what is in flight.
    pub(super) fn follow(&self, limits: &KeyLimits) {
        self.limiter.follow(limits);
    }

    /// A request with this key came, whatever becomes of it.
    pub(crate) fn seen(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seen_ms.0.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many records of an accepted request were not stored, for their table would not keep them.
    pub(crate) fn unkept(&self, records: u64) {
        self.unkept.fetch_add(records, Ordering::Relaxed);
    }

    /// How many that were.
    pub(crate) fn records_unkept(&self) -> u64 {
        self.unkept.load(Ordering::Relaxed)
    }

    /// When a request with this key came last, in milliseconds since 1970, as far as this process knows.
    pub(crate) fn last_seen_ms(&self) -> Option<u64> {
        Some(self.seen_ms.0.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}
