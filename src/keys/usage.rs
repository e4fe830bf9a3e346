//! What a key has used: how far its rates, by this process and, where limits are shared, by the other replicas as far as they said; and what its requests made this process do.
//!
//! All of it lies behind one lock, which a request takes twice: when it is let in, and when it is charged or has ended ([`KeyLimiter`](super::limiter::KeyLimiter)).
//!
//! Invariant: what is known only grows until time pays for it: what a report brings back is never less than what was known when it was sent.

use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::rate::{Rate, Short};
use super::work::Work;
use crate::counted::Counted;

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
    used: Counted<Used>,
}

/// What was used.
#[derive(Debug)]
pub(super) struct Used {
    rates: [Rate; RATES],
    /// How far each rate is used, as [`Rate`] says it.
    until: [Duration; RATES],
    /// What was charged since the start.
    total: [u64; RATES],
    /// What was used since the last report, as time at the rate.
    unreported: [Duration; RATES],
    /// It waits for its next report.
    is_listed: bool,
    /// What its requests make this process do.
    pub(super) work: Work,
    /// The memory that one of its requests takes as a rule, in bytes.
    pub(super) usual_memory: u64,
}

/// What the replicas are to hear of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// It is the first since the last report.
    pub(super) first: bool,
    /// It is worth a report at once.
    pub(super) early: bool,
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
    pub(super) fn new(id: String, rates: [Rate; RATES], work: Work) -> Usage {
        let (until, total, unreported) = ([Duration::ZERO; RATES], [0; RATES], [Duration::ZERO; RATES]);
        let used = Used { rates, until, total, unreported, is_listed: false, work, usual_memory: 0 };
        Usage { id, made: Instant::now(), used: Counted::new(used) }
    }

    /// What was used, and the time on this key's clock.
    pub(super) fn lock(&self) -> (MutexGuard<'_, Used>, Duration) {
        let used = self.used.lock();
        (used, self.made.elapsed())
    }

    /// What counts now.
    pub(super) fn rates(&self) -> [Rate; RATES] {
        self.used.lock().rates
    }

    pub(super) fn left(&self) -> [u64; RATES] {
        let (used, now) = self.lock();
        std::array::from_fn(|rate| used.rates[rate].left(used.until[rate], now))
    }

    pub(super) fn total(&self) -> [u64; RATES] {
        self.used.lock().total
    }

    #[cfg(test)]
    pub(super) fn count_for_tests(&self, rate: usize, count: u64) {
        self.used.lock().total[rate] += count;
    }

    /// It is to be spoken of; whether nobody knew.
    pub(super) fn list(&self) -> bool {
        self.used.lock().list()
    }

    /// How often its lock was taken since this was asked last.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.used.taken()
    }

    /// What is to be said of it now. What it holds counts as said: should it be lost, it is in the next one's `floor`.
    pub(super) fn report(&self) -> Report {
        let (mut used, sent) = self.lock();
        used.is_listed = false;
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

impl Used {
    /// Counts by these from now on. One that stays the same stays used as it is; another one begins with nothing used.
    pub(super) fn follow(&mut self, rates: [Rate; RATES]) {
        for (place, rate) in rates.into_iter().enumerate() {
            if self.rates[place] != rate {
                (self.rates[place], self.until[place], self.unreported[place]) = (rate, Duration::ZERO, Duration::ZERO);
            }
        }
    }

    /// Charges all of them or none, at one in `parts` of the rates, or at limits that nobody shares. Of several that do not fit, the longest
    /// wait is told, and of equal ones the first.
    pub(super) fn charge<const N: usize>(
        &mut self,
        now: Duration,
        counts: [(usize, u64); N],
        parts: Option<u32>,
    ) -> Result<News, (Short, usize)> {
        let one_in = parts.unwrap_or(1);
        let taken = counts.map(|(rate, count)| self.rates[rate].take(count, self.until[rate], now, one_in));
        let short = std::iter::zip(counts, taken).rev().filter_map(|((rate, _), taken)| Some((taken.err()?, rate)));
        if let Some(short) = short.max_by_key(|(short, _)| *short) {
            return Err(short);
        }
        let mut early = false;
        for ((rate, count), until) in std::iter::zip(counts, taken) {
            self.until[rate] = until.unwrap_or(self.until[rate]);
            self.total[rate] += count;
            // What a part of the limit lets through is nobody else's business.
            if one_in == 1 {
                self.unreported[rate] = self.unreported[rate].saturating_add(self.rates[rate].takes(count));
                early |= self.unreported[rate] >= self.rates[rate].tolerance() / EARLY;
            }
        }
        Ok(News { first: parts.is_some() && self.list(), early })
    }

    fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.is_listed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn usage() -> Usage {
        let work = Work::new(&crate::keys::testing::entry("a", "a", 1).limits);
        Usage::new("k".into(), [10, 1000, 1000].map(|per_second| Rate::new(per_second, SECOND)), work)
    }

    /// Whether that is worth a report at once.
    fn charge<const N: usize>(
        usage: &Usage,
        now: Duration,
        counts: [(usize, u64); N],
        parts: u32,
    ) -> Result<bool, (Short, usize)> {
        usage.lock().0.charge(now, counts, Some(parts)).map(|news| news.early)
    }

    fn now(usage: &Usage) -> Duration {
        usage.lock().1
    }

    #[test]
    fn what_others_used_is_learned_and_nothing_is_said_twice() {
        let usage = usage();
        charge(&usage, now(&usage), [(1, 400)], 1).unwrap();
        let report = usage.report();
        assert!(report.floor[1].is_zero() && report.used[1] > SECOND * 3 / 10, "{report:?}");
        // While the report is on its way, more is used; others used 300 of 1000.
        charge(&usage, now(&usage), [(1, 100)], 1).unwrap();
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
        let now = now(&usage);
        charge(&usage, now, [(1, 1000), (2, 1000)], 1).unwrap();
        usage.lock().0.follow([20, 1000, 1001].map(|per_second| Rate::new(per_second, SECOND)));
        assert!(charge(&usage, now, [(1, 1)], 1).is_err());
        charge(&usage, now, [(2, 1001)], 1).unwrap();
        assert_eq!(usage.total(), [0, 1000, 2001]);
        assert!(usage.report().used[1] > SECOND * 9 / 10, "what was not said yet of it is said");
    }

    #[test]
    fn two_percent_of_a_burst_are_worth_a_report_at_once() {
        let usage = usage();
        assert_eq!(charge(&usage, now(&usage), [(1, 19)], 1), Ok(false));
        assert_eq!(charge(&usage, now(&usage), [(1, 1)], 1), Ok(true));
        usage.report();
        assert_eq!(charge(&usage, now(&usage), [(1, 19)], 1), Ok(false));
    }

    #[test]
    fn a_part_of_a_limit_lets_a_part_through_and_is_not_reported() {
        let usage = usage();
        let now = now(&usage);
        let admitted = (0..100).filter(|_| charge(&usage, now, [(1, 10)], 4).is_ok()).count();
        assert_eq!(admitted, 25);
        let later = (0..100).filter(|_| charge(&usage, now + SECOND, [(1, 10)], 4).is_ok()).count();
        assert_eq!(later, 25);
        assert_eq!(usage.report().used, [Duration::ZERO; 3]);
        // What only the whole burst holds waits until the part has rested, and costs what it costs.
        assert!(charge(&usage, now + SECOND, [(1, 900)], 4).is_err());
        charge(&usage, now + 2 * SECOND, [(1, 900)], 4).unwrap();
        assert!(matches!(charge(&usage, now + 3 * SECOND, [(1, 10)], 4), Err((Short::For(_), 1))));
        assert_eq!(charge(&usage, now, [(1, 1001)], 4), Err((Short::Never { max: 1000 }, 1)));
    }
}
