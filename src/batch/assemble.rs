//! Sealed chunks become batches: one task a lane, which owns the lane's open batch.
//!
//! All frames that wait share one append and one sync (group commit): while the disk works, the next ones gather. With a
//! spool on disk those who wait are answered after that sync; without, they wait on with their batch.
//!
//! A batch is sealed when it is full, or when it is `max_age` old and its lane has nothing to deliver: so batches grow by themselves while
//! the sink is slow, and a quiet gateway does not drip small inserts. A table that takes no inserts keeps no other waiting
//! ([`Deliveries::seals_at`]).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::chunk::Sealed;
use crate::blocking;
use crate::chunk::PartName;
use crate::config;
use crate::deliver::{Audience, Deliveries};
use crate::metrics::{Metrics, OfSignal};
use crate::reply::Away;
use crate::signal::Signal;
use crate::spool::{AppendError, Frame, OpenBatch, Spool};
use crate::waiting::{Waiting, unavailable};

/// Frames taken from the queue for one append.
const MAX_GROUP: usize = 256;

/// A lane's second half.
pub(super) struct Assembler {
    pub(super) signal: Signal,
    pub(super) rules: config::Batch,
    pub(super) spool: Arc<Spool>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// The open batch.
struct Open {
    batch: OpenBatch,
    audience: Audience,
    opened: Instant,
    size: BatchSize,
}

/// How far a batch has grown.
#[derive(Default)]
struct BatchSize {
    rows: u64,
    bytes: u64,
    uncompressed: u64,
    parts: HashSet<PartName>,
}

impl Assembler {
    pub(super) async fn run(mut self, mut frames: mpsc::UnboundedReceiver<Sealed>) {
        let mut open: Option<Open> = None;
        let mut group = Vec::new();
        loop {
            let due = open.as_ref().and_then(|open| self.due(open));
            let until_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                taken = frames.recv_many(&mut group, MAX_GROUP) => if taken == 0 { return },
                () = until_due => {}
                () = self.deliveries.idle(self.signal) => {}
                Ok(()) = self.stopping.changed() => {}
            }
            open = self.append(open, &mut group).await;
            open = self.close_if_due(open).await;
        }
    }

    /// Appends frames to the open batch, and to as many new ones as they fill.
    async fn append(&self, mut open: Option<Open>, group: &mut Vec<Sealed>) -> Option<Open> {
        let mut rest = group.drain(..).peekable();
        while rest.peek().is_some() {
            let mut current = open.take().unwrap_or_else(|| self.open());
            let (mut frames, mut waiting, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
            while !self.is_full(&current.size)
                && let Some(sealed) = rest.next()
            {
                current.size.add(&sealed.frame);
                frames.push(sealed.frame);
                waiting.push(sealed.waiting);
                under_way.push(sealed.under_way);
            }
            open = self.write(current, frames, waiting).await;
            drop(under_way);
            if open.as_ref().is_some_and(|open| self.is_full(&open.size)) {
                self.seal(open.take()).await;
            }
        }
        open
    }

    /// One append and one sync. After a failure what the batch had goes its way, and the frames get one more chance in a new one.
    async fn write(&self, mut open: Open, mut frames: Vec<Frame>, waiting: Vec<Vec<Waiting>>) -> Option<Open> {
        for last in [false, true] {
            let result;
            (open.batch, frames, result) = append(self.spool.is_durable(), open.batch, frames).await?;
            match result {
                Ok(()) => {
                    self.appended(&mut open, &frames, waiting);
                    return Some(open);
                }
                Err(AppendError::NotKept(error)) => {
                    tracing::error!(signal = %self.signal, %error, last, "a batch could not be written");
                }
                Err(AppendError::Unknown(error)) => {
                    tracing::error!(signal = %self.signal, %error, "whether a batch was written is not known");
                    refuse(waiting, Away::Unknown);
                    self.seal(Some(open)).await;
                    return None;
                }
            }
            let mut fresh = self.open();
            frames.iter().for_each(|frame| fresh.size.add(frame));
            self.seal(Some(std::mem::replace(&mut open, fresh))).await;
        }
        refuse(waiting, Away::Spool);
        None
    }

    fn appended(&self, open: &mut Open, frames: &[Frame], waiting: Vec<Vec<Waiting>>) {
        if self.spool.is_durable() {
            waiting.into_iter().flatten().for_each(Waiting::kept);
            return;
        }
        for (frame, waiting) in frames.iter().zip(waiting) {
            open.audience.join(frame, waiting);
        }
    }

    fn open(&self) -> Open {
        Open {
            batch: self.spool.batch(self.signal),
            audience: Audience::default(),
            opened: Instant::now(),
            size: BatchSize::default(),
        }
    }

    fn is_full(&self, size: &BatchSize) -> bool {
        size.rows >= self.rules.max_rows
            || size.bytes >= self.rules.max_bytes
            || size.uncompressed >= self.rules.max_uncompressed_bytes
            || size.parts.len() >= self.rules.max_parts as usize
    }

    /// When there is something to do for the open batch if nothing else happens before.
    fn due(&self, open: &Open) -> Option<Instant> {
        let deadline = self.deadline(open);
        let seal = if self.stops() {
            Some(open.opened)
        } else {
            let feeds = open.size.parts.iter().map(|part| &part.table);
            self.deliveries.seals_at(self.signal, open.opened, self.ages(), feeds)
        };
        seal.into_iter().chain(deadline).min()
    }

    async fn close_if_due(&self, open: Option<Open>) -> Option<Open> {
        let now = Instant::now();
        let due = open.as_ref().and_then(|open| self.due(open));
        if due.is_none_or(|due| due > now) {
            return open;
        }
        let late = open.as_ref().and_then(|open| self.deadline(open));
        if late.is_some_and(|deadline| deadline <= now) {
            self.give_up(open).await;
        } else {
            self.seal(open).await;
        }
        None
    }

    /// How old a batch is at least, and at most, when it is sealed by age. Without a spool half of the deadline is left for the sink.
    fn ages(&self) -> (Duration, Duration) {
        let most = if self.spool.is_durable() { Duration::MAX } else { self.rules.deadline / 2 };
        (self.rules.max_age, most)
    }

    /// Without a spool: when those who wait are refused.
    fn deadline(&self, open: &Open) -> Option<Instant> {
        (!self.spool.is_durable()).then(|| open.opened + self.rules.deadline)
    }

    /// Without a spool what is open at a clean stop is delivered; with one its file waits for the next start.
    fn stops(&self) -> bool {
        *self.stopping.borrow() && !self.spool.is_durable()
    }

    async fn seal(&self, open: Option<Open>) {
        let Some(open) = open.filter(|open| !open.batch.is_empty()) else {
            return;
        };
        let deadline = self.deadline(&open);
        let sealed = blocking::run_if(self.spool.is_durable(), move || open.batch.seal()).await;
        let Ok(batch) = sealed else {
            tracing::error!(signal = %self.signal, "sealing panicked; the batch stays in the spool until the next start");
            return;
        };
        self.metrics.batches_sealed.get_or_create(&OfSignal { signal: self.signal.name() }).inc();
        self.deliveries.take(batch, deadline.map(|deadline| (open.audience, deadline)));
    }

    /// The time of those who wait is over before their batch was sealed: nothing of it is ever sent.
    async fn give_up(&self, open: Option<Open>) {
        let Some(mut open) = open else {
            return;
        };
        open.audience.refuse_all(Away::Sink);
        let given_up = blocking::run_io_if(self.spool.is_durable(), move || open.batch.seal().abandon()).await;
        if given_up.is_err() {
            tracing::error!(signal = %self.signal, "a batch that was given up could not be let go");
        }
    }
}

impl BatchSize {
    fn add(&mut self, frame: &Frame) {
        self.rows += frame.rows();
        self.bytes += frame.bytes();
        self.uncompressed += frame.uncompressed();
        self.parts.extend(frame.parts.iter().map(|part| part.name.clone()));
    }
}

type AppendResult = (OpenBatch, Vec<Frame>, Result<(), AppendError>);

/// Appends, off the reactor where that waits for a disk; `None` when it panicked.
async fn append(waits: bool, mut batch: OpenBatch, frames: Vec<Frame>) -> Option<AppendResult> {
    let done = blocking::run_if(waits, move || {
        let result = batch.append(&frames);
        (batch, frames, result)
    });
    done.await.ok()
}

fn refuse(waiting: Vec<Vec<Waiting>>, away: Away) {
    for one in waiting.into_iter().flatten() {
        one.refused(unavailable(away));
    }
}
