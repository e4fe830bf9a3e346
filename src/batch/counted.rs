//! A lock that all requests share. Tests count how often it is taken, for with many cores that is what a request costs the others.

use parking_lot::{Mutex, MutexGuard};

/// A mutex; in tests one that counts. It has its cache lines for itself: whoever touches what lies beside it would have to wait for them.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Counted<T> {
    inner: Mutex<T>,
    #[cfg(test)]
    taken: std::sync::atomic::AtomicUsize,
}

impl<T> Counted<T> {
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(test)]
        self.taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.inner.lock()
    }

    /// How often it was taken since this was asked last.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}
