//! What a key makes this process do, refused or not: every byte that a request takes up, as it does. A flood of requests that grow and are then refused runs into this limit of its
//! own key, where the rates in `limits` count what was kept.
//!
//! A balance that may be overdrawn: while there is any, a request is let in and may use more than there is, so that large ones are not starved by small ones; what is overdrawn is
//! made up for before the next is let in, and a second balance is the most that requests in flight may overdraw together.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::KeyLimits;
use crate::reply::Refusal;

/// A request of `n` uncompressed bytes takes up these, its compressed ones and its columns: about four times as many. So many times `bytes_per_second` is twice that.
const TIMES: u64 = 8;
/// No key has less, a second and at once: what is bounded is the process's work, not what the key may store.
const LEAST: (u64, u64) = (16 << 20, 256 << 20);
const LIMIT: &str = "bytes_per_second";

/// One key's.
#[derive(Debug)]
pub(crate) struct Work {
    per_second: f64,
    at_once: Duration,
    made: Instant,
    /// When all that was done is made up for, since `made`.
    used: Mutex<Duration>,
}

impl Work {
    /// Nothing done yet.
    pub(super) fn new(limits: &KeyLimits) -> Self {
        let per_second = limits.bytes_per_second.saturating_mul(TIMES).max(LEAST.0) as f64;
        let burst = (per_second * limits.burst.as_secs_f64()).max(LEAST.1 as f64);
        let at_once = Duration::try_from_secs_f64(burst / per_second).unwrap_or(Duration::MAX);
        Work { per_second, at_once, made: Instant::now(), used: Mutex::default() }
    }

    /// Whether another request may be let in.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`].
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        self.within(*self.used.lock(), self.made.elapsed(), self.at_once)
    }

    /// Takes up so many bytes more.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`]; they are counted nevertheless.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), Refusal> {
        self.spend_at(bytes, self.made.elapsed())
    }

    /// Gives back what was paid for and not used.
    pub(crate) fn unspend(&self, bytes: u64) {
        let mut used = self.used.lock();
        *used = used.saturating_sub(self.takes(bytes));
    }

    fn takes(&self, bytes: u64) -> Duration {
        Duration::try_from_secs_f64(bytes as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    fn spend_at(&self, bytes: u64, now: Duration) -> Result<(), Refusal> {
        let mut used = self.used.lock();
        *used = (*used).max(now).saturating_add(self.takes(bytes));
        self.within(*used, now, self.at_once.saturating_mul(2))
    }

    fn within(&self, used: Duration, now: Duration, most: Duration) -> Result<(), Refusal> {
        let over = used.saturating_sub(now).saturating_sub(most);
        match over.is_zero() {
            true => Ok(()),
            // What it overdrew is to be made up for, not only what was too much.
            false => Err(Refusal::OverLimit {
                limit: LIMIT,
                retry_after: used.saturating_sub(now).saturating_sub(self.at_once),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdrawn_is_made_up_for_before_the_next() {
        let limits = KeyLimits { bytes_per_second: 1, ..crate::keys::testing::entry("a", "a", 1).limits };
        let work = Work::new(&limits);
        let now = Duration::from_secs(5);
        work.spend_at(255 << 20, now).expect("within what there is at once");
        work.spend_at(255 << 20, now).expect("overdrawn");
        assert!(work.within(*work.used.lock(), now, work.at_once).is_err(), "none is let in");
        let Err(Refusal::OverLimit { retry_after, .. }) = work.spend_at(4 << 20, now) else {
            panic!("too much overdrawn")
        };
        // 258 MiB at 16 MiB a second.
        assert_eq!(retry_after.as_millis(), 16_125);
        assert!(work.within(*work.used.lock(), now + retry_after, work.at_once).is_ok());
    }
}
