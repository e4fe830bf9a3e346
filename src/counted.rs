//! Locks and numbers that requests share. Tests count how often one takes them, for with many cores that is what it costs the others.
//!
//! Each has its cache lines for itself: whoever touches what lies beside it would have to wait for them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// A mutex; in tests one that counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counted<T> {
    inner: Mutex<T>,
    #[cfg(test)]
    taken: Taken,
}

/// A number that grows only as far as it may; in tests one that counts how often it was changed.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counter {
    number: AtomicU64,
    #[cfg(test)]
    taken: Taken,
}

/// Anything else that each request changes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

#[cfg(test)]
#[derive(Debug, Default)]
struct Taken(std::sync::atomic::AtomicUsize);

impl<T> Counted<T> {
    /// Nobody holds it yet.
    pub(crate) fn new(value: T) -> Self {
        Counted {
            inner: Mutex::new(value),
            #[cfg(test)]
            taken: Taken::default(),
        }
    }

    /// As a mutex's.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(test)]
        self.taken.count();
        self.inner.lock()
    }

    /// How often it was taken since this was asked last.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.since()
    }
}

impl Counter {
    /// What it stands at.
    pub(crate) fn get(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Adds what `add` makes of what it stands at, if anything; returns what it stood at then.
    pub(crate) fn add(&self, mut add: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        #[cfg(test)]
        self.taken.count();
        let sum = |number: u64| number.checked_add(add(number)?);
        self.number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).ok()
    }

    /// Takes `less` away, which was added before.
    pub(crate) fn sub(&self, less: u64) {
        #[cfg(test)]
        self.taken.count();
        self.number.fetch_sub(less, Ordering::Relaxed);
    }

    /// How often it was changed since this was asked last.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.since()
    }
}

#[cfg(test)]
impl Taken {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn since(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}
