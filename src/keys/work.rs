//! What a key makes this process do, refused or not: every byte that a request takes up, as it does. A flood of requests that grow and are then refused runs into this limit of its
//! own key, where the rates in `limits` count what was kept.
//!
//! A balance that may be overdrawn: while there is any, a request is let in and may use more than there is, so that large ones are not starved by small ones; what is overdrawn is
//! made up for before the next is let in, and a second balance is the most that requests in flight may overdraw together.

use std::time::Duration;

use crate::config::KeyLimits;
use crate::reply::Refusal;

/// A request of `n` uncompressed bytes takes up these, its compressed ones and its columns: about four times as many. So many times `bytes_per_second` is twice that.
const TIMES: u64 = 8;
/// No key has less, a second and at once: what is bounded is the process's work, not what the key may store.
const LEAST: (u64, u64) = (16 << 20, 256 << 20);
const LIMIT: &str = "bytes_per_second";

/// One key's. Times count from any fixed moment.
#[derive(Debug)]
pub(super) struct Work {
    pace: Pace,
    /// When all that was done is made up for.
    used: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    per_second: f64,
    at_once: Duration,
}

impl Pace {
    fn of(limits: &KeyLimits) -> Pace {
        let per_second = limits.bytes_per_second.saturating_mul(TIMES).max(LEAST.0) as f64;
        let burst = (per_second * limits.burst.as_secs_f64()).max(LEAST.1 as f64);
        Pace { per_second, at_once: Duration::try_from_secs_f64(burst / per_second).unwrap_or(Duration::MAX) }
    }

    fn takes(&self, bytes: u64) -> Duration {
        Duration::try_from_secs_f64(bytes as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// Whether no more is used than takes `times` as long as there is at once.
    fn within(&self, used: Duration, now: Duration, times: u32) -> Result<(), Refusal> {
        let over = used.saturating_sub(now).saturating_sub(self.at_once.saturating_mul(times));
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

impl Work {
    /// Nothing done yet.
    pub(super) fn new(limits: &KeyLimits) -> Self {
        Work { pace: Pace::of(limits), used: Duration::ZERO }
    }

    /// By these limits from now on; what was done stays, unless they differ in what counts here.
    pub(super) fn follow(&mut self, limits: &KeyLimits) {
        let next = Work::new(limits);
        if self.pace != next.pace {
            *self = next;
        }
    }

    /// Whether another request may be let in.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`].
    pub(super) fn admit(&self, now: Duration) -> Result<(), Refusal> {
        self.pace.within(self.used, now, 1)
    }

    /// Takes up so many bytes more.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`]; they are counted nevertheless.
    pub(super) fn spend(&mut self, bytes: u64, now: Duration) -> Result<(), Refusal> {
        self.used = self.used.max(now).saturating_add(self.pace.takes(bytes));
        self.pace.within(self.used, now, 2)
    }

    /// Gives back what was paid for and not used.
    pub(super) fn unspend(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(self.pace.takes(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdrawn_is_made_up_for_before_the_next() {
        let limits = KeyLimits { bytes_per_second: 1, ..crate::keys::testing::entry("a", "a", 1).limits };
        let mut work = Work::new(&limits);
        let now = Duration::from_secs(5);
        work.spend(255 << 20, now).expect("within what there is at once");
        work.spend(255 << 20, now).expect("overdrawn");
        assert!(work.admit(now).is_err(), "none is let in");
        let Err(Refusal::OverLimit { retry_after, .. }) = work.spend(4 << 20, now) else {
            panic!("too much overdrawn")
        };
        // 258 MiB at 16 MiB a second.
        assert_eq!(retry_after.as_millis(), 16_125);
        work.admit(now + retry_after).unwrap();
        work.follow(&KeyLimits { requests_per_second: 7, ..limits });
        assert!(work.admit(now).is_err(), "what counts here is the same");
        work.follow(&KeyLimits { burst: limits.burst * 1000, ..limits });
        work.admit(now).unwrap();
    }
}
