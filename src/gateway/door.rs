//! Whether requests are let in. A gateway that is drained lets none in, knows when the last one has left, and goes on answering: a refusal
//! says when to come again, a closed port does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::counted::Apart;

/// Counts who is inside, so that none who was let in is forgotten when it shuts.
#[derive(Debug, Default)]
pub(super) struct Door {
    shut: AtomicBool,
    inside: Apart<AtomicUsize>,
    left: Notify,
}

/// A request that was let in, for as long as it lives.
pub(super) struct Inside<'a>(&'a Door);

impl Door {
    /// `None` once the door is shut. Counted first, asked then: who shuts it either is seen here or sees this one.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        self.inside.0.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self);
        (!self.shut.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Lets nobody in any more; returns when all who are inside have left.
    pub(super) async fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        loop {
            let left = self.left.notified();
            if self.inside.0.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.inside.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            // One waits, who may be about to: it is told even so.
            self.0.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_enters_a_shut_door_and_who_is_inside_is_waited_for() {
        let door = Door::default();
        let (first, second) = (door.enter().expect("open"), door.enter().expect("open"));
        let mut shutting = std::pin::pin!(door.shut());
        for one in [first, second] {
            assert!(tokio::time::timeout(Duration::from_secs(1), &mut shutting).await.is_err());
            assert!(door.enter().is_none());
            drop(one);
        }
        shutting.await;
        door.shut().await;
    }
}
