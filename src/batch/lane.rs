//! A signal's open chunks, from a request's bytes to a sealed frame.
//!
//! An open chunk is taken off the stack while a request is encoded and put back after: cores that encode at the same time each
//! work on a chunk of their own, and when requests come one at a time they share the topmost. A chunk is sealed when it is full, at once when its requests
//! have no [`company`](super::company) to wait for, and `commit_interval` after its first request in any case; off the reactor: it sorts and compresses.
//!
//! A request is encoded where it is, on the reactor's thread: handing it to another costs more than the some 100 µs that 100 KiB take, and
//! requests of 640 KB that moved the thread's other tasks away first cost an eighth more CPU, twice the context switches and a third
//! more memory (threads come and go, each with an arena). Only what takes longer than some 2 ms moves them away.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::bound::{MAX_COLUMN_BYTES, Outcome};
use super::chunk::{Encoders, OpenChunk, Sealed};
use super::company::{Coming, Company, UnderWay};
use super::open::{OpenChunks, Rules, Todo};
use super::repeat::{Held, Id, Repeats};
use super::ticket::Ticket;
use crate::admit::Admitted;
use crate::blocking;
use crate::chunk::{Appended, EncodeError, Growth, Unkept};
use crate::config;
use crate::counted::Counted;
use crate::keys::Key;
use crate::listen::Answer;
use crate::memory::Memory;
use crate::otlp::{Received, sift};
use crate::reply::Refusal;
use crate::signal::Signal;
use crate::sink::Sink;
use crate::spool::FrameRequest;
use crate::waiting::{Pending, Rejected, Waiting};

/// Requests above this are encoded with the reactor out of the way.
pub(super) const INLINE_BYTES: usize = 1 << 20;

/// What is said of records that are left out.
const TOO_DEEP: &str = "nest too deep";

/// The open chunks of one signal.
pub(super) struct Lane {
    pub(super) rules: Rules,
    encoders: Encoders,
    open: Counted<OpenChunks>,
    pub(super) company: Company,
    /// The lane's clock has something to look at.
    wake: Notify,
    frames: mpsc::UnboundedSender<Sealed>,
    pending: Arc<Pending>,
}

/// A request whose records lie in an open chunk, uncommitted. Dropped, it leaves no trace.
pub(crate) struct Encoded<'a> {
    chunk: Uncommitted<'a>,
    received: Received<Admitted>,
    id: Id,
    answer: Answer,
    held: Option<Held>,
    appended: Appended,
    left_out: Option<Rejected>,
}

/// A request that repeats no other one whose answer may not have arrived.
pub(crate) struct Fresh<'a> {
    pub(super) received: Received<Admitted>,
    pub(super) id: Id,
    pub(super) answer: Answer,
    pub(super) coming: Coming<'a>,
    pub(super) held: Option<Held>,
}

/// A chunk that is missing from the stack: open again when dropped, and rolled back unless its request was committed. One whose encoder panicked is never
/// open again, for nobody knows what its columns hold: those who wait for it are told that nobody knows.
pub(super) struct Uncommitted<'a> {
    lane: &'a Arc<Lane>,
    chunk: Option<OpenChunk>,
    /// The request, which others need not wait for any more when the chunk is back.
    coming: Option<Coming<'a>>,
    column_bytes: u64,
    long: bool,
    committed: bool,
}

impl Lane {
    pub(super) fn start(
        signal: Signal,
        sink: Arc<dyn Sink>,
        rules: &config::Batch,
        hurries: bool,
        pending: Arc<Pending>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Sealed>) {
        let (frames, receiver) = mpsc::unbounded_channel();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let lane = Arc::new(Lane {
            rules: Rules { commit_interval: rules.commit_interval, max_chunk_rows: rules.max_chunk_rows, hurries },
            encoders: Encoders::new(sink, signal, 2 * threads),
            open: Counted::default(),
            company: Company::default(),
            wake: Notify::new(),
            frames,
            pending,
        });
        tokio::spawn(lane.clone().seal_what_is_due());
        (lane, receiver)
    }

    /// Appends a request's records to an open chunk, and counts the columns against its memory.
    pub(super) async fn encode<'l>(
        self: &'l Arc<Self>,
        mut fresh: Fresh<'l>,
        growth: &Growth,
    ) -> Result<Encoded<'l>, Refusal> {
        let mut outcome = self.append_paid(&mut fresh, None, growth).await?;
        if let Err(EncodeError::TooDeep { .. }) = outcome {
            // The request once more, without the records that nest so deep.
            let request = &fresh.received.request;
            let size = request.len() as u64;
            fresh.received.admitted.grow(size)?;
            let sifted = sift::without_deep(fresh.received.call.signal, request).map_err(|fault| fault.within(request));
            let (sifted, dropped) = sifted.map_err(refusal)?;
            if dropped > 0 {
                fresh.received.dropped += dropped;
                outcome = self.append_paid(&mut fresh, Some(&sifted.into_boxed_slice().into()), growth).await?;
            }
            fresh.received.admitted.shrink(size);
        }
        let (mut chunk, appended) = outcome.map_err(refusal)?;
        if fresh.received.dropped > 0 && appended.records == 0 && appended.unkept.is_empty() {
            return Err(Refusal::Malformed(format!("all records {TOO_DEEP}")));
        }
        let left_out = left_out(fresh.received.dropped, &appended.unkept);
        fresh.received.admitted.lend(appended.column_bytes)?;
        fresh.received.admitted.end_turn();
        let Fresh { received, id, answer, coming, held } = fresh;
        chunk.coming = Some(coming);
        Ok(Encoded { chunk, received, id, answer, held, appended, left_out })
    }

    /// Appends what the request holds, or `instead` of it, to an open chunk: what came of it, and the bytes of columns that were made.
    pub(super) fn append<'l>(
        self: &'l Arc<Self>,
        fresh: &mut Fresh<'_>,
        instead: Option<&Bytes>,
        growth: &Growth,
        long: bool,
    ) -> Result<(Outcome<'l>, u64), Refusal> {
        let key = fresh.received.admitted.key().clone();
        let (stamp, most) = (&key.stamp, growth.max_column_bytes);
        let request = instead.unwrap_or(&fresh.received.request);
        let spare = stamp.room(request).min(most);
        fresh.received.admitted.grow(spare)?;
        let mut chunk = self.take(request.len() as u64, long);
        let append = || match (&mut chunk.chunk, stamp.is_empty()) {
            (Some(chunk), true) => chunk.encoder.append_shared(request, growth),
            (Some(chunk), false) => chunk.encoder.append_shared(&stamp.apply(request, most)?, growth),
            (None, _) => Ok(Appended::default()),
        };
        let appended = blocking::in_place(long, append);
        let grown = chunk.chunk.as_ref().map_or(0, |chunk| chunk.encoder.grown());
        fresh.received.admitted.shrink(spare);
        let appended = appended.map(|appended| {
            chunk.column_bytes = appended.column_bytes;
            (chunk, appended)
        });
        Ok((appended, grown))
    }

    #[cfg(test)]
    pub(super) fn out(&self) -> usize {
        self.open.lock().out
    }

    /// How often its lock was taken since this was asked last.
    #[cfg(test)]
    pub(super) fn visits(&self) -> usize {
        self.open.taken()
    }

    /// Seals every chunk at once from now on, those that are open too.
    pub(super) fn stop(self: &Arc<Self>) {
        let chunks = self.open.lock().stop(Instant::now());
        self.seal_all(chunks);
    }

    fn take(self: &Arc<Self>, column_bytes: u64, long: bool) -> Uncommitted<'_> {
        let chunk = self.open.lock().take(long);
        let mut taken = Uncommitted { lane: self, chunk, coming: None, column_bytes, long, committed: false };
        taken.chunk.get_or_insert_with(|| OpenChunk::new(self.encoders.take()));
        taken
    }

    fn give_back(self: &Arc<Self>, chunk: Option<OpenChunk>, long: bool) {
        let now = Instant::now();
        let todo = self.open.lock().give_back(chunk, long, now, &self.rules, || self.company.is_none());
        self.act(todo);
    }

    /// Somebody whom others may have waited for is gone.
    pub(super) fn look(self: &Arc<Self>) {
        let now = Instant::now();
        let todo = self.open.lock().look(now, &self.rules, || self.company.is_none());
        self.act(todo);
    }

    fn act(self: &Arc<Self>, todo: Todo) {
        self.seal_all(todo.chunks);
        if todo.wake {
            self.wake.notify_one();
        }
    }

    fn seal_all(self: &Arc<Self>, chunks: Vec<OpenChunk>) {
        for chunk in chunks {
            let (lane, under_way) = (self.clone(), UnderWay::of(self));
            tokio::task::spawn_blocking(move || {
                let (sealed, encoder) = chunk.seal(under_way);
                if let Some(encoder) = encoder {
                    lane.encoders.give_back(encoder);
                }
                // The receiver is gone only when the process ends; those who wait are refused then.
                drop(lane.frames.send(sealed));
            });
        }
    }

    /// The lane's clock: sleeps until the earliest open chunk is due. A chunk that is being encoded into at that moment is sealed by its owner instead.
    async fn seal_what_is_due(self: Arc<Self>) {
        let mut next = None;
        loop {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => self.wake.notified().await,
            }
            let chunks;
            (chunks, next) = self.open.lock().tick(Instant::now());
            self.seal_all(chunks);
        }
    }
}

impl Encoded<'_> {
    /// Spans, log records or data points in it, to be charged.
    pub(crate) fn records(&self) -> u64 {
        self.appended.records
    }

    /// Those that are not in it, for their table would not keep them.
    pub(super) fn unkept(&self) -> &[Unkept] {
        &self.appended.unkept
    }

    /// Whose it is.
    pub(super) fn key(&self) -> &Key {
        self.received.admitted.key()
    }

    /// What its client is told of records that are not in it.
    pub(super) fn into_left_out(self) -> Option<Rejected> {
        self.left_out
    }

    /// It, as its key pays for it.
    pub(crate) fn admitted(&mut self) -> &mut Admitted {
        &mut self.received.admitted
    }

    /// Its uncompressed bytes, to be charged.
    pub(crate) fn bytes(&self) -> u64 {
        self.received.request.len() as u64
    }

    /// Commits it to its chunk. From now on it is kept or refused with the batch that it comes to lie in.
    pub(super) fn commit(self, repeats: &Arc<Repeats>) -> Ticket {
        let Encoded { chunk, received, id, answer, held, appended, left_out } = self;
        if appended.records == 0 {
            return Ticket::nothing_to_keep(left_out);
        }
        let Received { mut admitted, request, .. } = received;
        let note = FrameRequest { key: id.1.clone(), bytes: request.len() as u64, digest: id.0 };
        admitted.shrink(note.bytes);
        drop(request);
        let (waiting, fate) = Waiting::new(Box::new(admitted), appended.column_bytes, left_out, &chunk.lane.pending);
        let followed = repeats.follow(id, answer, fate.clone(), held);
        chunk.commit(note, waiting);
        Ticket::of(fate, followed)
    }
}

impl Uncommitted<'_> {
    fn commit(mut self, note: FrameRequest, waiting: Waiting) {
        if let Some(chunk) = &mut self.chunk {
            chunk.commit(note, waiting);
            self.committed = true;
        }
    }
}

impl Drop for Uncommitted<'_> {
    fn drop(&mut self) {
        let mut chunk = self.chunk.take();
        if !self.committed {
            chunk = chunk.filter(|_| !std::thread::panicking());
            if let Some(chunk) = &mut chunk {
                chunk.encoder.rollback();
                chunk.was_grown_by(self.column_bytes);
            }
        }
        // Nobody waits for this one any more, itself least of all.
        if let Some(coming) = self.coming.take() {
            coming.arrive();
        }
        self.lane.give_back(chunk, self.long);
    }
}

/// Records that nest too deep, and those that their tables would not keep.
fn left_out(too_deep: u64, unkept: &[Unkept]) -> Option<Rejected> {
    let records = too_deep + unkept.iter().map(|unkept| unkept.records).sum::<u64>();
    let deep = (too_deep > 0).then(|| format!("{too_deep} records {TOO_DEEP}"));
    let why: Vec<String> = deep.into_iter().chain(unkept.iter().map(|unkept| unkept.why.clone())).collect();
    (records > 0).then(|| Rejected { records, why: why.join("; ").into() })
}

fn refusal(error: EncodeError) -> Refusal {
    match error {
        EncodeError::Malformed { .. } | EncodeError::TooDeep { .. } => Refusal::Malformed(error.to_string()),
        EncodeError::TooLarge { limit, max } => Refusal::TooLarge {
            limit: match limit {
                "max_records" => "request.max_records",
                MAX_COLUMN_BYTES => "request.max_column_bytes",
                "max_parts" => "request.max_parts",
                other => other,
            },
            max,
        },
    }
}
