//! Whether a job fails, and so keeps a worker of its table from others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::Deliveries;
use crate::signal::Signal;

/// How a job stands with the workers of its table, for one turn.
#[derive(Default)]
pub(super) struct Standing {
    stuck: AtomicBool,
    aside: AtomicBool,
    stepped_aside: Notify,
    /// It has failed before, in this turn or an earlier one.
    troubled: AtomicBool,
}

impl Standing {
    /// For the job's next turn.
    pub(super) fn next_turn(&self) -> Standing {
        Standing { troubled: self.troubled.load(Ordering::Acquire).into(), ..Standing::default() }
    }

    /// Whether this is the job's first trouble.
    pub(super) fn is_new_trouble(&self) -> bool {
        !self.troubled.swap(true, Ordering::AcqRel)
    }

    /// The file of its batch gives or takes nothing: its worker goes on with other jobs, and it waits by itself.
    pub(super) fn step_aside(&self) {
        if !self.aside.swap(true, Ordering::AcqRel) {
            self.stepped_aside.notify_one();
        }
    }

    /// Returns when it has stepped aside.
    pub(super) async fn stepped_aside(&self) {
        self.stepped_aside.notified().await;
    }

    /// Whether its worker counted as stuck; no longer.
    pub(super) fn take_stuck(&self) -> bool {
        self.stuck.swap(false, Ordering::AcqRel)
    }
}

/// Whether a worker's job fails, for as long as it is worked on.
pub(super) struct Stuck<'a> {
    deliveries: &'a Deliveries,
    table: &'a Arc<str>,
    signal: Signal,
    standing: Arc<Standing>,
}

impl<'a> Stuck<'a> {
    pub(super) fn new(
        deliveries: &'a Deliveries,
        table: &'a Arc<str>,
        signal: Signal,
        standing: Arc<Standing>,
    ) -> Self {
        Stuck { deliveries, table, signal, standing }
    }

    /// Its last attempt failed, or did not.
    pub(super) fn set(&self, stuck: bool) {
        // Aside, it is no worker's.
        let aside = self.standing.aside.load(Ordering::Acquire);
        if !aside && self.standing.stuck.swap(stuck, Ordering::AcqRel) != stuck {
            self.deliveries.with_table(self.table, self.signal, |table| {
                table.stuck = if stuck { table.stuck + 1 } else { table.stuck.saturating_sub(1) };
                table.took &= !(stuck && self.standing.is_new_trouble());
            });
        }
    }

    /// Some of it is in.
    pub(super) fn took(&self) {
        self.set(false);
        self.deliveries.with_table(self.table, self.signal, |table| table.took = true);
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}
