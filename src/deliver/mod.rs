//! When a batch is sent, under which token, and when it is believed to be in: the same for every sink.
//!
//! A job is one part of a sealed batch: one insert into one table. It waits in its table's queue, and a table has up to `inserts_per_table` workers, so
//! that a table that takes nothing keeps no other waiting.
//!
//! - What an earlier process tried goes first: what came of it is not known, and the longer nobody asks, the less can be told (a table keeps its
//!   tokens for a time only). Then the oldest batch, so that rows arrive about in the order in which they were sent.
//! - A worker that pauses after a failure keeps its job. A sink that is away is then asked by a few inserts and not by the whole backlog.
//! - A job that is held waits for a person, which may take days: it waits outside of the queue and takes no worker from other jobs.
//! - An early job is one that an earlier process tried, and of which only a look can tell whether it is in. That process's insert may still be on its
//!   way, and a look before it arrives would find nothing: the rows would go again, and be there twice. It waits outside too, until [`STRAGGLERS`] is
//!   over.
//!
//! Read on in [`doubt`] (what follows from an answer), [`part`] (one part's course), [`piece`] (dividing what the sink does not take),
//! [`pace`] (how much a table is given at once), [`turns`] (which of several shards a part goes to),
//! [`sealing`] (when a lane may seal its batch by age), [`shipment`] (when a batch may still be given up) and [`audience`] (who is told what).

mod audience;
mod doubt;
mod pace;
mod part;
mod piece;
mod sealing;
mod shipment;
mod standing;
mod table;
mod turns;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch as watch_channel};
use tokio::time::Instant;

pub(crate) use audience::Audience;
pub(crate) use watch::{ShardHealth, TableHealth};

use crate::blocking;
use crate::metrics::{Metrics, OfSignal};
use crate::signal::Signal;
use crate::sink::{AfterUnknown, Shards, Sink};
use crate::spool::{Batch, Counts, Summary};
use part::{Context, Job, Turn};
use shipment::Shipment;
use standing::Stuck;
use table::Table;
use turns::Turns;
use watch::{Report, Watch};

/// Longest pause of a job that waits for a person.
const HELD_PAUSE: Duration = Duration::from_secs(15);
/// Without a spool: how long a batch that nobody waits for any more is pursued because some of it may be in. A repeat of its requests
/// joins it for as long.
const LATE_FOR: Duration = Duration::from_secs(600);
/// Counted from the start of this process: what an earlier one had under way has arrived by then, though a proxy or a full socket
/// buffer held it back, and can be seen by a look. Where a table keeps tokens nothing has to wait for it.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// Why a part is held whose delivery panicked.
const PANICKED: &str =
    "the delivery panicked, which is a fault of otelgate's own: the log has its place, please report it";
/// Pause before the disk is asked again to let a finished batch go.
const FINISH_PAUSE: Duration = Duration::from_secs(5);

/// All deliveries of the process.
pub(crate) struct Deliveries {
    sink: Arc<dyn Sink>,
    watch: Watch,
    /// At one shard, where the sink has several.
    inserts_per_table: usize,
    shards: Shards,
    started: Instant,
    tables: Mutex<BTreeMap<Arc<str>, Table>>,
    /// By lane: it came to have nothing to deliver that counts.
    idle: [Notify; Signal::ALL.len()],
    /// Batches that are not finished, by sequence.
    live: Mutex<BTreeMap<u64, Arc<Shipment>>>,
}

impl Deliveries {
    /// Delivers to `sink`, at most `inserts_per_table` at a time for one table, at each of its shards.
    pub(crate) fn new(sink: Arc<dyn Sink>, inserts_per_table: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let shards = sink.shards();
        Arc::new(Deliveries {
            sink,
            watch: Watch::new(metrics, shards.len()),
            shards,
            inserts_per_table: inserts_per_table.max(1),
            started: Instant::now(),
            tables: Mutex::default(),
            idle: Default::default(),
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

    /// Whether nothing is being delivered or waits for its turn; what is held or early is neither.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.tables.lock().values().all(|table| table.working == 0 && table.queued() == 0)
    }

    /// How each table does.
    pub(crate) fn tables(&self) -> BTreeMap<Arc<str>, TableHealth> {
        let mut health = self.watch.tables();
        for (name, table) in self.tables.lock().iter() {
            let health = health.entry(name.clone()).or_default();
            health.working = table.working;
            health.waiting = table.queued() + table.early;
            health.held = table.held;
            health.rows_at_once = table.turns.limit();
        }
        health
    }

    /// How each shard does, by its name, in the order of the configuration; none where the sink has no shards.
    pub(crate) fn shards(&self) -> Vec<(Arc<str>, ShardHealth)> {
        self.shards.iter().cloned().zip(self.watch.shards()).collect()
    }

    /// The batches that are not finished, oldest first, without blocking for long: their files are not read.
    pub(crate) fn batches(&self) -> Vec<Summary> {
        let tables = self.watch.tables();
        let wrong = |table: &str| tables.get(table).and_then(TableHealth::wrong_now);
        self.live.lock().values().map(|shipment| shipment.summary(wrong)).collect()
    }

    /// When the oldest unfinished batch was opened, in milliseconds since 1970.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.live.lock().values().map(|shipment| shipment.batch.created_ms()).min()
    }

    /// Rows that wait for a person to mend something, by key and table.
    pub(crate) fn held(&self) -> Counts {
        let mut held = Counts::default();
        self.live.lock().values().for_each(|shipment| held.add(&shipment.held()));
        held
    }

    /// Whether a batch of this number is here and not finished.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.live.lock().contains_key(&sequence)
    }

    /// A person drops what is not in of an unfinished batch. False when nothing is left to be dropped: it is dropped already, or everything in
    /// it is settled and its file is about to go, or there is none of this number.
    pub(crate) fn drop_batch(&self, sequence: u64) -> bool {
        self.live.lock().get(&sequence).is_some_and(|shipment| shipment.drop_rest())
    }

    /// Changes a table, and tells its lane when it has nothing left to deliver.
    fn with_table<T>(&self, name: &Arc<str>, signal: Signal, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut tables = self.tables.lock();
        let table = tables.entry(name.clone()).or_insert_with(|| {
            let turns = Turns::new(self.shards.clone(), self.inserts_per_table);
            Table::new(signal, turns)
        });
        let done = change(table);
        table.note_health();
        if sealing::is_idle(&tables, signal) {
            self.idle[signal.index()].notify_one();
        }
        done
    }

    /// Whether what an earlier process had under way may still arrive, and would then be stored twice.
    fn is_early(&self, job: &Job) -> bool {
        let rule = || self.sink.after_unknown(&job.part.name.table, job.shard.as_deref(), job.unknown_for());
        job.tried_before && self.started.elapsed() < STRAGGLERS && rule() == AfterUnknown::Look
    }

    /// Pushed when [`STRAGGLERS`] is over, or when a person drops its batch: then nothing of it is sent any more. The lane does not wait for it: new
    /// batches are sealed as if it was not there.
    fn push_early(self: &Arc<Self>, job: Job) {
        let (name, signal) = job.lane();
        self.with_table(&name, signal, |table| table.early += 1);
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(this.started + STRAGGLERS) => {}
                () = job.shipment.given_up() => {}
            }
            this.with_table(&name, signal, |table| table.early -= 1);
            this.push(job);
        });
    }

    fn push(self: &Arc<Self>, job: Job) {
        let (name, signal) = job.lane();
        let rank = job.rank();
        let begin = self.with_table(&name, signal, |table| {
            table.push(rank, job);
            let begin = table.working < self.inserts_per_table * self.shards.len().max(1);
            table.working += usize::from(begin);
            begin
        });
        if begin {
            tokio::spawn(self.clone().work(name, signal));
        }
    }

    /// A worker: as long as its table has jobs.
    async fn work(self: Arc<Self>, name: Arc<str>, signal: Signal) {
        while let Some(mut job) = self.with_table(&name, signal, Table::pop) {
            let standing = Arc::new(job.standing.next_turn());
            job.standing = standing.clone();
            let this = self.clone();
            let turn = tokio::spawn(async move { this.turn(job).await });
            tokio::select! {
                _ = turn => {}
                // It goes on by itself.
                () = standing.stepped_aside() => {
                    self.with_table(&name, signal, |table| table.stuck -= usize::from(standing.take_stuck()));
                }
            }
        }
    }

    async fn turn(self: &Arc<Self>, job: Job) {
        let (was_held, was_apart, held_at, (name, signal)) = (job.held.is_some(), job.apart, job.held_at, job.lane());
        let changes = self.sink.changes();
        let (mut job, turn) = self.turn_apart(job).await;
        job.held_at = if was_held { held_at } else { job.place_of_shard() };
        let apart = matches!(turn, Turn::Held) && job.apart;
        self.with_table(&name, signal, |table| table.set_apart(was_apart, apart));
        match turn {
            Turn::Held => {
                if !was_held {
                    self.set_held(&job, true);
                }
                tokio::spawn(self.clone().wait_held(job, changes));
            }
            Turn::Settled => {
                if was_held {
                    self.set_held(&job, false);
                    self.with_table(&name, signal, |table| table.mended.notify_waiters());
                }
                self.settled(&job);
            }
        }
    }

    /// The turn in a task of its own, so that a panic in a sink is this part's trouble and nobody else's. What the panic left is what a
    /// process that died would have left, and so the part goes on from its notes, as after a start: it is held, and tries again in a while.
    async fn turn_apart(self: &Arc<Self>, mut job: Job) -> (Job, Turn) {
        let (shipment, part, place) = (job.shipment.clone(), job.part.clone(), job.place);
        let this = self.clone();
        let turn = tokio::spawn(async move {
            let (name, signal) = job.lane();
            let stuck = Stuck::new(&this, &name, signal, job.standing.clone());
            // Whatever waits for a person is not waited for by its lane while it tries again.
            stuck.set(job.held.is_some());
            let turns = this.with_table(&name, signal, |table| table.turns.clone());
            let context = Context { sink: this.sink.as_ref(), watch: &this.watch, turns: &turns, stuck: &stuck };
            let turn = job.turn(context).await;
            drop(stuck);
            (job, turn)
        });
        match turn.await {
            Ok(done) => done,
            Err(_) => {
                self.watch.report(&part.name.table, None, Report::Held(PANICKED));
                let mut job = Job::new(shipment, part, place);
                job.held = Some(PANICKED.into());
                (job, Turn::Held)
            }
        }
    }

    /// A held job comes again after a while, and as soon as something changed that it may have waited for.
    async fn wait_held(self: Arc<Self>, job: Job, mut changes: watch_channel::Receiver<u64>) {
        let (name, signal) = job.lane();
        let mended = self.with_table(&name, signal, |table| table.mended.clone());
        let changed = async {
            if changes.changed().await.is_err() {
                // The sink knows of no changes.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(doubt::jittered(HELD_PAUSE)) => {}
            () = job.shipment.given_up() => {}
            () = mended.notified() => {}
            () = changed => {}
        }
        self.push(job);
    }

    fn set_held(&self, job: &Job, held: bool) {
        let (name, signal) = job.lane();
        job.shipment.set_held(&name, held.then(|| job.held.clone().unwrap_or_default()));
        self.watch.held(&name, job.held_at, if held { 1 } else { -1 });
        self.with_table(&name, signal, |table| {
            table.held = if held { table.held + 1 } else { table.held.saturating_sub(1) };
            table.took &= !(held && job.standing.is_new_trouble());
        });
    }

    fn settled(self: &Arc<Self>, job: &Job) {
        let last = job.shipment.settled(&job.part);
        if last {
            tokio::spawn(self.clone().finish(job.shipment.clone()));
        }
    }

    /// Nothing more is to be done for a batch: its file goes away.
    async fn finish(self: Arc<Self>, shipment: Arc<Shipment>) {
        let (given_up, dropped) = (shipment.is_given_up(), shipment.is_dropped());
        let mut said = false;
        loop {
            let batch = shipment.batch.clone();
            let end = move || match (given_up, dropped) {
                (_, true) => batch.drop_rest(),
                (true, false) => batch.abandon(),
                (false, false) => batch.finish(),
            };
            let Err(error) = blocking::run_io_if(shipment.batch.is_durable(), end).await else { break };
            let batch = shipment.batch.sequence();
            match std::mem::replace(&mut said, true) {
                false => {
                    tracing::error!(batch, %error, "the spool's disk fails; a delivered batch keeps its file until it works again");
                }
                true => tracing::debug!(batch, %error, "a delivered batch still keeps its file"),
            }
            tokio::time::sleep(FINISH_PAUSE).await;
        }
        // A person may have taken the batch out of quarantine again already: then this number is another shipment's.
        let mut live = self.live.lock();
        if live.get(&shipment.batch.sequence()).is_some_and(|known| Arc::ptr_eq(known, &shipment)) {
            live.remove(&shipment.batch.sequence());
        }
        drop(live);
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
