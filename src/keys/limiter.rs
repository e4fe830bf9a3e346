//! A key's rates: requests, uncompressed bytes and records a second, each with a burst; and the work that it makes ([`Work`]).
//!
//! A request says what it does twice: when it is let in, and when it is charged or ends uncharged. Between the two it knows by itself what it did.
//!
//! Invariant: bytes and records are charged together or not at all, so that a refused request costs its key nothing
//! but the one request, and `retry_after` is the time after which this very request fits.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use serde::Serialize;

use super::rate::{Rate, Short};
use super::shared::Shared;
use super::usage::{RATES, Usage, Used};
use super::work::Work;
use crate::config::KeyLimits;
use crate::reply::Refusal;

/// The rates, in the order in which [`Usage`] keeps them.
const NAMES: [&str; RATES] = ["requests_per_second", "bytes_per_second", "records_per_second"];
const REQUESTS: usize = 0;
const BYTES: usize = 1;
const RECORDS: usize = 2;

/// So many of what the three rates count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Amounts {
    /// Requests.
    pub(crate) requests: u64,
    /// Uncompressed bytes.
    pub(crate) bytes: u64,
    /// Spans, log records and data points.
    pub(crate) records: u64,
}

/// What a request did that its key has not heard of yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Did {
    /// Bytes that it took up.
    pub(crate) work: u64,
    /// The most memory that it held; `None`: it is not over, or no usual one.
    pub(crate) memory: Option<u64>,
}

/// The three rates of one key.
#[derive(Debug)]
pub(crate) struct KeyLimiter {
    usage: Arc<Usage>,
    /// Who hears of what is used; `None`: these are this process's own limits.
    shared: Option<Arc<Shared>>,
}

impl KeyLimiter {
    /// Nothing used yet. What a burst saves up is one at least. `id` is what the key is called among the replicas that share its limits.
    pub(super) fn new(limits: &KeyLimits, id: String, shared: Option<Arc<Shared>>) -> Self {
        KeyLimiter { usage: Arc::new(Usage::new(id, rates(limits), Work::new(limits))), shared }
    }

    /// Counts by these limits from now on: of those that stay the same, what was used stays used.
    pub(super) fn follow(&self, limits: &KeyLimits) {
        let (mut used, _) = self.usage.lock();
        used.follow(rates(limits));
        used.work.follow(limits);
    }

    /// Lets a request in, before its body is read, and charges it as one; in between it begins with `begin`, which is told how much memory a request of this
    /// key takes as a rule, and must not wait. It stays charged whatever becomes of the request: what this limit protects is the work of looking at one.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`], and those of `begin`; checked in this order: work, `begin`, requests a second.
    pub(crate) fn admit<T>(&self, begin: impl FnOnce(u64) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let (used, now) = self.usage.lock();
        used.work.admit(now)?;
        let begun = begin(used.usual_memory)?;
        self.charge(used, now, [(REQUESTS, 1)])?;
        Ok(begun)
    }

    /// Charges a request's uncompressed bytes and its records, both or neither, and counts what it did.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] when the burst can never hold it, otherwise [`Refusal::OverLimit`] with the longer of
    /// the two waits. What it did is counted nevertheless.
    pub(crate) fn pay(&self, did: Did, bytes: u64, records: u64) -> Result<(), Refusal> {
        let (mut used, now) = self.usage.lock();
        used.did(did, now)?;
        self.charge(used, now, [(BYTES, bytes), (RECORDS, records)])
    }

    /// Counts what a request did.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`]: that was too much. It is counted nevertheless.
    pub(crate) fn work(&self, did: Did) -> Result<(), Refusal> {
        let (mut used, now) = self.usage.lock();
        used.did(did, now)
    }

    /// Gives back work that was counted and not done.
    pub(crate) fn unspend(&self, bytes: u64) {
        self.usage.lock().0.work.unspend(bytes);
    }

    /// What would fit now.
    pub(crate) fn left(&self) -> Amounts {
        amounts(self.usage.left())
    }

    /// What was charged since the key is known.
    pub(crate) fn total(&self) -> Amounts {
        amounts(self.usage.total())
    }

    /// Of the rate that is used most, its name and how much of it these amounts are over this time, in percent.
    pub(super) fn percent(&self, used: &Amounts, over: Duration) -> (&'static str, u64) {
        let used = [used.requests, used.bytes, used.records];
        let rates = self.usage.rates();
        let percent = |rate: usize| (NAMES[rate], rates[rate].percent(used[rate], over));
        [REQUESTS, BYTES, RECORDS].map(percent).into_iter().max_by_key(|(_, percent)| *percent).unwrap_or_default()
    }

    fn charge<const N: usize>(
        &self,
        mut used: MutexGuard<'_, Used>,
        now: Duration,
        counts: [(usize, u64); N],
    ) -> Result<(), Refusal> {
        let parts = self.shared.as_ref().map(|shared| shared.parts());
        let news = used.charge(now, counts, parts).map_err(|(short, rate)| refusal(NAMES[rate], short))?;
        drop(used);
        if let Some(shared) = &self.shared {
            shared.used(&self.usage, news);
        }
        Ok(())
    }
}

#[cfg(test)]
impl KeyLimiter {
    /// How often its lock was taken since this was asked last.
    pub(crate) fn taken(&self) -> usize {
        self.usage.taken()
    }

    pub(crate) fn charge_volume(&self, bytes: u64, records: u64) -> Result<(), Refusal> {
        self.pay(Did::default(), bytes, records)
    }

    pub(super) fn charge_request(&self) -> Result<(), Refusal> {
        let now = self.usage.lock().1;
        self.charge_request_at(now)
    }

    fn charge_request_at(&self, now: Duration) -> Result<(), Refusal> {
        self.charge(self.usage.lock().0, now, [(REQUESTS, 1)])
    }

    fn charge_volume_at(&self, now: Duration, bytes: u64, records: u64) -> Result<(), Refusal> {
        self.charge(self.usage.lock().0, now, [(BYTES, bytes), (RECORDS, records)])
    }

    pub(super) fn count_for_tests(&self, records: u64) {
        self.usage.count_for_tests(RECORDS, records);
    }
}

impl Used {
    fn did(&mut self, did: Did, now: Duration) -> Result<(), Refusal> {
        let Did { work, memory } = did;
        if let Some(memory) = memory {
            // Small ones between large ones make them forgotten slowly.
            let less = self.usual_memory.saturating_sub(memory) / 16;
            self.usual_memory = memory.max(self.usual_memory - less);
        }
        if work > 0 { self.work.spend(work, now) } else { Ok(()) }
    }
}

impl Amounts {
    /// How much more this is; nothing where counting began anew.
    pub(super) fn since(&self, before: &Amounts) -> Amounts {
        Amounts {
            requests: self.requests.saturating_sub(before.requests),
            bytes: self.bytes.saturating_sub(before.bytes),
            records: self.records.saturating_sub(before.records),
        }
    }
}

fn amounts([requests, bytes, records]: [u64; 3]) -> Amounts {
    Amounts { requests, bytes, records }
}

fn rates(limits: &KeyLimits) -> [Rate; RATES] {
    let per_second = [limits.requests_per_second.into(), limits.bytes_per_second, limits.records_per_second.into()];
    per_second.map(|per_second| Rate::new(per_second, limits.burst))
}

fn refusal(limit: &'static str, short: Short) -> Refusal {
    match short {
        Short::For(retry_after) => Refusal::OverLimit { limit, retry_after },
        Short::Never { max } => Refusal::TooLarge { limit, max },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(requests: u32, kib: u64, records: u32, burst: Duration) -> KeyLimits {
        KeyLimits { requests_per_second: requests, bytes_per_second: kib * 1024, records_per_second: records, burst }
    }

    fn limiter(limits: KeyLimits) -> KeyLimiter {
        KeyLimiter::new(&limits, String::new(), None)
    }

    fn wait(refusal: Result<(), Refusal>) -> (&'static str, Duration) {
        match refusal {
            Err(Refusal::OverLimit { limit, retry_after }) => (limit, retry_after),
            other => panic!("expected a wait, got {other:?}"),
        }
    }

    #[test]
    fn a_burst_is_saved_up_and_the_advice_is_when_it_fits_again() {
        let limiter = limiter(limits(10, 10, 10, Duration::from_secs(2)));
        let now = Duration::from_secs(5);
        for _ in 0..20 {
            limiter.charge_request_at(now).unwrap();
        }
        let (limit, after) = wait(limiter.charge_request_at(now));
        assert_eq!((limit, after), ("requests_per_second", Duration::from_millis(100)));
        wait(limiter.charge_request_at(now + after - Duration::from_nanos(1)));
        limiter.charge_request_at(now + after).unwrap();
    }

    #[test]
    fn what_the_burst_can_never_hold_is_refused_for_good() {
        let limiter = limiter(limits(1, 4, 100, Duration::from_secs(2)));
        assert_eq!(
            limiter.charge_volume(8 * 1024 + 1, 1),
            Err(Refusal::TooLarge { limit: "bytes_per_second", max: 8 * 1024 })
        );
        assert_eq!(limiter.charge_volume(1, 201), Err(Refusal::TooLarge { limit: "records_per_second", max: 200 }));
        // Neither refusal cost anything: the whole burst is still there.
        limiter.charge_volume(8 * 1024, 200).unwrap();
    }

    #[test]
    fn a_burst_below_one_still_lets_one_through() {
        let limiter = limiter(limits(1, 1, 1, Duration::from_millis(1)));
        limiter.charge_request().unwrap();
        limiter.charge_volume(1, 1).unwrap();
    }

    #[test]
    fn an_empty_request_costs_nothing() {
        let limiter = limiter(limits(1, 1, 1, Duration::from_secs(1)));
        for _ in 0..10 {
            limiter.charge_volume(0, 0).unwrap();
        }
    }

    #[test]
    fn one_kept_limit_is_given_back_when_the_other_refuses() {
        let limiter = limiter(limits(1, 100, 100, Duration::from_secs(1)));
        let now = Duration::from_secs(5);
        limiter.charge_volume_at(now, 90 * 1024, 10).unwrap();
        for _ in 0..5 {
            let (limit, after) = wait(limiter.charge_volume_at(now, 50 * 1024, 80));
            assert_eq!((limit, after), ("bytes_per_second", Duration::from_millis(400)));
        }
        // 90 records are left although 5 × 80 were refused.
        limiter.charge_volume_at(now, 0, 90).unwrap();
    }

    proptest! {
        /// However a key's requests come, waiting for exactly as long as told lets the same request through, and
        /// what went through never exceeds burst plus rate × time.
        #[test]
        fn the_advice_is_honest(
            steps in prop::collection::vec((0u64..200, 0u64..200, 0u64..2000), 1..50)
        ) {
            let limiter = limiter(limits(1, 100, 100, Duration::from_secs(2)));
            let mut now = Duration::ZERO;
            let (mut kib_in, mut records_in) = (0u64, 0u64);
            for (kib, records, pause) in steps {
                now += Duration::from_millis(pause);
                if let Err(refusal) = limiter.charge_volume_at(now, kib * 1024, records) {
                    let (_, after) = wait(Err(refusal));
                    prop_assert!(after > Duration::ZERO);
                    now += after;
                    limiter.charge_volume_at(now, kib * 1024, records).unwrap();
                }
                kib_in += kib;
                records_in += records;
                let allowed = 200 + u64::try_from(now.as_millis()).unwrap() / 10 + 1;
                prop_assert!(kib_in <= allowed && records_in <= allowed);
            }
        }
    }
}
