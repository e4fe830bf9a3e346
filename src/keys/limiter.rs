//! A key's rates: requests, uncompressed bytes and records a second, each with a burst.
//!
//! Invariant: bytes and records are charged together or not at all, so that a refused request costs its key nothing
//! but the one request, and `retry_after` is the time after which this very request fits.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::direct::NotKeyed;
use governor::state::{InMemoryState, StateStore};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::config::KeyLimits;
use crate::reply::Refusal;

/// A cell of the bytes limit: the limiter counts in 32 bits, bytes would overflow them.
const BYTES_PER_CELL: u64 = 1024;

type Limiter<S, C> = RateLimiter<NotKeyed, S, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The three rates of one key. The clock is the system's, except in tests.
pub(crate) struct KeyLimiter<C: Clock = DefaultClock> {
    requests: Limiter<InMemoryState, C>,
    volume: Mutex<Volume<C>>,
    limits: KeyLimits,
    clock: C,
}

/// What is known only after the body was read, behind one lock: the two are charged together.
struct Volume<C: Clock> {
    bytes: Bucket<C>,
    records: Bucket<C>,
}

impl KeyLimiter {
    /// Full buckets with these limits. A rate or a burst below one cell counts as one cell.
    pub(crate) fn new(limits: &KeyLimits) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> KeyLimiter<C> {
    /// The same on another clock.
    pub(crate) fn with_clock(limits: &KeyLimits, clock: C) -> Self {
        let requests = quota(u64::from(limits.requests_per_second), limits.burst);
        let bytes = quota(limits.bytes_per_second.div_ceil(BYTES_PER_CELL), limits.burst);
        let records = quota(u64::from(limits.records_per_second), limits.burst);
        KeyLimiter {
            requests: RateLimiter::direct_with_clock(requests, clock.clone()),
            volume: Mutex::new(Volume {
                bytes: Bucket::new(bytes, clock.clone()),
                records: Bucket::new(records, clock.clone()),
            }),
            limits: *limits,
            clock,
        }
    }

    /// Charges one request, before its body is read. It stays charged whatever becomes of the request: what this
    /// limit protects is the work of looking at one.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`].
    pub(crate) fn charge_request(&self) -> Result<(), Refusal> {
        self.requests.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            over("requests_per_second", wait)
        })
    }

    /// Charges a request's uncompressed bytes (rounded up to KiB) and its records, both or neither.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] when the burst can never hold it, otherwise [`Refusal::OverLimit`] with the longer of
    /// the two waits.
    pub(crate) fn charge_volume(&self, bytes: u64, records: u64) -> Result<(), Refusal> {
        let volume = self.volume.lock();
        let bytes = volume.bytes.take(bytes.div_ceil(BYTES_PER_CELL));
        let records = volume.records.take(records);
        let refusal = match (bytes, records) {
            (Ok(()), Ok(())) => return Ok(()),
            (Err(Short::Never { max }), _) => {
                Refusal::TooLarge { limit: "bytes_per_second", max: max.saturating_mul(BYTES_PER_CELL) }
            }
            (_, Err(Short::Never { max })) => Refusal::TooLarge { limit: "records_per_second", max },
            (Err(Short::For(bytes)), Err(Short::For(records))) if records > bytes => {
                over("records_per_second", records)
            }
            (Err(Short::For(wait)), _) => over("bytes_per_second", wait),
            (_, Err(Short::For(wait))) => over("records_per_second", wait),
        };
        if bytes.is_ok() {
            volume.bytes.give_back();
        }
        if records.is_ok() {
            volume.records.give_back();
        }
        Err(refusal)
    }
}

impl<C: Clock> std::fmt::Debug for KeyLimiter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyLimiter").field(&self.limits).finish()
    }
}

/// `rate` cells a second, of which `burst` seconds' worth may be saved up.
fn quota(rate: u64, burst: Duration) -> Quota {
    let allowance = u128::from(rate) * burst.as_millis() / 1000;
    Quota::per_second(cells(u128::from(rate))).allow_burst(cells(allowance))
}

fn cells(count: u128) -> NonZeroU32 {
    u32::try_from(count).ok().map_or(NonZeroU32::MAX, |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN))
}

fn over(limit: &'static str, retry_after: Duration) -> Refusal {
    Refusal::OverLimit { limit, retry_after }
}

/// Why a bucket does not give.
#[derive(Clone, Copy)]
enum Short {
    /// It gives after this long.
    For(Duration),
    /// Full, it holds only so many cells.
    Never { max: u64 },
}

/// A rate limiter whose last charge can be taken back.
struct Bucket<C: Clock> {
    limiter: Limiter<Undoable, C>,
    state: Undoable,
    clock: C,
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(quota: Quota, clock: C) -> Self {
        let state = Undoable::default();
        Bucket { limiter: RateLimiter::new(quota, state.clone(), clock.clone()), state, clock }
    }

    fn take(&self, count: u64) -> Result<(), Short> {
        // The undo must not reach further back than this call, even when it takes nothing.
        self.state.mark();
        let Some(count) = NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX)) else {
            return Ok(());
        };
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Short::For(not_until.wait_time_from(self.clock.now()))),
            Err(full) => Err(Short::Never { max: u64::from(full.0) }),
        }
    }

    fn give_back(&self) {
        self.state.undo();
    }
}

/// The limiter's state (its "theoretical arrival time") and what it was before the last charge. Always used under the
/// lock around [`Volume`]; a mutex of its own only because the limiter keeps a copy of the handle.
#[derive(Clone, Default)]
struct Undoable(Arc<Mutex<Arrival>>);

#[derive(Default)]
struct Arrival {
    now: Option<Nanos>,
    before: Option<Nanos>,
}

impl Undoable {
    fn mark(&self) {
        let mut arrival = self.0.lock();
        arrival.before = arrival.now;
    }

    fn undo(&self) {
        let mut arrival = self.0.lock();
        arrival.now = arrival.before;
    }
}

impl StateStore for Undoable {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut arrival = self.0.lock();
        let (outcome, next) = f(arrival.now)?;
        arrival.now = Some(next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn limits(requests: u32, kib: u64, records: u32, burst: Duration) -> KeyLimits {
        KeyLimits { requests_per_second: requests, bytes_per_second: kib * 1024, records_per_second: records, burst }
    }

    fn wait(refusal: Result<(), Refusal>) -> (&'static str, Duration) {
        match refusal {
            Err(Refusal::OverLimit { limit, retry_after }) => (limit, retry_after),
            other => panic!("expected a wait, got {other:?}"),
        }
    }

    #[test]
    fn a_burst_is_saved_up_and_the_advice_is_when_it_fits_again() {
        let clock = FakeRelativeClock::default();
        let limiter = KeyLimiter::with_clock(&limits(10, 10, 10, Duration::from_secs(2)), clock.clone());
        for _ in 0..20 {
            limiter.charge_request().unwrap();
        }
        let (limit, after) = wait(limiter.charge_request());
        assert_eq!((limit, after), ("requests_per_second", Duration::from_millis(100)));
        clock.advance(after - Duration::from_nanos(1));
        wait(limiter.charge_request());
        clock.advance(Duration::from_nanos(1));
        limiter.charge_request().unwrap();
    }

    #[test]
    fn what_the_burst_can_never_hold_is_refused_for_good() {
        let limiter = KeyLimiter::new(&limits(1, 4, 100, Duration::from_secs(2)));
        assert_eq!(
            limiter.charge_volume(8 * 1024 + 1, 1),
            Err(Refusal::TooLarge { limit: "bytes_per_second", max: 8 * 1024 })
        );
        assert_eq!(limiter.charge_volume(1, 201), Err(Refusal::TooLarge { limit: "records_per_second", max: 200 }));
        // Neither refusal cost anything: the whole burst is still there.
        limiter.charge_volume(8 * 1024, 200).unwrap();
    }

    #[test]
    fn a_rate_below_one_cell_still_lets_one_through() {
        let limiter = KeyLimiter::new(&limits(1, 1, 1, Duration::from_millis(1)));
        limiter.charge_request().unwrap();
        limiter.charge_volume(1, 1).unwrap();
    }

    #[test]
    fn an_empty_request_costs_nothing() {
        let limiter = KeyLimiter::new(&limits(1, 1, 1, Duration::from_secs(1)));
        for _ in 0..10 {
            limiter.charge_volume(0, 0).unwrap();
        }
    }

    #[test]
    fn one_kept_limit_is_given_back_when_the_other_refuses() {
        let clock = FakeRelativeClock::default();
        let limiter = KeyLimiter::with_clock(&limits(1, 100, 100, Duration::from_secs(1)), clock.clone());
        limiter.charge_volume(90 * 1024, 10).unwrap();
        for _ in 0..5 {
            let (limit, after) = wait(limiter.charge_volume(50 * 1024, 80));
            assert_eq!((limit, after), ("bytes_per_second", Duration::from_millis(400)));
        }
        // 90 records are left although 5 × 80 were refused.
        limiter.charge_volume(0, 90).unwrap();
    }

    proptest! {
        /// However a key's requests come, waiting for exactly as long as told lets the same request through, and
        /// what went through never exceeds burst plus rate × time.
        #[test]
        fn the_advice_is_honest(
            steps in prop::collection::vec((0u64..200, 0u64..200, 0u64..2000), 1..50)
        ) {
            let clock = FakeRelativeClock::default();
            let limiter =
                KeyLimiter::with_clock(&limits(1, 100, 100, Duration::from_secs(2)), clock.clone());
            let (mut millis, mut kib_in, mut records_in) = (0u128, 0u64, 0u64);
            for (kib, records, pause) in steps {
                clock.advance(Duration::from_millis(pause));
                millis += u128::from(pause);
                if let Err(refusal) = limiter.charge_volume(kib * 1024, records) {
                    let (_, after) = wait(Err(refusal));
                    prop_assert!(after > Duration::ZERO);
                    clock.advance(after);
                    millis += after.as_millis();
                    limiter.charge_volume(kib * 1024, records).unwrap();
                }
                kib_in += kib;
                records_in += records;
                let allowed = 200 + u64::try_from(millis).unwrap() / 10 + 1;
                prop_assert!(kib_in <= allowed && records_in <= allowed);
            }
        }
    }
}
