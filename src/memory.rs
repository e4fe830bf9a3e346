//! What the rest of the request's path counts while a request is received.

use std::future::{Future, ready};

use crate::reply::Refusal;

/// Counts the memory that one request holds, against its key's share and the process's. What was counted is given back when the value is
/// dropped.
pub trait Memory: Send + 'static {
    /// Counts `bytes` more; never waits.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when there is no room; nothing is counted then.
    fn grow(&mut self, bytes: u64) -> Result<(), Refusal>;

    /// Counts `bytes` that hold nothing of the request, a decompressor's tables; they are no work of its key's.
    ///
    /// # Errors
    /// As [`Memory::grow`].
    fn lend(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.grow(bytes)
    }

    /// Before long work, and now and then in it: when others want to do some too, it is done in turn. What is held goes on to be held meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: its turn does not come in time.
    fn turn(&mut self) -> impl Future<Output = Result<(), Refusal>> + Send
    where
        Self: Sized,
    {
        ready(Ok(()))
    }

    /// Gives `bytes` back, which were counted before.
    fn shrink(&mut self, bytes: u64);
}

#[cfg(test)]
pub(crate) mod double {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Memory;
    use crate::reply::{Away, Refusal};

    /// Counts what it holds, and remembers the most it held.
    #[derive(Debug, Clone)]
    pub(crate) struct Counted {
        used: Arc<AtomicU64>,
        peak: Arc<AtomicU64>,
        max: u64,
    }

    impl Counted {
        pub(crate) fn new(max: u64) -> Self {
            Counted { used: Arc::default(), peak: Arc::default(), max }
        }

        pub(crate) fn used(&self) -> u64 {
            self.used.load(Ordering::SeqCst)
        }

        pub(crate) fn peak(&self) -> u64 {
            self.peak.load(Ordering::SeqCst)
        }
    }

    impl Memory for Counted {
        fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
            let used = self.used() + bytes;
            if used > self.max {
                return Err(Refusal::Unavailable {
                    away: Away::Memory,
                    retry_after: std::time::Duration::from_secs(1),
                });
            }
            self.used.store(used, Ordering::SeqCst);
            self.peak.fetch_max(used, Ordering::SeqCst);
            Ok(())
        }

        fn shrink(&mut self, bytes: u64) {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
        }
    }
}
