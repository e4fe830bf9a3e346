//! What a key has used: its rates, and the memory of its requests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limiter::KeyLimiter;
use crate::config::KeyLimits;

/// What a key has used. It outlives a reload of the keys as long as the key and its limits stay the same.
#[derive(Debug)]
pub(crate) struct KeyState {
    /// Its rates.
    pub(crate) limiter: KeyLimiter,
    /// Bytes of memory that its requests hold now.
    pub(crate) memory: Counter,
}

impl KeyState {
    /// Nothing used yet.
    pub(crate) fn new(limits: &KeyLimits) -> Self {
        KeyState { limiter: KeyLimiter::new(limits), memory: Counter::default() }
    }
}

/// A number that grows only as far as it may.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// What it stands at.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `bytes` unless that passes `max`.
    pub(crate) fn try_add(&self, bytes: u64, max: u64) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= max)
            })
            .is_ok()
    }

    /// Takes `bytes` away, which were added before.
    pub(crate) fn sub(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
