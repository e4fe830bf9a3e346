//! What a request holds while it waits to be kept, and who is still waited for.
//!
//! A request's memory belongs to its [`Waiting`] and not to the client's connection: a client that goes away does not free
//! what still lies in a chunk.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};

use super::RETRY_AFTER;
use crate::admit::Admitted;
use crate::otlp::Memory;
use crate::reply::{Away, Refusal};

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
    answer: oneshot::Sender<Result<Kept, Refusal>>,
    memory: Admitted,
    column_bytes: u64,
    _pending: PendingGuard,
}

/// The side that waits.
#[must_use = "a request is not kept before its ticket says so"]
pub struct Ticket(oneshot::Receiver<Result<Kept, Refusal>>);

impl Waiting {
    /// `column_bytes` of the reserved memory are the columns in the chunk.
    pub(crate) fn new(memory: Admitted, column_bytes: u64, pending: &Arc<Pending>) -> (Self, Ticket) {
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { answer, memory, column_bytes, _pending: pending.guard() };
        (waiting, Ticket(receiver))
    }

    /// The chunk was compressed from `before` bytes to `after`: the request holds less from now on.
    pub(crate) fn compressed(&mut self, before: u64, after: u64) {
        let share = u128::from(self.column_bytes) * u128::from(before.saturating_sub(after));
        let freed = share.checked_div(u128::from(before)).unwrap_or(0);
        self.memory.shrink(u64::try_from(freed).unwrap_or(0));
    }

    /// Every record is kept.
    pub(crate) fn kept(self) {
        self.send(Ok(Kept { rejected: None }));
    }

    /// Every record is kept, but for these.
    pub(crate) fn kept_but(self, rejected: Rejected) {
        let rejected = Some(rejected);
        self.send(Ok(Kept { rejected }));
    }

    /// The request is refused.
    pub(crate) fn refused(self, refusal: Refusal) {
        self.send(Err(refusal));
    }

    fn send(self, answer: Result<Kept, Refusal>) {
        // The client may be gone: then nobody is told.
        drop(self.answer.send(answer));
    }
}

impl Ticket {
    /// The ticket of a request without records: there is nothing to keep.
    pub(crate) fn nothing_to_keep() -> Self {
        let (sender, receiver) = oneshot::channel();
        drop(sender.send(Ok(Kept { rejected: None })));
        Ticket(receiver)
    }
}

impl Future for Ticket {
    type Output = Result<Kept, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(unavailable(Away::Unknown))))
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
