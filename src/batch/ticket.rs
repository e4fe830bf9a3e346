//! What a request holds while it waits to be kept, and who is still waited for.
//!
//! A request's memory belongs to its [`Waiting`] and not to the client's connection: a client that goes away does not free
//! what still lies in a chunk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use super::RETRY_AFTER;
use super::repeat::Followed;
use crate::admit::Admitted;
use crate::otlp::Memory;
use crate::reply::{Away, Refusal};

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

/// Proof that every record of a request is kept (on disk, or in the sink), but for those that it names as rejected.
#[derive(Debug)]
pub struct Kept {
    rejected: Option<Rejected>,
}

/// Records that are not kept, and are not to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub records: u64,
    /// In words, for the client.
    pub why: Arc<str>,
}

impl Kept {
    /// What OTLP's `partial_success` is to name.
    pub fn rejected(&self) -> Option<&Rejected> {
        self.rejected.as_ref()
    }
}

/// The side that will know: lies beside the request in its chunk, then in its batch. Dropped without an answer (something panicked) it
/// refuses the request as one of which something may have been kept.
pub(crate) struct Waiting {
    fate: watch::Sender<Fate>,
    memory: Admitted,
    column_bytes: u64,
    pending: Option<PendingGuard>,
}

/// The side that waits. Dropped before it knows, the client is gone and its answer lost.
#[must_use = "a request is not kept before its ticket says so"]
pub struct Ticket {
    fate: watch::Receiver<Fate>,
    followed: Option<Followed>,
    /// It joined another request, which may have been told [`Fate::Unknown`]: it waits on.
    joined: bool,
}

impl Waiting {
    /// `column_bytes` of the reserved memory are the columns in the chunk.
    pub(crate) fn new(memory: Admitted, column_bytes: u64, pending: &Arc<Pending>) -> (Self, watch::Receiver<Fate>) {
        let (fate, receiver) = watch::channel(Fate::Open);
        let waiting = Waiting { fate, memory, column_bytes, pending: Some(pending.guard()) };
        (waiting, receiver)
    }

    /// The chunk was compressed from `before` bytes to `after`: the request holds less from now on.
    pub(crate) fn compressed(&mut self, before: u64, after: u64) {
        let share = u128::from(self.column_bytes) * u128::from(before.saturating_sub(after));
        let freed = share.checked_div(u128::from(before)).unwrap_or(0);
        self.memory.shrink(u64::try_from(freed).unwrap_or(0));
    }

    /// Every record is kept.
    pub(crate) fn kept(self) {
        self.fate.send_replace(Fate::Kept(None));
    }

    /// Every record is kept, but for these.
    pub(crate) fn kept_but(self, rejected: Rejected) {
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

impl Ticket {
    /// The ticket of a request that was committed.
    pub(super) fn of(fate: watch::Receiver<Fate>, followed: Followed) -> Self {
        Ticket { fate, followed: Some(followed), joined: false }
    }

    /// The ticket of a request that repeats another one.
    pub(super) fn joining(fate: watch::Receiver<Fate>, followed: Followed) -> Self {
        Ticket { fate, followed: Some(followed), joined: true }
    }

    /// The ticket of a request without records: there is nothing to keep.
    pub(super) fn nothing_to_keep() -> Self {
        let fate = watch::Sender::new(Fate::Kept(None)).subscribe();
        Ticket { fate, followed: None, joined: false }
    }

    /// Waits until the request is kept or known not to be.
    ///
    /// # Errors
    /// Why it is refused. After [`Away::Unknown`] something of it may be kept all the same.
    pub async fn kept(mut self) -> Result<Kept, Refusal> {
        let joined = self.joined;
        let known = |fate: &Fate| match fate {
            Fate::Open => false,
            Fate::Unknown => !joined,
            Fate::Kept(_) | Fate::Refused(_) => true,
        };
        let fate = match self.fate.wait_for(known).await {
            Ok(fate) => fate.clone(),
            Err(_) => Fate::Unknown,
        };
        if let Some(followed) = &self.followed {
            followed.answered(&fate);
        }
        match fate {
            Fate::Kept(rejected) => Ok(Kept { rejected }),
            Fate::Refused(refusal) => Err(refusal),
            Fate::Open | Fate::Unknown => Err(unavailable(Away::Unknown)),
        }
    }
}

/// A refusal after which the client tries again.
pub(crate) fn unavailable(away: Away) -> Refusal {
    Refusal::Unavailable { away, retry_after: RETRY_AFTER }
}

/// Counts the requests that wait for their answer.
#[derive(Default)]
pub(crate) struct Pending {
    count: AtomicUsize,
    none: Notify,
}

struct PendingGuard(Arc<Pending>);

impl Pending {
    fn guard(self: &Arc<Self>) -> PendingGuard {
        self.count.fetch_add(1, Ordering::AcqRel);
        PendingGuard(self.clone())
    }

    /// Requests that wait now.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
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
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
