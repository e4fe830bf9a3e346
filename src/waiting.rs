//! What a request holds while it waits to be kept, and who is still waited for.
//!
//! A request's memory belongs to its [`Waiting`] and not to the client's connection: a client that goes away does not free
//! what still lies in a chunk. On the ground, because both know it: who groups requests ([`batch`](crate::batch)) and who learns what became of them
//! ([`deliver`](crate::deliver)).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::counted::Apart;
use crate::memory::Memory;
use crate::reply::{Away, Refusal};

/// When a client whose request cannot be kept now is asked to come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// Nobody knows yet.
    Open,
    /// Nobody knows yet, and its client was told so: its time is over.
    Unknown,
    /// Every record is kept, but for those that are rejected.
    Kept(Option<Rejected>),
    /// Nothing of it is kept.
    Refused(Refusal),
}

/// Records that are not kept, and are not to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// How many.
    pub(crate) records: u64,
    /// In words, for the client.
    pub(crate) why: Arc<str>,
}

/// The side that will know: lies beside the request in its chunk, then in its batch. Dropped without an answer (something panicked) it
/// refuses the request as one of which something may have been kept.
pub(crate) struct Waiting {
    fate: watch::Sender<Fate>,
    memory: Box<dyn Memory>,
    column_bytes: u64,
    /// Records that were left out before the others came into the chunk.
    left_out: Option<Rejected>,
    pending: Option<PendingGuard>,
}

impl Waiting {
    /// `column_bytes` of the reserved memory are the columns in the chunk.
    pub(crate) fn new(
        memory: Box<dyn Memory>,
        column_bytes: u64,
        left_out: Option<Rejected>,
        pending: &Arc<Pending>,
    ) -> (Self, watch::Receiver<Fate>) {
        let (fate, receiver) = watch::channel(Fate::Open);
        let waiting = Waiting { fate, memory, column_bytes, left_out, pending: Some(pending.guard()) };
        (waiting, receiver)
    }

    /// The chunk was compressed from `before` bytes to `after`: the request holds less from now on.
    pub(crate) fn compressed(&mut self, before: u64, after: u64) {
        let share = u128::from(self.column_bytes) * u128::from(before.saturating_sub(after));
        let freed = share.checked_div(u128::from(before)).unwrap_or(0);
        self.memory.shrink(u64::try_from(freed).unwrap_or(0));
    }

    /// Every record in the chunk is kept.
    pub(crate) fn kept(self) {
        self.fate.send_replace(Fate::Kept(self.left_out));
    }

    /// Every record in the chunk is kept, but for these.
    pub(crate) fn kept_but(self, rejected: Rejected) {
        let rejected = match self.left_out {
            None => rejected,
            Some(left_out) => Rejected {
                records: rejected.records + left_out.records,
                why: format!("{}; {}", left_out.why, rejected.why).into(),
            },
        };
        self.fate.send_replace(Fate::Kept(Some(rejected)));
    }

    /// Nothing of the request is kept.
    pub(crate) fn refused(self, refusal: Refusal) {
        self.fate.send_replace(Fate::Refused(refusal));
    }

    /// Its client's time is over, and something of the request may be kept. What will be known is said to a repeat of it.
    pub(crate) fn unknown(&mut self) {
        self.fate.send_replace(Fate::Unknown);
        self.pending = None;
    }
}

/// A refusal after which the client tries again.
pub(crate) fn unavailable(away: Away) -> Refusal {
    Refusal::Unavailable { away, retry_after: RETRY_AFTER }
}

/// Counts the requests that wait for their answer.
#[derive(Default)]
pub(crate) struct Pending {
    count: Apart<AtomicUsize>,
    none: Notify,
}

struct PendingGuard(Arc<Pending>);

impl Pending {
    fn guard(self: &Arc<Self>) -> PendingGuard {
        self.count.0.fetch_add(1, Ordering::AcqRel);
        PendingGuard(self.clone())
    }

    /// Requests that wait now.
    pub(crate) fn count(&self) -> usize {
        self.count.0.load(Ordering::Acquire)
    }

    /// Returns when nobody waits.
    pub(crate) async fn none(&self) {
        loop {
            let notified = self.none.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        if self.0.count.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
