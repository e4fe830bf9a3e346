//! Keys take turns at long work: what inflates, transcodes or encodes more than a reactor's thread does in passing is done by as many at once as there are cores, and who comes next is
//! the key that has had the least of their time (start-time fair queueing: a key that had nothing to do begins where the others stand). So a key with a thousand large requests does not
//! keep another key's one waiting for more than what is being done at that moment. Long work that can pause asks again in the middle.
//!
//! Short work, which is most, takes no turn and costs nothing here: it never waits, so there would be no one to choose from, and a key's requests a second bound it.
//!
//! Invariants: a place is free only while nobody waits. Who waits longer than [`PATIENCE`], or behind [`MOST_WAITING`] of its own key, is refused and told to come again, so
//! that the line stays short and memory does not fill with who stands in it. Whoever goes away, in the line or at work, leaves no gap: a turn is given on when it is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::keys::KeyState;
use crate::reply::{Away, Refusal};

/// Half of the time that OpenTelemetry's SDKs give a request by default.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of one key. Each holds memory, too, of which its key has a share.
const MOST_WAITING: usize = 256;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places at which long work is done, and who waits for one.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Places>);

#[derive(Debug)]
struct Places {
    opened: Instant,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    free: usize,
    /// Where keys stand: what the last one to begin had had by then.
    clock: Duration,
    lines: Vec<Line>,
}

/// A key that works or waits.
#[derive(Debug)]
struct Line {
    key: Arc<KeyState>,
    /// Time of places that it had, apart from the turns that it has now.
    served: Duration,
    working: u32,
    /// When those began, all together.
    began: Duration,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A place, for as long as this lives.
#[derive(Debug)]
pub(super) struct Turn {
    places: Arc<Places>,
    key: Arc<KeyState>,
    began: Duration,
    /// It never began: there is nothing to give on.
    void: bool,
}

/// Somebody in a line.
struct InLine<'a> {
    places: &'a Places,
    key: &'a Arc<KeyState>,
    turn: oneshot::Receiver<Turn>,
}

impl Turns {
    /// As many at once as there are cores.
    pub(super) fn of_cores() -> Self {
        Turns::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn new(places: usize) -> Self {
        let queue = Mutex::new(Queue { free: places, clock: Duration::ZERO, lines: Vec::new() });
        Turns(Arc::new(Places { opened: Instant::now(), queue }))
    }

    /// A turn, at once where a place is free. Who `had` one keeps it, unless another key that had less waits: then it stands first in its own line.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with [`Away::Busy`].
    pub(super) async fn take(&self, key: &Arc<KeyState>, had: Option<Turn>) -> Result<Turn, Refusal> {
        let places = &self.0;
        let waits = {
            let (mut queue, now) = (places.queue.lock(), places.now());
            if had.is_some() && !queue.wanted_by_another(key, now) {
                return had.ok_or_else(busy);
            }
            if had.is_none() && queue.free > 0 {
                queue.free -= 1;
                queue.begin(key, now);
                return Ok(Turn::new(places, key, now));
            }
            let line = queue.line(key);
            if line.waiting.len() >= MOST_WAITING {
                return Err(busy());
            }
            let (sender, turn) = oneshot::channel();
            match had {
                Some(_) => line.waiting.push_front(sender),
                None => line.waiting.push_back(sender),
            }
            InLine { places, key, turn }
        };
        drop(had);
        waits.wait().await
    }

    /// Requests in all lines.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.0.queue.lock().lines.iter().map(|line| line.waiting.len()).sum()
    }
}

impl InLine<'_> {
    async fn wait(mut self) -> Result<Turn, Refusal> {
        timeout(PATIENCE, &mut self.turn).await.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.turn.close();
        let mut queue = self.places.queue.lock();
        queue.line(self.key).waiting.retain(|sender| !sender.is_closed());
        queue.forget_idle();
    }
}

impl Places {
    fn now(&self) -> Duration {
        self.opened.elapsed()
    }
}

impl Turn {
    fn new(places: &Arc<Places>, key: &Arc<KeyState>, began: Duration) -> Self {
        Turn { places: places.clone(), key: key.clone(), began, void: false }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.void {
            return;
        }
        let (mut queue, now) = (self.places.queue.lock(), self.places.now());
        let line = queue.line(&self.key);
        line.served += now.saturating_sub(self.began);
        line.working = line.working.saturating_sub(1);
        line.began = line.began.saturating_sub(self.began);
        while let Some((key, next)) = queue.next(now) {
            match next.send(Turn::new(&self.places, &key, now)) {
                Ok(()) => {
                    queue.begin(&key, now);
                    return queue.forget_idle();
                }
                Err(mut turn) => turn.void = true,
            }
        }
        queue.free += 1;
        queue.forget_idle();
    }
}

impl Queue {
    fn line(&mut self, key: &Arc<KeyState>) -> &mut Line {
        let place = self.lines.iter().position(|line| Arc::ptr_eq(&line.key, key)).unwrap_or_else(|| {
            let served = self.clock;
            let (began, waiting) = (Duration::ZERO, VecDeque::new());
            self.lines.push(Line { key: key.clone(), served, working: 0, began, waiting });
            self.lines.len() - 1
        });
        &mut self.lines[place]
    }

    fn begin(&mut self, key: &Arc<KeyState>, now: Duration) {
        let line = self.line(key);
        let had = line.had(now);
        line.working += 1;
        line.began += now;
        self.clock = self.clock.max(had);
    }

    /// Of the keys that wait the one that had least, of equal ones the one that works least; and who is first in its line.
    fn next(&mut self, now: Duration) -> Option<(Arc<KeyState>, oneshot::Sender<Turn>)> {
        let waiting = self.lines.iter_mut().filter(|line| !line.waiting.is_empty());
        let line = waiting.min_by_key(|line| (line.had(now), line.working))?;
        Some((line.key.clone(), line.waiting.pop_front()?))
    }

    fn wanted_by_another(&mut self, key: &Arc<KeyState>, now: Duration) -> bool {
        let had = self.line(key).had(now);
        self.lines.iter().any(|line| !Arc::ptr_eq(&line.key, key) && !line.waiting.is_empty() && line.had(now) < had)
    }

    fn forget_idle(&mut self) {
        self.lines.retain(|line| line.working > 0 || !line.waiting.is_empty());
    }
}

impl Line {
    fn had(&self, now: Duration) -> Duration {
        self.served + now.saturating_mul(self.working).saturating_sub(self.began)
    }
}

fn busy() -> Refusal {
    Refusal::Unavailable { away: Away::Busy, retry_after: RETRY_AFTER }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;
    use crate::keys::{KeyRing, testing::entry};

    fn key() -> Arc<KeyState> {
        KeyRing::new(vec![entry("k", "k", 1)]).find(b"k").unwrap().state.clone()
    }

    /// Works for `millis` when its turn has come; says when it began.
    fn work(turns: &Turns, key: &Arc<KeyState>, millis: u64) -> JoinHandle<Result<Duration, Refusal>> {
        let (turns, key) = (turns.clone(), key.clone());
        tokio::spawn(async move {
            let _turn = turns.take(&key, None).await?;
            let began = turns.0.now();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(began)
        })
    }

    async fn settle() {
        for _ in 0..600 {
            tokio::task::yield_now().await;
        }
    }

    fn idle(turns: &Turns, places: usize) {
        let queue = turns.0.queue.lock();
        assert_eq!((queue.free, queue.lines.len()), (places, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_with_one_request_is_next_whatever_another_has_waiting() {
        let (turns, many, one) = (Turns::new(2), key(), key());
        let flood: Vec<_> = (0..1000).map(|_| work(&turns, &many, 100)).collect();
        settle().await;
        assert_eq!(turns.waiting(), MOST_WAITING, "those behind them are sent away at once");
        tokio::time::sleep(Duration::from_millis(350)).await;
        let began = work(&turns, &one, 100).await.unwrap().unwrap();
        assert!(began <= Duration::from_millis(400), "{began:?}");
        let mut outcomes = Vec::new();
        for task in flood {
            outcomes.push(task.await.unwrap());
        }
        // Two at a time, of 100 ms: who waited longer than anybody does was told to come again.
        let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!((95..=105).contains(&served), "{served}");
        assert!(outcomes.iter().flatten().all(|began| *began <= PATIENCE));
        let busy = |outcome: &Result<_, _>| matches!(outcome, Err(Refusal::Unavailable { away: Away::Busy, .. }));
        assert!(outcomes.iter().all(|outcome| outcome.is_ok() || busy(outcome)));
        idle(&turns, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_have_the_same_time_not_the_same_number_of_turns() {
        let (turns, long, short) = (Turns::new(1), key(), key());
        let longs: Vec<_> = (0..20).map(|_| work(&turns, &long, 400)).collect();
        let shorts: Vec<_> = (0..80).map(|_| work(&turns, &short, 20)).collect();
        tokio::time::sleep(Duration::from_millis(1790)).await;
        // What each began in 1.8 s of which each has half: two or three long ones, and 40 short ones or a few more.
        let left = turns.0.queue.lock().lines.iter().map(|line| line.waiting.len()).collect::<Vec<_>>();
        let begun = (20 - left[0], 80 - left[1]);
        assert!((2..=3).contains(&begun.0) && (25..=60).contains(&begun.1), "{begun:?}");
        drop((longs, shorts));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_saves_nothing_up() {
        let (turns, busy, late) = (Turns::new(1), key(), key());
        for _ in 0..100 {
            work(&turns, &busy, 100).await.unwrap().unwrap();
        }
        let began = turns.0.now();
        let lates: Vec<_> = (0..10).map(|_| work(&turns, &late, 100)).collect();
        settle().await;
        let first = work(&turns, &busy, 100).await.unwrap().unwrap();
        assert!(first - began <= Duration::from_millis(200), "it does not make up for what it did before: {first:?}");
        for task in lates {
            task.await.unwrap().unwrap();
        }
        idle(&turns, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_makes_way_in_the_middle_and_goes_on_before_its_own_keys_next() {
        let (turns, many, one) = (Turns::new(1), key(), key());
        let turn = turns.take(&many, None).await.unwrap();
        let next = work(&turns, &many, 10);
        settle().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let turn = turns.take(&many, Some(turn)).await.unwrap();
        assert_eq!(turns.waiting(), 1, "its own key's next does not come between");
        let other = work(&turns, &one, 10);
        settle().await;
        let before = turns.0.now();
        let turn = turns.take(&many, Some(turn)).await.unwrap();
        assert_eq!(other.await.unwrap(), Ok(before));
        assert_eq!(turns.waiting(), 1);
        drop(turn);
        next.await.unwrap().unwrap();
        idle(&turns, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_or_panics_leaves_no_gap() {
        let (turns, one, two) = (Turns::new(1), key(), key());
        let turn = turns.take(&one, None).await.unwrap();
        let gone: Vec<_> = (0..50).map(|_| work(&turns, &two, 10)).collect();
        let stays = work(&turns, &two, 10);
        settle().await;
        gone.iter().for_each(JoinHandle::abort);
        settle().await;
        assert_eq!(turns.waiting(), 1, "nothing of those who went away remains in the line");
        let panics = {
            let (turns, one) = (turns.clone(), one.clone());
            tokio::spawn(async move {
                let _turn = turns.take(&one, None).await;
                panic!("on purpose");
            })
        };
        settle().await;
        // Given a turn and gone before it was taken up.
        let given = work(&turns, &key(), 10);
        settle().await;
        drop(turn);
        given.abort();
        assert!(panics.await.is_err());
        stays.await.unwrap().unwrap();
        settle().await;
        idle(&turns, 1);
    }
}
