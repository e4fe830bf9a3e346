//! One rate with a burst, by the generic cell rate algorithm (GCRA): all that is kept of the past is one time.
//!
//! That time is when everything that was let through has been paid for at the rate. It may lie ahead of now by as much as the burst takes at the
//! rate; what would push it further has to wait for the difference. Times count from any fixed moment.

use std::time::Duration;

const SECOND_NS: u128 = 1_000_000_000;

/// So many a second, and so many at once after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: u64,
    /// What fits at once, at most; one at least.
    capacity: u64,
    /// How long `capacity` takes at the rate.
    tolerance: Duration,
}

/// Why something does not fit. The longer wait is the greater, and never greater than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Short {
    /// It fits after this long, if nothing else comes.
    For(Duration),
    /// After any time only so much fits at once.
    Never {
        /// So much.
        max: u64,
    },
}

impl Rate {
    /// `per_second`, of which `burst` seconds' worth may be saved up.
    pub(super) fn new(per_second: u64, burst: Duration) -> Rate {
        let per_second = per_second.max(1);
        let capacity = u128::from(per_second).saturating_mul(burst.as_nanos()) / SECOND_NS;
        let capacity = u64::try_from(capacity).unwrap_or(u64::MAX).max(1);
        Rate { per_second, capacity, tolerance: takes(capacity, per_second) }
    }

    /// What `used` becomes when `count` is let through now, at one in `parts` of the rate. Nothing changes until it is put there.
    /// What only the whole burst holds, and not the part, is let through when the part has rested, and costs what it costs.
    ///
    /// # Errors
    /// [`Short`].
    pub(super) fn take(&self, count: u64, used: Duration, now: Duration, parts: u32) -> Result<Duration, Short> {
        if count > self.capacity {
            return Err(Short::Never { max: self.capacity });
        }
        let cost = self.takes(count).saturating_mul(parts);
        let paid = used.max(now).saturating_add(cost);
        match paid.saturating_sub(now).checked_sub(self.tolerance.max(cost)) {
            Some(wait) if count > 0 && !wait.is_zero() => Err(Short::For(wait)),
            _ => Ok(paid),
        }
    }

    /// How long `count` takes at the rate.
    pub(super) fn takes(&self, count: u64) -> Duration {
        takes(count, self.per_second)
    }

    /// How long the burst takes at the rate.
    pub(super) fn tolerance(&self) -> Duration {
        self.tolerance
    }

    /// How much of the rate `count` is over a time, in percent.
    pub(super) fn percent(&self, count: u64, over: Duration) -> u64 {
        let percent = takes(count, self.per_second).as_nanos().saturating_mul(100) / over.as_nanos().max(1);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// How much fits now.
    pub(super) fn left(&self, used: Duration, now: Duration) -> u64 {
        let free = self.tolerance.saturating_sub(used.saturating_sub(now));
        let count = free.as_nanos().saturating_mul(u128::from(self.per_second)) / SECOND_NS;
        u64::try_from(count).unwrap_or(u64::MAX).min(self.capacity)
    }
}

/// How long `count` takes at a rate, rounded up, so that rounding lets nothing through too early.
fn takes(count: u64, per_second: u64) -> Duration {
    let nanos = (u128::from(count) * SECOND_NS).div_ceil(u128::from(per_second));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn the_whole_burst_fits_at_once_and_no_more() {
        let rate = Rate::new(3, Duration::from_secs(2));
        let used = rate.take(6, Duration::ZERO, NOW, 1).expect("fits");
        assert_eq!(rate.take(1, used, NOW, 1), Err(Short::For(Duration::from_nanos(333_333_334))));
        assert_eq!(rate.take(0, used, NOW, 1), Ok(used));
        assert_eq!(rate.take(7, Duration::ZERO, NOW, 1), Err(Short::Never { max: 6 }));
        assert_eq!(rate.take(6, used, NOW + Duration::from_secs(2), 1), Ok(used + Duration::from_secs(2)));
        let left = [Duration::ZERO, used].map(|used| rate.left(used, NOW));
        assert_eq!((left, rate.left(used, NOW + Duration::from_millis(334))), ([6, 0], 1));
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let rate = Rate::new(10, Duration::from_secs(1));
        let used = rate.take(8, Duration::ZERO, NOW, 1).expect("fits");
        assert!(rate.take(5, used, NOW, 1).is_err());
        assert!(rate.take(2, used, NOW, 1).is_ok());
    }

    #[test]
    fn any_rate_and_burst_can_be_counted() {
        for (per_second, burst) in
            [(0, Duration::ZERO), (u64::MAX, Duration::MAX), (1, Duration::MAX), (u64::MAX, Duration::ZERO)]
        {
            let rate = Rate::new(per_second, burst);
            let used = rate.take(1, Duration::ZERO, NOW, 1).expect("one always fits");
            let _ = rate.take(u64::MAX, used, NOW, 1);
        }
    }

    #[test]
    fn never_is_longer_than_any_wait() {
        assert!(Short::Never { max: 1 } > Short::For(Duration::MAX));
    }
}
