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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::bound::{MAX_COLUMN_BYTES, Outcome};
use super::chunk::{Encoders, OpenChunk, Sealed};
use super::company::{Coming, Company, UnderWay};
use super::repeat::{Held, Id, Repeats};
use super::ticket::Ticket;
use crate::admit::Admitted;
use crate::blocking;
use crate::chunk::{Appended, EncodeError, Growth, Unkept};
use crate::config;
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

/// Fewer rows than this are sealed no more often than every `commit_interval`, alone or not: ClickHouse pays for each block of a few rows.
const WORTH_A_BLOCK: u64 = 500;

/// What is said of records that are left out.
const TOO_DEEP: &str = "nest too deep";

/// The open chunks of one signal.
pub(super) struct Lane {
    pub(super) commit_interval: Duration,
    max_chunk_rows: u64,
    encoders: Encoders,
    open: Mutex<OpenChunks>,
    pub(super) company: Company,
    /// Somebody waits for a chunk to be written, and not for its batch.
    hurries: bool,
    /// The lane's clock has something to look at.
    wake: Notify,
    stopping: AtomicBool,
    frames: mpsc::UnboundedSender<Sealed>,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct OpenChunks {
    chunks: Vec<OpenChunk>,
    /// Chunks that are being encoded into, and so are missing from the stack.
    out: usize,
    /// When the last one was sealed.
    sealed_at: Option<Instant>,
    /// The clock looks when one of the chunks is due.
    watched: bool,
}

/// A request whose records lie in an open chunk, uncommitted. Dropped, it leaves no trace.
pub(crate) struct Encoded<'a> {
    chunk: Uncommitted<'a>,
    fresh: Fresh<'a>,
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

/// A chunk whose encoder holds a request that is not committed: rolled back and open again when dropped. One whose encoder panicked is never
/// open again, for nobody knows what its columns hold: those who wait for it are told that nobody knows.
pub(super) struct Uncommitted<'a> {
    chunk: Option<OpenChunk>,
    column_bytes: u64,
    /// After the chunk, so that whoever looks always sees one of the two.
    out: Out<'a>,
}

/// A chunk that is missing from the stack, for as long as it is, however that ends.
struct Out<'a> {
    lane: &'a Arc<Lane>,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let mut open = self.lane.open.lock();
        open.out -= 1;
        self.lane.look_at(open);
    }
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
            commit_interval: rules.commit_interval,
            max_chunk_rows: rules.max_chunk_rows,
            encoders: Encoders::new(sink, signal, 2 * threads),
            open: Mutex::default(),
            company: Company::default(),
            hurries,
            wake: Notify::new(),
            stopping: AtomicBool::new(false),
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
        let (chunk, appended) = outcome.map_err(refusal)?;
        if fresh.received.dropped > 0 && appended.records == 0 && appended.unkept.is_empty() {
            return Err(Refusal::Malformed(format!("all records {TOO_DEEP}")));
        }
        let left_out = left_out(fresh.received.dropped, &appended.unkept);
        fresh.received.admitted.lend(appended.column_bytes)?;
        fresh.received.admitted.end_turn();
        Ok(Encoded { chunk, fresh, appended, left_out })
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
        let mut chunk = self.take(request.len() as u64);
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

    /// Seals every chunk at once from now on, those that are open too.
    pub(super) fn stop(self: &Arc<Self>) {
        self.stopping.store(true, Ordering::Release);
        let chunks = std::mem::take(&mut self.open.lock().chunks);
        for chunk in chunks.into_iter().filter(|chunk| chunk.due().is_some()) {
            self.seal(chunk);
        }
    }

    fn take(self: &Arc<Self>, column_bytes: u64) -> Uncommitted<'_> {
        let mut open = self.open.lock();
        open.out += 1;
        let chunk = open.chunks.pop();
        drop(open);
        let out = Out { lane: self };
        let chunk = chunk.unwrap_or_else(|| OpenChunk::new(self.encoders.take()));
        Uncommitted { chunk: Some(chunk), column_bytes, out }
    }

    /// The chunk's owner is done with it: it is sealed when its time has come, and open again otherwise.
    fn put_back(self: &Arc<Self>, chunk: OpenChunk) {
        let due = chunk.due().is_some_and(|due| {
            due <= Instant::now() || self.stopping.load(Ordering::Acquire) || chunk.full(self.max_chunk_rows)
        });
        if due {
            self.seal(chunk);
        } else {
            self.open.lock().chunks.push(chunk);
        }
    }

    fn seal(self: &Arc<Self>, chunk: OpenChunk) {
        self.open.lock().sealed_at = Some(Instant::now());
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

    /// Seals what is open when it waits for nobody, and has the clock look at it otherwise.
    pub(super) fn look(self: &Arc<Self>) {
        self.look_at(self.open.lock());
    }

    fn look_at(self: &Arc<Self>, mut open: MutexGuard<'_, OpenChunks>) {
        if !open.chunks.iter().any(|chunk| chunk.due().is_some()) {
            return;
        }
        if self.hurries && open.out == 0 && self.company.is_none() && open.may_seal(self.commit_interval) {
            let chunks: Vec<OpenChunk> = open.chunks.extract_if(.., |chunk| chunk.due().is_some()).collect();
            drop(open);
            chunks.into_iter().for_each(|chunk| self.seal(chunk));
        } else if !std::mem::replace(&mut open.watched, true) {
            self.wake.notify_one();
        }
    }

    /// The lane's clock: sleeps until the earliest open chunk is due. A chunk that is being encoded into at that moment is sealed by its owner instead.
    async fn seal_what_is_due(self: Arc<Self>) {
        loop {
            match self.next_due() {
                Some(due) => tokio::time::sleep_until(due).await,
                None => self.wake.notified().await,
            }
            let now = Instant::now();
            let due = |chunk: &mut OpenChunk| chunk.due().is_some_and(|due| due <= now);
            let chunks: Vec<OpenChunk> = self.open.lock().chunks.extract_if(.., due).collect();
            for chunk in chunks {
                self.seal(chunk);
            }
        }
    }

    /// When the earliest open chunk is due; `None`: not before somebody looks.
    fn next_due(&self) -> Option<Instant> {
        let mut open = self.open.lock();
        let earliest = open.chunks.iter().filter_map(OpenChunk::due).min();
        open.watched = earliest.is_some();
        earliest
    }
}

impl OpenChunks {
    /// Whether what is open is worth a block of its own, or it is long enough since the last one.
    fn may_seal(&self, interval: Duration) -> bool {
        let rows: u64 = self.chunks.iter().map(OpenChunk::rows).sum();
        rows >= WORTH_A_BLOCK || self.sealed_at.is_none_or(|at| at.elapsed() >= interval)
    }

    /// When a chunk whose first request came now is to be sealed.
    fn due(&self, interval: Duration) -> Instant {
        let now = Instant::now();
        let since_last = self.sealed_at.map(|at| at + interval);
        since_last.filter(|due| *due > now).unwrap_or(now + interval)
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
        self.fresh.received.admitted.key()
    }

    /// What its client is told of records that are not in it.
    pub(super) fn into_left_out(self) -> Option<Rejected> {
        self.left_out
    }

    /// Its uncompressed bytes, to be charged.
    pub(crate) fn bytes(&self) -> u64 {
        self.fresh.received.request.len() as u64
    }

    /// Commits it to its chunk. From now on it is kept or refused with the batch that it comes to lie in.
    pub(super) fn commit(self, repeats: &Arc<Repeats>) -> Ticket {
        let Encoded { chunk, fresh, appended, left_out } = self;
        if appended.records == 0 {
            return Ticket::nothing_to_keep(left_out);
        }
        let Fresh { received, id, answer, coming, held } = fresh;
        let Received { mut admitted, request, .. } = received;
        let note = FrameRequest { key: id.1.clone(), bytes: request.len() as u64, digest: id.0 };
        admitted.shrink(note.bytes);
        drop(request);
        let (waiting, fate) =
            Waiting::new(Box::new(admitted), appended.column_bytes, left_out, &chunk.out.lane.pending);
        let followed = repeats.follow(id, answer, fate.clone(), held);
        // Nobody waits for this one any more, itself least of all.
        drop(coming);
        chunk.commit(note, waiting);
        Ticket::of(fate, followed)
    }
}

impl Uncommitted<'_> {
    fn commit(mut self, note: FrameRequest, waiting: Waiting) {
        let lane = self.out.lane;
        let Some(chunk) = &mut self.chunk else {
            return;
        };
        chunk.commit(note, waiting, || lane.open.lock().due(lane.commit_interval));
        if let Some(chunk) = self.chunk.take() {
            lane.put_back(chunk);
        }
    }
}

impl Drop for Uncommitted<'_> {
    fn drop(&mut self) {
        let Some(mut chunk) = self.chunk.take() else {
            return;
        };
        if !std::thread::panicking() {
            chunk.encoder.rollback();
            chunk.was_grown_by(self.column_bytes);
            self.out.lane.put_back(chunk);
        }
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
