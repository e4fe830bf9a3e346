//! The side of a request that waits: its client's, to whom it is said when the request is kept.

use tokio::sync::watch;

use super::repeat::Followed;
use crate::reply::{Away, Refusal};
use crate::waiting::{Fate, Rejected, unavailable};

/// Proof that every record of a request is kept (on disk, or in the sink), but for those that it names as rejected.
#[derive(Debug)]
pub(crate) struct Kept {
    rejected: Option<Rejected>,
}

impl Kept {
    /// What OTLP's `partial_success` is to name.
    pub(crate) fn rejected(&self) -> Option<&Rejected> {
        self.rejected.as_ref()
    }
}

/// The side that waits. Dropped before it knows, the client is gone and its answer lost.
#[must_use = "a request is not kept before its ticket says so"]
pub(crate) struct Ticket {
    fate: watch::Receiver<Fate>,
    followed: Option<Followed>,
    /// It joined another request, which may have been told [`Fate::Unknown`]: it waits on.
    joined: bool,
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

    /// The ticket of a request without records, or of which all are `left_out`: there is nothing to keep.
    pub(super) fn nothing_to_keep(left_out: Option<Rejected>) -> Self {
        let fate = watch::Sender::new(Fate::Kept(left_out)).subscribe();
        Ticket { fate, followed: None, joined: false }
    }

    /// Waits until the request is kept or known not to be.
    ///
    /// # Errors
    /// Why it is refused. After [`Away::Unknown`] something of it may be kept all the same.
    pub(crate) async fn kept(mut self) -> Result<Kept, Refusal> {
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
            // Before its client can know, and come again elsewhere.
            if matches!(fate, Fate::Kept(_)) {
                followed.kept().await;
            }
            followed.answered(&fate);
        }
        match fate {
            Fate::Kept(rejected) => Ok(Kept { rejected }),
            Fate::Refused(refusal) => Err(refusal),
            Fate::Open | Fate::Unknown => Err(unavailable(Away::Unknown)),
        }
    }
}
