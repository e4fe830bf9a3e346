//! Which shard a part goes to, where the sink has several.
//!
//! Shards take turns: a new part goes where the fewest parts of its table are under way, and of those to the one that had none for longest. So a shard
//! that is slow is given what it takes without delay. One whose last attempt failed is given nothing new while another does well; what was tried there
//! stays there, and tells when it does well again.
//!
//! Invariant: a part that has been given to a shard is never given to another.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::Pace;
use crate::sink::{Outcome, Shards};

/// A shard that failed, and of which nothing is under way that would tell, is tried again after so long.
const TRIED_AGAIN: Duration = Duration::from_secs(15);

/// One table's shards; a single nameless one where the sink has no shards.
#[derive(Debug)]
pub(super) struct Turns {
    names: Shards,
    /// Parts under way at one shard.
    at_once: usize,
    paces: Vec<Arc<Pace>>,
    state: Mutex<Vec<Shard>>,
    /// A seat is free, or a shard does well again.
    room: Notify,
}

#[derive(Debug, Clone, Default)]
struct Shard {
    taken: usize,
    failed: Option<Instant>,
    /// Which turn of all it had last.
    turn: u64,
}

impl Shard {
    fn is_well(&self) -> bool {
        self.failed.is_none_or(|at| self.taken == 0 && at.elapsed() >= TRIED_AGAIN)
    }
}

/// A part under way at a shard; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    turns: Arc<Turns>,
    place: usize,
}

impl Turns {
    pub(super) fn new(names: Shards, at_once: usize) -> Arc<Turns> {
        let count = names.len();
        Arc::new(Turns {
            names,
            at_once,
            paces: (0..count.max(1)).map(|_| Arc::default()).collect(),
            state: Mutex::new(vec![Shard::default(); count]),
            room: Notify::new(),
        })
    }

    /// How much a shard is given at once; without one, the sink.
    pub(super) fn pace(&self, seat: Option<&Seat>) -> Arc<Pace> {
        self.paces.get(seat.map_or(0, |seat| seat.place)).cloned().unwrap_or_default()
    }

    /// The most rows of an insert at the shard that takes the fewest.
    pub(super) fn limit(&self) -> Option<u64> {
        self.paces.iter().filter_map(|pace| pace.limit()).min()
    }

    /// Whether one of several shards takes what it is given.
    pub(super) fn any_is_well(&self) -> bool {
        self.state.lock().iter().any(Shard::is_well)
    }

    /// Waits until a shard may be given a part that was nowhere yet. `None` where there are no shards.
    pub(super) async fn choose(self: &Arc<Self>) -> Option<Seat> {
        if self.names.is_empty() {
            return None;
        }
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on nothing that is told is missed.
            room.as_mut().enable();
            if let Some(seat) = self.try_choose() {
                return Some(seat);
            }
            let _ = tokio::time::timeout(TRIED_AGAIN, room).await;
        }
    }

    fn try_choose(self: &Arc<Self>) -> Option<Seat> {
        let mut shards = self.state.lock();
        let any_is_well = shards.iter().any(Shard::is_well);
        let next = shards.iter().map(|shard| shard.turn).max().unwrap_or(0).saturating_add(1);
        let may = |shard: &Shard| shard.taken < self.at_once && (shard.is_well() || !any_is_well);
        let free = shards.iter_mut().enumerate().filter(|(_, shard)| may(shard));
        let (place, shard) = free.min_by_key(|(_, shard)| (shard.taken, shard.turn))?;
        (shard.taken, shard.turn) = (shard.taken + 1, next);
        Some(Seat { turns: self.clone(), place })
    }

    /// For a part that was given to this shard before; more of these may be under way than new ones would be.
    pub(super) fn return_to(self: &Arc<Self>, name: &str) -> Option<Seat> {
        let place = self.names.iter().position(|one| **one == *name)?;
        self.state.lock().get_mut(place)?.taken += 1;
        Some(Seat { turns: self.clone(), place })
    }
}

impl Seat {
    /// Which of the sink's shards it is.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The shard's name.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.turns.names.get(self.place)
    }

    /// An attempt ended. What the rows themselves are to blame for says nothing about the shard.
    pub(super) fn answered(&self, outcome: &Outcome) {
        let failed = match outcome {
            Outcome::Delivered | Outcome::DeliveredBut { .. } => None,
            outcome if outcome.is_too_much() => return,
            Outcome::Refused { .. } => return,
            Outcome::Doubtful { or_else } if matches!(**or_else, Outcome::Refused { .. }) => return,
            _ => Some(Instant::now()),
        };
        if let Some(shard) = self.turns.state.lock().get_mut(self.place) {
            shard.failed = failed;
        }
        self.turns.room.notify_waiters();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(shard) = self.turns.state.lock().get_mut(self.place) {
            shard.taken = shard.taken.saturating_sub(1);
        }
        self.turns.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(count: usize, at_once: usize) -> Arc<Turns> {
        Turns::new((0..count).map(|place| Arc::from(format!("s{place}"))).collect(), at_once)
    }

    fn retry() -> Outcome {
        Outcome::Retry { why: "no".to_owned(), after: None }
    }

    #[tokio::test(start_paused = true)]
    async fn shards_take_turns_and_the_slow_one_gets_what_it_takes() {
        let turns = turns(3, 2);
        for expected in [0, 1, 2, 0, 1] {
            assert_eq!(turns.choose().await.unwrap().place(), expected, "each is done before the next");
        }
        // The third keeps what it has.
        let slow = [turns.choose().await.unwrap(), turns.return_to("s2").unwrap()];
        assert!(slow.iter().all(|seat| seat.place() == 2));
        for _ in 0..10 {
            assert_ne!(turns.choose().await.unwrap().place(), 2);
        }
        drop(slow);
        assert_eq!(turns.choose().await.unwrap().place(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_gets_nothing_new_until_it_does_well() {
        let turns = turns(2, 4);
        let tried = turns.choose().await.unwrap();
        tried.answered(&retry());
        for _ in 0..10 {
            assert_eq!(turns.choose().await.unwrap().place(), 1);
        }
        tokio::time::advance(TRIED_AGAIN).await;
        assert_eq!(turns.choose().await.unwrap().place(), 1, "what was tried there tells");
        tried.answered(&Outcome::Delivered);
        drop(tried);
        assert_eq!(turns.choose().await.unwrap().place(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_which_nobody_tells_is_tried_again() {
        let turns = turns(2, 4);
        turns.choose().await.unwrap().answered(&retry());
        assert_eq!(turns.choose().await.unwrap().place(), 1);
        tokio::time::advance(TRIED_AGAIN).await;
        assert_eq!(turns.choose().await.unwrap().place(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_does_well_a_few_parts_ask() {
        let turns = turns(2, 1);
        let tried = [turns.choose().await.unwrap(), turns.choose().await.unwrap()];
        tried.iter().for_each(|seat| seat.answered(&retry()));
        assert!(!turns.any_is_well());
        let waiting = tokio::time::timeout(Duration::from_secs(60), turns.choose()).await;
        assert!(waiting.is_err(), "the rest waits");
        drop(tried);
        assert!(turns.choose().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_rows_are_to_blame_for_is_not_the_shards_fault() {
        let turns = turns(2, 1);
        let seat = turns.choose().await.unwrap();
        seat.answered(&Outcome::Refused { why: "no".to_owned() });
        seat.answered(&Outcome::TooMuch { why: "memory".to_owned(), sure: true });
        drop(seat);
        let _other = turns.choose().await.unwrap();
        assert_eq!(turns.choose().await.unwrap().place(), 0);
    }

    #[tokio::test]
    async fn without_shards_there_is_nothing_to_choose() {
        let turns = turns(0, 1);
        assert!(turns.choose().await.is_none() && !turns.any_is_well());
        assert_eq!(turns.pace(None).limit(), None);
    }
}
