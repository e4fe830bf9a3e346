//! A table's queue, and whether the table takes inserts: what waits for one that takes none keeps nobody else waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::part::{Job, Rank};
use super::turns::Turns;
use crate::signal::Signal;

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
    /// Those of them that say nothing about the table: [`Job::apart`].
    apart: usize,
    /// Something is in since a job came to be in trouble: whatever keeps that one, the table takes others.
    pub(super) took: bool,
    /// Since when it takes nothing, as far as is known.
    sick_since: Option<Instant>,
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
            apart: 0,
            took: false,
            sick_since: None,
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

    pub(super) fn set_apart(&mut self, before: bool, now: bool) {
        self.apart = (self.apart + usize::from(now)).saturating_sub(usize::from(before));
    }

    /// Jobs that wait for their turn.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Jobs that the lane waits for before it seals a batch by age: none of a table whose workers are all stuck.
    pub(super) fn counting(&self) -> usize {
        if self.takes_nothing() { 0 } else { self.fresh + self.working.saturating_sub(self.stuck) }
    }

    /// Since when it takes no inserts, or waits for a person; `None` when it does neither.
    pub(super) fn sick_since(&self) -> Option<Instant> {
        self.sick_since
    }

    /// To be called after every change.
    pub(super) fn note_health(&mut self) {
        let waits = self.held > self.apart && !self.takes_others();
        let sick = waits || self.takes_nothing();
        self.sick_since = sick.then(|| self.sick_since.unwrap_or_else(Instant::now));
    }

    fn takes_nothing(&self) -> bool {
        self.working > 0 && self.working == self.stuck && !self.takes_others()
    }

    fn takes_others(&self) -> bool {
        self.took || self.turns.any_is_well()
    }
}
