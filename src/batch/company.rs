//! Who else is on the way to a lane: whether it is worth it for a chunk to wait.
//!
//! As PostgreSQL's `commit_siblings`: a request waits for company only while there is some. Nobody is coming when no other request of the lane is
//! being received or encoded; what was sealed before is out of the way when it is written, for until then the next ones gather behind it.
//!
//! Whose body takes longer than a quarter of the time that a chunk may wait is company for no longer than that, and whose work is long, none from where it takes its turn: otherwise one
//! slow upload, or one bomb, would hold up everybody's answers.
//!
//! Invariant: whoever leaves last looks when something waits, so nothing waits for somebody who has come, given up, fallen behind or panicked. Who gives a chunk
//! back is seen by that, and need not look.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::timeout;

use super::lane::Lane;

/// What a lane is waiting for. Each request changes it twice, so it has its cache lines for itself.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Company {
    /// Requests that are being received or encoded.
    coming: AtomicUsize,
    /// Sealed chunks that are not written yet.
    under_way: AtomicUsize,
    /// A chunk waits for them: the last one looks.
    waited_for: AtomicBool,
}

impl Company {
    /// Whether nobody comes. Otherwise the last one will look: it sees that it is waited for, or is seen to be gone here, since all of them are in one order.
    pub(super) fn is_none(&self) -> bool {
        let none = || self.coming.load(Ordering::SeqCst) == 0 && self.under_way.load(Ordering::SeqCst) == 0;
        none() || {
            self.waited_for.store(true, Ordering::SeqCst);
            none()
        }
    }

    /// One is gone; whether it was the last one, and is waited for.
    fn is_last(&self, count: &AtomicUsize) -> bool {
        let last = count.fetch_sub(1, Ordering::SeqCst) == 1;
        last && self.waited_for.load(Ordering::SeqCst) && self.waited_for.swap(false, Ordering::SeqCst)
    }

    fn leave(&self, lane: &Arc<Lane>) {
        if self.is_last(&self.coming) {
            lane.look();
        }
    }
}

/// A request that is on its way to its lane, for as long as this lives.
pub(crate) struct Coming<'a> {
    lane: &'a Arc<Lane>,
    /// Nobody waits for it.
    late: bool,
}

/// So many times a body may take, and be waited for, in the time that a chunk waits.
const WORTH_WAITING: u32 = 4;

impl<'a> Coming<'a> {
    pub(super) fn to(lane: &'a Arc<Lane>) -> Self {
        lane.company.coming.fetch_add(1, Ordering::SeqCst);
        Coming { lane, late: false }
    }

    /// It lies in a chunk, or does not: who holds the chunk gives it back now, and looks.
    pub(super) fn arrive(mut self) {
        if !std::mem::replace(&mut self.late, true) {
            self.lane.company.coming.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// What comes of `arriving`, which the request needs before it can be encoded. When that takes too long, nobody counts on it until it is there.
    pub(crate) async fn after<F: Future>(&mut self, arriving: F) -> F::Output {
        let mut arriving = pin!(arriving);
        if let Ok(here) = timeout(self.lane.rules.commit_interval / WORTH_WAITING, &mut arriving).await {
            return here;
        }
        self.leave();
        let here = arriving.await;
        self.lane.company.coming.fetch_add(1, Ordering::SeqCst);
        self.late = false;
        here
    }

    /// It has long work before it: nobody is to wait for that.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.late, true) {
            self.lane.company.leave(self.lane);
        }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A sealed chunk on its way to the spool, for as long as this lives.
pub(super) struct UnderWay(Arc<Lane>);

impl UnderWay {
    pub(super) fn of(lane: &Arc<Lane>) -> Self {
        lane.company.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(lane.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.company.is_last(&self.0.company.under_way) {
            self.0.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::super::tests::{Path, RULES, durable};
    use super::*;
    use crate::signal::Signal;
    use crate::spool::Spool;

    /// As many rows as a request needs to be worth a block of its own.
    const LARGE: &str = "large a=500";

    /// A lane whose chunks are never full.
    fn path() -> Path {
        Path::with(crate::config::Batch { max_chunk_rows: 1_000_000, ..RULES }, durable())
    }

    /// One goes while another finds that it has to wait: either it sees that nobody is there, or who goes sees that it waits.
    #[test]
    fn nobody_waits_for_who_is_gone_at_that_moment() {
        const ROUNDS: usize = 20_000;
        let (company, together, looks) = (Company::default(), Barrier::new(2), AtomicBool::default());
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    together.wait();
                    looks.store(company.is_last(&company.coming), Ordering::SeqCst);
                    together.wait();
                }
            });
            for _ in 0..ROUNDS {
                company.coming.store(1, Ordering::SeqCst);
                company.waited_for.store(false, Ordering::SeqCst);
                together.wait();
                let none = company.is_none();
                together.wait();
                assert!(none || looks.load(Ordering::SeqCst));
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_does_not_wait() {
        let path = path();
        let began = Instant::now();
        for _ in 0..3 {
            path.send(LARGE).await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_are_sealed_no_more_often_than_the_interval() {
        let path = path();
        path.send("r1 a=1").await.unwrap();
        let began = Instant::now();
        for request in ["r2 a=1", "r3 a=1"] {
            path.send(request).await.unwrap();
        }
        let took = began.elapsed();
        assert!((RULES.commit_interval..=3 * RULES.commit_interval).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_company_waits_for_it_and_never_longer_than_the_interval() {
        let path = path();
        let began = Instant::now();
        let coming = path.lanes.expect(Signal::Logs);
        path.send(LARGE).await.unwrap();
        let took = began.elapsed();
        assert!((RULES.commit_interval..2 * RULES.commit_interval).contains(&took), "{took:?}");

        let (began, waits) = (Instant::now(), path.send(LARGE));
        drop(coming);
        waits.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "who was waited for has gone away");

        let (other, began) = (path.lanes.expect(Signal::Traces), Instant::now());
        path.send(LARGE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "another lane is no company");
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_company_for_a_part_of_the_interval_only() {
        let path = path();
        let began = Instant::now();
        let mut coming = path.lanes.expect(Signal::Logs).unwrap();
        let (whole, arrives) = tokio::sync::oneshot::channel();
        let mut slow = Box::pin(coming.after(arrives));
        tokio::select! {
            _ = &mut slow => panic!("it has not arrived"),
            kept = path.send(LARGE) => drop(kept.unwrap()),
        }
        let took = began.elapsed();
        assert!((RULES.commit_interval / WORTH_WAITING..RULES.commit_interval).contains(&took), "{took:?}");

        let began = Instant::now();
        path.send(LARGE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "it is not waited for any more");

        whole.send(()).unwrap();
        slow.await.unwrap();
        path.send(LARGE).await.unwrap();
        assert!(began.elapsed() >= RULES.commit_interval, "once it is there it is company again");
        drop(coming);
        let began = Instant::now();
        path.send(LARGE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_work() {
        let path = path();
        let (began, long) = (Instant::now(), path.charge("wide a=65").unwrap());
        path.send(LARGE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "it is no company");
        drop(long);

        // This one waits for the interval, whatever is encoded meanwhile.
        let waits = path.send("r1 a=1");
        let _long = path.charge("wide a=65").unwrap();
        timeout(2 * RULES.commit_interval, waits).await.expect("it lies in another chunk").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_breaks_off_leaves_once() {
        let path = path();
        let mut coming = path.lanes.expect(Signal::Logs).unwrap();
        drop(timeout(2 * RULES.commit_interval, coming.after(std::future::pending::<()>())).await);
        drop(coming);
        let (began, other) = (Instant::now(), path.lanes.expect(Signal::Logs));
        path.send(LARGE).await.unwrap();
        assert!(began.elapsed() >= RULES.commit_interval, "the other one still counts");
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_refused_or_panics_keeps_nobody_waiting() {
        let path = path();
        let uncommitted = path.charge("dropped a=5").unwrap();
        let (began, waits) = (Instant::now(), path.send(LARGE));
        drop(uncommitted);
        waits.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);

        let append = std::panic::AssertUnwindSafe(|| path.charge("panic a=1").map(drop));
        assert!(std::panic::catch_unwind(append).is_err());
        path.send(LARGE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_spool_a_batch_may_wait_for_nobody_but_those_before_it() {
        let rules = crate::config::Batch { max_age: Duration::ZERO, ..RULES };
        let path = Path::with(rules, Spool::in_memory());
        path.sink.always("a", Some(crate::sink::fake::Act::Wait(Duration::from_secs(1))));
        let began = Instant::now();
        let first = path.send("r1 a=1");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (second, third) = (path.send("r2 a=1"), path.send("r3 a=1"));
        first.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        second.await.unwrap();
        third.await.unwrap();
        assert_eq!((began.elapsed(), path.sink.tokens("a").len()), (Duration::from_secs(2), 2));
    }
}
