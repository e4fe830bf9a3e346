//! How far a key's rates are used, by this process and, where limits are shared, by the other replicas as far as they said.
//!
//! Invariant: what is known only grows until time pays for it: what a report brings back is never less than what was known when it was sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rate::{Rate, Short};

/// The rates of a key: requests, bytes, records.
pub(super) const RATES: usize = 3;

/// The share of a burst that is worth a report at once, as one in so many.
const EARLY: u32 = 50;

/// A key's rates, and how far each is used.
#[derive(Debug)]
pub(super) struct Usage {
    /// What it is called among replicas.
    pub(super) id: String,
    /// What the rates' times count from.
    made: Instant,
    used: Mutex<Used>,
    /// It waits for its next report.
    pub(super) is_listed: AtomicBool,
}

#[derive(Debug)]
struct Used {
    rates: [Rate; RATES],
    /// How far each rate is used, as [`Rate`] says it.
    until: [Duration; RATES],
    /// What was charged since the start.
    total: [u64; RATES],
    /// What was used since the last report, as time at the rate.
    unreported: [Duration; RATES],
}

/// What the replicas hear of a key, each as time at the rate.
#[derive(Debug)]
pub(super) struct Report {
    sent: Duration,
    /// How far it is known to be used, without `used`.
    pub(super) floor: [Duration; RATES],
    /// What was used since the last report.
    pub(super) used: [Duration; RATES],
}

impl Usage {
    pub(super) fn new(id: String, rates: [Rate; RATES]) -> Usage {
        let (until, total, unreported) = ([Duration::ZERO; RATES], [0; RATES], [Duration::ZERO; RATES]);
        let used = Mutex::new(Used { rates, until, total, unreported });
        Usage { id, made: Instant::now(), used, is_listed: AtomicBool::new(false) }
    }

    /// What counts now.
    pub(super) fn rates(&self) -> [Rate; RATES] {
        self.used.lock().rates
    }

    /// Counts by these from now on. One that stays the same stays used as it is; another one begins with nothing used.
    pub(super) fn follow(&self, rates: [Rate; RATES]) {
        let mut used = self.used.lock();
        for (place, rate) in rates.into_iter().enumerate() {
            if used.rates[place] != rate {
                (used.rates[place], used.until[place], used.unreported[place]) = (rate, Duration::ZERO, Duration::ZERO);
            }
        }
    }

    /// Time on this key's clock.
    pub(super) fn now(&self) -> Duration {
        self.made.elapsed()
    }

    /// Charges all of them or none, at one in `parts` of the rates; whether that is worth a report at once. Of several that do not fit, the longest
    /// wait is told, and of equal ones the first.
    pub(super) fn charge<const N: usize>(
        &self,
        now: Duration,
        counts: [(usize, u64); N],
        parts: u32,
    ) -> Result<bool, (Short, usize)> {
        let mut used = self.used.lock();
        let taken = counts.map(|(rate, count)| used.rates[rate].take(count, used.until[rate], now, parts));
        let short = std::iter::zip(counts, taken).rev().filter_map(|((rate, _), taken)| Some((taken.err()?, rate)));
        if let Some(short) = short.max_by_key(|(short, _)| *short) {
            return Err(short);
        }
        let mut early = false;
        for ((rate, count), until) in std::iter::zip(counts, taken) {
            used.until[rate] = until.unwrap_or(used.until[rate]);
            used.total[rate] += count;
            // What a part of the limit lets through is nobody else's business.
            if parts == 1 {
                used.unreported[rate] = used.unreported[rate].saturating_add(used.rates[rate].takes(count));
                early |= used.unreported[rate] >= used.rates[rate].tolerance() / EARLY;
            }
        }
        Ok(early)
    }

    pub(super) fn left(&self) -> [u64; RATES] {
        let (now, used) = (self.now(), self.used.lock());
        std::array::from_fn(|rate| used.rates[rate].left(used.until[rate], now))
    }

    pub(super) fn total(&self) -> [u64; RATES] {
        self.used.lock().total
    }

    #[cfg(test)]
    pub(super) fn count_for_tests(&self, rate: usize, count: u64) {
        self.used.lock().total[rate] += count;
    }

    /// What is to be said of it now. What it holds counts as said: should it be lost, it is in the next one's `floor`.
    pub(super) fn report(&self) -> Report {
        let (mut used, sent) = (self.used.lock(), self.now());
        self.is_listed.store(false, Ordering::Release);
        let debt = used.until.map(|until| until.saturating_sub(sent));
        let unreported = std::mem::take(&mut used.unreported);
        let said = std::array::from_fn(|rate| debt[rate].min(unreported[rate]));
        Report { sent, floor: std::array::from_fn(|rate| debt[rate] - said[rate]), used: said }
    }

    /// The answer: how far each rate was used by all when the report arrived, at the earliest when it was sent.
    pub(super) fn learn(&self, report: &Report, debts: [Duration; RATES]) {
        let mut used = self.used.lock();
        for (rate, debt) in debts.into_iter().enumerate() {
            let until = report.sent.saturating_add(debt).saturating_add(used.unreported[rate]);
            used.until[rate] = used.until[rate].max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn usage() -> Usage {
        Usage::new("k".into(), [10, 1000, 1000].map(|per_second| Rate::new(per_second, SECOND)))
    }

    #[test]
    fn what_others_used_is_learned_and_nothing_is_said_twice() {
        let usage = usage();
        usage.charge(usage.now(), [(1, 400)], 1).unwrap();
        let report = usage.report();
        assert!(report.floor[1].is_zero() && report.used[1] > SECOND * 3 / 10, "{report:?}");
        // While the report is on its way, more is used; others used 300 of 1000.
        usage.charge(usage.now(), [(1, 100)], 1).unwrap();
        usage.learn(&report, [Duration::ZERO, SECOND * 7 / 10, Duration::ZERO]);
        let left = usage.left()[1];
        assert!((200..=400).contains(&left), "{left} of 1000 − 700 − 100, and what time has paid");
        let next = usage.report();
        assert!(next.used[1] <= SECOND / 10 && next.floor[1] <= SECOND * 7 / 10, "{next:?}");
        assert!(next.floor[1] + next.used[1] > SECOND * 6 / 10, "{next:?}");
        // Lost on its way: it is known all the same.
        assert!(usage.report().floor[1] > SECOND * 6 / 10);
    }

    #[test]
    fn a_rate_that_stays_the_same_stays_used() {
        let usage = usage();
        let now = usage.now();
        usage.charge(now, [(1, 1000), (2, 1000)], 1).unwrap();
        usage.follow([20, 1000, 1001].map(|per_second| Rate::new(per_second, SECOND)));
        assert!(usage.charge(now, [(1, 1)], 1).is_err());
        usage.charge(now, [(2, 1001)], 1).unwrap();
        assert_eq!(usage.total(), [0, 1000, 2001]);
        assert!(usage.report().used[1] > SECOND * 9 / 10, "what was not said yet of it is said");
    }

    #[test]
    fn two_percent_of_a_burst_are_worth_a_report_at_once() {
        let usage = usage();
        assert_eq!(usage.charge(usage.now(), [(1, 19)], 1), Ok(false));
        assert_eq!(usage.charge(usage.now(), [(1, 1)], 1), Ok(true));
        usage.report();
        assert_eq!(usage.charge(usage.now(), [(1, 19)], 1), Ok(false));
    }

    #[test]
    fn a_part_of_a_limit_lets_a_part_through_and_is_not_reported() {
        let usage = usage();
        let now = usage.now();
        let admitted = (0..100).filter(|_| usage.charge(now, [(1, 10)], 4).is_ok()).count();
        assert_eq!(admitted, 25);
        let later = (0..100).filter(|_| usage.charge(now + SECOND, [(1, 10)], 4).is_ok()).count();
        assert_eq!(later, 25);
        assert_eq!(usage.report().used, [Duration::ZERO; 3]);
        // What only the whole burst holds waits until the part has rested, and costs what it costs.
        assert!(usage.charge(now + SECOND, [(1, 900)], 4).is_err());
        usage.charge(now + 2 * SECOND, [(1, 900)], 4).unwrap();
        assert!(matches!(usage.charge(now + 3 * SECOND, [(1, 10)], 4), Err((Short::For(_), 1))));
        assert_eq!(usage.charge(now, [(1, 1001)], 4), Err((Short::Never { max: 1000 }, 1)));
    }
}
