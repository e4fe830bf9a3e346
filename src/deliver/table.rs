//! A table's queue, and whether the table takes inserts: what waits for one that takes none keeps nobody else waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::Deliveries;
use super::part::Job;
use super::turns::Turns;
use crate::signal::Signal;

/// Tried by an earlier process first (`false` sorts before `true`), then the oldest batch.
pub(super) type Rank = (bool, u64, u32);

/// A table's jobs.
pub(super) struct Table {
    /// The lane that feeds it.
    pub(super) signal: Signal,
    queue: BTreeMap<Rank, Job>,
    /// Those in the queue that are not held.
    fresh: usize,
    /// Workers.
    pub(super) working: usize,
    /// Workers whose job's last attempt failed.
    pub(super) stuck: usize,
    /// Parts that wait for a person.
    pub(super) held: usize,
    /// Not in the queue before what an earlier process had under way has arrived.
    pub(super) early: usize,
    /// Its shards' turns, and how much each is given at once.
    pub(super) turns: Arc<Turns>,
    /// Told when a part that was held is in.
    pub(super) mended: Arc<Notify>,
}

impl Table {
    pub(super) fn new(signal: Signal, turns: Arc<Turns>) -> Table {
        Table {
            signal,
            queue: BTreeMap::new(),
            fresh: 0,
            working: 0,
            stuck: 0,
            held: 0,
            early: 0,
            turns,
            mended: Arc::default(),
        }
    }

    pub(super) fn push(&mut self, rank: Rank, job: Job) {
        self.fresh += usize::from(job.held.is_none());
        self.queue.insert(rank, job);
    }

    /// The next job of a worker, which ends without one.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let next = self.queue.pop_first();
        match &next {
            Some((_, job)) => self.fresh -= usize::from(job.held.is_none()),
            None => self.working -= 1,
        }
        next.map(|(_, job)| job)
    }

    /// Jobs that wait for their turn.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Jobs that the lane waits for before it seals a batch by age: none of a table whose workers are all stuck.
    pub(super) fn counting(&self) -> usize {
        if self.takes_nothing() { 0 } else { self.fresh + self.working.saturating_sub(self.stuck) }
    }

    /// Takes no inserts now, or waits for a person.
    pub(super) fn is_sick(&self) -> bool {
        (self.held > 0 && !self.turns.any_is_well()) || self.takes_nothing()
    }

    fn takes_nothing(&self) -> bool {
        self.working > 0 && self.working == self.stuck && !self.turns.any_is_well()
    }
}

/// How a job stands with the workers of its table, for one turn.
#[derive(Default)]
pub(super) struct Standing {
    stuck: AtomicBool,
    aside: AtomicBool,
    stepped_aside: Notify,
}

impl Standing {
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
            });
        }
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}
