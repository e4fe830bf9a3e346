//! When a batch is sent, under which token, and when it is believed to be in: the same for every sink.
//!
//! Each part of a sealed batch is a job in its table's queue; a table has up to `inserts_per_table` workers. What was tried by an earlier
//! process goes first, then the oldest batch. A worker that pauses after a failure keeps its place, so a sink that is away is
//! asked by a few inserts and not by the whole backlog. A job that is held waits apart: it takes no worker from other jobs, and a table that is held holds
//! no other. So does one that an earlier process tried where only a look can tell what came of it, until [`STRAGGLERS`] is over.
//!
//! Read on in [`doubt`] (what follows from an answer), [`part`] (one part's course), [`piece`] (splitting what is refused),
//! [`shipment`] (when a batch may still be given up) and [`audience`] (who is told what).

mod audience;
mod doubt;
mod part;
mod piece;
mod shipment;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use audience::Audience;
pub use watch::TableHealth;

use crate::blocking;
use crate::metrics::{Metrics, OfSignal};
use crate::signal::Signal;
use crate::sink::{AfterUnknown, Sink};
use crate::spool::{Batch, Counts, Summary};
use part::{Job, Turn};
use shipment::Shipment;
use watch::Watch;

/// Pause of a job that waits for a person.
const HELD_PAUSE: Duration = Duration::from_secs(15);
/// Without a spool: how long a batch that nobody waits for any more is pursued because some of it may be in. A repeat of its requests
/// joins it for as long.
const LATE_FOR: Duration = Duration::from_secs(600);
/// Counted from the start of this process: what an earlier one had under way has arrived by then, though a proxy or a full socket
/// buffer held it back, and can be seen by a look. Where a table keeps tokens nothing has to wait for it.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// Pause before the disk is asked again to let a finished batch go.
const FINISH_PAUSE: Duration = Duration::from_secs(5);

/// All deliveries of the process.
pub struct Deliveries {
    sink: Arc<dyn Sink>,
    watch: Watch,
    inserts_per_table: usize,
    started: Instant,
    tables: Mutex<BTreeMap<Arc<str>, Table>>,
    lanes: [Backlog; 3],
    /// Batches that are not finished, by sequence.
    live: Mutex<BTreeMap<u64, Arc<Shipment>>>,
}

/// A table's queue.
#[derive(Default)]
struct Table {
    queue: BTreeMap<Rank, Job>,
    working: usize,
    held: usize,
    /// Not in the queue before [`STRAGGLERS`] is over.
    early: usize,
}

/// Tried by an earlier process first (`false` sorts before `true`), then the oldest batch.
type Rank = (bool, u64, u32);

/// What a lane has to deliver, without what is held or early.
#[derive(Default)]
struct Backlog {
    parts: AtomicUsize,
    none: Notify,
}

impl Deliveries {
    /// Delivers to `sink`, at most `inserts_per_table` at a time for one table.
    pub fn new(sink: Arc<dyn Sink>, inserts_per_table: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Deliveries {
            sink,
            watch: Watch::new(metrics),
            inserts_per_table: inserts_per_table.max(1),
            started: Instant::now(),
            tables: Mutex::default(),
            lanes: Default::default(),
            live: Mutex::default(),
        })
    }

    /// Takes over a sealed batch. Without a spool somebody waits for it, until `deadline`.
    pub(crate) fn take(self: &Arc<Self>, batch: Batch, waiting: Option<(Audience, Instant)>) {
        let (audience, deadline) = waiting.unzip();
        let batch = Arc::new(batch);
        let shipment = Shipment::new(batch.clone(), audience);
        self.count_batch(&batch, 1);
        self.live.lock().insert(batch.sequence(), shipment.clone());
        if let Some(deadline) = deadline {
            let shipment = shipment.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(deadline).await;
                shipment.deadline();
                tokio::time::sleep(LATE_FOR).await;
                shipment.expire();
            });
        }
        for (place, part) in batch.parts().iter().enumerate() {
            self.lane(batch.signal()).began();
            let job = Job::new(shipment.clone(), part.clone(), place);
            if !batch.is_due(part.id) {
                self.settled(&job);
            } else if self.is_early(&job) {
                self.push_early(job);
            } else {
                self.push(job);
            }
        }
        if batch.parts().is_empty() {
            tokio::spawn(self.clone().finish(shipment));
        }
    }

    /// Whether a lane has nothing to deliver; what is held by an alert does not count.
    pub(crate) fn is_idle(&self, signal: Signal) -> bool {
        self.lane(signal).parts.load(Ordering::Acquire) == 0
    }

    /// Returns when a lane has come to have nothing to deliver. For one waiter a lane.
    pub(crate) async fn idle(&self, signal: Signal) {
        self.lane(signal).none.notified().await;
    }

    /// How each table does.
    pub fn tables(&self) -> BTreeMap<Arc<str>, TableHealth> {
        let mut health = self.watch.tables();
        for (name, table) in self.tables.lock().iter() {
            let health = health.entry(name.clone()).or_default();
            health.working = table.working;
            health.waiting = table.queue.len() + table.early;
            health.held = table.held;
        }
        health
    }

    /// The batches that are not finished, oldest first, without blocking for long: their files are not read.
    pub fn batches(&self) -> Vec<Summary> {
        self.live.lock().values().map(|shipment| shipment.batch.summary()).collect()
    }

    /// When the oldest unfinished batch was opened, in milliseconds since 1970.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.live.lock().values().map(|shipment| shipment.batch.created_ms()).min()
    }

    /// Rows that wait for a person to mend something, by key and table.
    pub fn held(&self) -> Counts {
        let mut held = Counts::default();
        self.live.lock().values().for_each(|shipment| held.add(&shipment.held()));
        held
    }

    /// Whether a batch of this number is here and not finished.
    pub fn has(&self, sequence: u64) -> bool {
        self.live.lock().contains_key(&sequence)
    }

    /// A person drops what is not in of an unfinished batch. False when nothing is left to be dropped: it is dropped already, or everything in
    /// it is settled and its file is about to go, or there is none of this number.
    pub fn drop_batch(&self, sequence: u64) -> bool {
        self.live.lock().get(&sequence).is_some_and(|shipment| shipment.drop_rest())
    }

    fn lane(&self, signal: Signal) -> &Backlog {
        &self.lanes[signal.index()]
    }

    /// Whether what an earlier process had under way may still arrive, and would then be stored twice.
    fn is_early(&self, job: &Job) -> bool {
        let rule = || self.sink.after_unknown(&job.part.name.table, Duration::MAX);
        job.tried_before && self.started.elapsed() < STRAGGLERS && rule() == AfterUnknown::Look
    }

    /// Pushed when [`STRAGGLERS`] is over. The lane does not wait for it: new batches are sealed as if it was not there.
    fn push_early(self: &Arc<Self>, job: Job) {
        let (name, signal) = (job.part.name.table.clone(), job.shipment.batch.signal());
        self.tables.lock().entry(name.clone()).or_default().early += 1;
        self.lane(signal).ended();
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(this.started + STRAGGLERS) => {}
                () = job.shipment.given_up() => {}
            }
            if let Some(table) = this.tables.lock().get_mut(&name) {
                table.early -= 1;
            }
            this.lane(signal).began();
            this.push(job);
        });
    }

    fn push(self: &Arc<Self>, job: Job) {
        let name = job.part.name.table.clone();
        let mut tables = self.tables.lock();
        let table = tables.entry(name.clone()).or_default();
        table.queue.insert(job.rank(), job);
        if table.working < self.inserts_per_table {
            table.working += 1;
            tokio::spawn(self.clone().work(name));
        }
    }

    /// A worker: as long as its table has jobs.
    async fn work(self: Arc<Self>, name: Arc<str>) {
        while let Some(job) = self.pop(&name) {
            let this = self.clone();
            // A task of its own, so that a panic in a sink costs one part its delivery until the next start, not the table a worker.
            let turn = tokio::spawn(async move { this.turn(job).await });
            if turn.await.is_err() {
                tracing::error!(table = %name, "a delivery panicked; its batch stays in the spool until the next start");
            }
        }
    }

    async fn turn(self: Arc<Self>, mut job: Job) {
        let was_held = job.held.is_some();
        let turn = job.turn(self.sink.as_ref(), &self.watch).await;
        let signal = job.shipment.batch.signal();
        match turn {
            Turn::Held => {
                if !was_held {
                    self.set_held(&job, true);
                    self.lane(signal).ended();
                }
                tokio::spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(doubt::jittered(HELD_PAUSE)) => {}
                        () = job.shipment.given_up() => {}
                    }
                    self.push(job);
                });
            }
            Turn::Settled => {
                if was_held {
                    self.set_held(&job, false);
                    self.lane(signal).began();
                }
                self.settled(&job);
            }
        }
    }

    fn pop(&self, name: &Arc<str>) -> Option<Job> {
        let mut tables = self.tables.lock();
        let table = tables.get_mut(name)?;
        let next = table.queue.pop_first();
        if next.is_none() {
            table.working -= 1;
        }
        next.map(|(_, job)| job)
    }

    fn set_held(&self, job: &Job, held: bool) {
        let table = &job.part.name.table;
        job.shipment.set_held(table, held);
        self.watch.held(table, if held { 1 } else { -1 });
        let mut tables = self.tables.lock();
        let table = tables.entry(table.clone()).or_default();
        table.held = if held { table.held + 1 } else { table.held.saturating_sub(1) };
    }

    fn settled(self: &Arc<Self>, job: &Job) {
        let last = job.shipment.settled(&job.part);
        if last {
            tokio::spawn(self.clone().finish(job.shipment.clone()));
        }
        self.lane(job.shipment.batch.signal()).ended();
    }

    /// Nothing more is to be done for a batch: its file goes away.
    async fn finish(self: Arc<Self>, shipment: Arc<Shipment>) {
        let (given_up, dropped) = (shipment.is_given_up(), shipment.is_dropped());
        loop {
            let batch = shipment.batch.clone();
            let end = move || match (given_up, dropped) {
                (_, true) => batch.drop_rest(),
                (true, false) => batch.abandon(),
                (false, false) => batch.finish(),
            };
            let Err(error) = blocking::run_io(end).await else {
                break;
            };
            let batch = shipment.batch.sequence();
            tracing::error!(batch, %error, "the spool's disk fails; a delivered batch keeps its file until it works again");
            tokio::time::sleep(FINISH_PAUSE).await;
        }
        self.live.lock().remove(&shipment.batch.sequence());
        self.count_batch(&shipment.batch, -1);
        if !given_up {
            let of = OfSignal { signal: shipment.batch.signal().name() };
            self.watch.metrics().batches_delivered.get_or_create(&of).inc();
        }
    }

    fn count_batch(&self, batch: &Batch, sign: i64) {
        let of = OfSignal { signal: batch.signal().name() };
        let bytes: u64 = batch.parts().iter().map(|part| part.bytes).sum();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let metrics = self.watch.metrics();
        metrics.batches_waiting.get_or_create(&of).inc_by(sign);
        metrics.batch_bytes_waiting.get_or_create(&of).inc_by(sign.saturating_mul(bytes));
    }
}

impl Job {
    fn rank(&self) -> Rank {
        (!self.tried_before, self.shipment.batch.sequence(), self.part.id)
    }
}

impl Backlog {
    fn began(&self) {
        self.parts.fetch_add(1, Ordering::AcqRel);
    }

    fn ended(&self) {
        if self.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_one();
        }
    }
}
