//! How many rows of a table may be under way at once.
//!
//! As much as there is, until the sink says that it was too much at once. Then at once half of what was under way, and for each insert that
//! uses that up a sixteenth more, until what was too much once has come to be taken again: a sink with too little memory refuses one insert in
//! some twelve, and one that had a short fit of it is soon itself again. An insert of more rows than that is divided before it is sent; one that cannot
//! be goes alone.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What part of the limit is added to it by an insert that uses it up.
const STEP: u64 = 16;

/// The rows of one table.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
    /// Less is under way, or more may be.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    limit: Option<Limit>,
    under_way: u64,
    /// Counts how often the limit shrank: what was sent before that says nothing about it.
    shrunk: u64,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    rows: u64,
    /// What was too much first.
    was_too_much: u64,
}

/// The right to have so many rows under way; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    pace: Arc<Pace>,
    rows: u64,
    /// Rows that were under way when it was given, with its own.
    beside: u64,
    shrunk: u64,
}

impl Pace {
    /// The most rows of an insert, and of all that are under way; `None`: as many as there are.
    pub(super) fn limit(&self) -> Option<u64> {
        self.state.lock().limit.map(|limit| limit.rows)
    }

    /// Waits until so many rows more may be under way. More than the limit are, when nothing else is.
    pub(super) async fn admit(self: &Arc<Self>, rows: u64) -> Pass {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on nothing that is told is missed.
            room.as_mut().enable();
            if let Some(pass) = self.try_admit(rows) {
                return pass;
            }
            room.await;
        }
    }

    fn try_admit(self: &Arc<Self>, rows: u64) -> Option<Pass> {
        let mut state = self.state.lock();
        let beside = state.under_way.saturating_add(rows);
        if state.under_way > 0 && state.limit.is_some_and(|limit| beside > limit.rows) {
            return None;
        }
        state.under_way = beside;
        Some(Pass { pace: self.clone(), rows, beside, shrunk: state.shrunk })
    }
}

impl Pass {
    /// The sink took it: a little more may be under way from now on, if this used up what may.
    pub(super) fn was_taken(&self) {
        let mut state = self.pace.state.lock();
        let Some(limit) = &mut state.limit else { return };
        if self.beside.saturating_mul(2) < limit.rows {
            return;
        }
        limit.rows = limit.rows.saturating_add((limit.rows / STEP).max(1));
        if limit.rows >= limit.was_too_much {
            state.limit = None;
        }
        drop(state);
        self.pace.room.notify_waiters();
    }

    /// It was too much at once. Answers the limit when it shrank.
    pub(super) fn was_too_much(&self) -> Option<u64> {
        let mut state = self.pace.state.lock();
        if self.shrunk != state.shrunk {
            return None;
        }
        // What came after it counts too, if it is still there.
        let together = self.beside.max(state.under_way);
        let half = (together / 2).max(1);
        let limit = state.limit.get_or_insert(Limit { rows: u64::MAX, was_too_much: together });
        limit.was_too_much = limit.was_too_much.max(together);
        if half >= limit.rows {
            return None;
        }
        limit.rows = half;
        state.shrunk += 1;
        Some(half)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.pace.state.lock();
        state.under_way = state.under_way.saturating_sub(self.rows);
        drop(state);
        self.pace.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn refused(pace: &Arc<Pace>, rows: u64) -> Option<u64> {
        pace.admit(rows).await.was_too_much()
    }

    async fn waits(pace: &Arc<Pace>, rows: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(1), pace.admit(rows)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_refusal_nothing_waits() {
        let pace = Arc::new(Pace::default());
        let _many = [pace.admit(1 << 40).await, pace.admit(1 << 40).await];
        assert_eq!(pace.limit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_halves_what_is_under_way_first_and_then_the_insert() {
        let pace = Arc::new(Pace::default());
        let (one, other) = (pace.admit(1000).await, pace.admit(1000).await);
        assert_eq!(other.was_too_much(), Some(1000));
        assert_eq!(one.was_too_much(), None, "they were under way together");
        assert!(waits(&pace, 1).await);
        drop((one, other));
        assert_eq!(refused(&pace, 1000).await, Some(500));
        assert_eq!(refused(&pace, 500).await, Some(250));
        let whole = pace.admit(1000).await;
        assert!(waits(&pace, 1).await, "what cannot be divided goes alone");
        assert_eq!(whole.was_too_much(), None, "and says nothing new");
        drop(whole);
        assert_eq!(pace.limit(), Some(250));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_comes_to_nothing() {
        let pace = Arc::new(Pace::default());
        assert_eq!(refused(&pace, 1).await, Some(1));
        assert_eq!(refused(&pace, 1).await, None);
        drop(pace.admit(5).await);
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_slowly_as_it_is_used_up_and_ends() {
        let pace = Arc::new(Pace::default());
        refused(&pace, 1000).await;
        pace.admit(100).await.was_taken();
        assert_eq!(pace.limit(), Some(500), "small inserts say nothing");
        pace.admit(500).await.was_taken();
        assert_eq!(pace.limit(), Some(531));
        let mut inserts = 1;
        while let Some(limit) = pace.limit() {
            pace.admit(limit).await.was_taken();
            inserts += 1;
        }
        assert_eq!(inserts, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_there_is_room() {
        let pace = Arc::new(Pace::default());
        refused(&pace, 1000).await;
        let first = pace.admit(400).await;
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.admit(200).await.rows }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), 200);
    }
}
