//! An open chunk: one encoder and the requests that were committed to it.
//!
//! Whoever encodes owns the chunk for that time, so nobody queues for a lock while a request is encoded; a chunk whose
//! encoder panics is gone with its owner, and those who waited for it are refused.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::company::UnderWay;
use crate::chunk::ChunkEncoder;
use crate::signal::Signal;
use crate::sink::Sink;
use crate::spool::{Frame, FrameRequest};
use crate::waiting::Waiting;

/// A chunk with this many bytes of columns is sealed at once: sealing one takes some 10 ms of a core.
const MAX_CHUNK_BYTES: u64 = 8 << 20;
/// A chunk that touches this many parts is sealed at once, as a batch is.
const MAX_CHUNK_PARTS: u32 = 500;
/// An encoder that held more than this is not kept for the next chunk, so that one huge request does not keep its memory for ever.
const MAX_SPARE_BYTES: u64 = 4 * MAX_CHUNK_BYTES;
/// A request of this many bytes that is not kept may have grown the buffers past that, unseen.
const MAX_FORGOTTEN_BYTES: u64 = 1 << 20;

/// An open chunk of one signal.
pub(super) struct OpenChunk {
    pub(super) encoder: Box<dyn ChunkEncoder>,
    requests: Vec<FrameRequest>,
    waiting: Vec<Waiting>,
    due: Option<Instant>,
    grown: bool,
}

/// A sealed chunk, and who waits for it: one a request, in the order of the frame's requests.
pub(super) struct Sealed {
    pub(super) frame: Frame,
    pub(super) waiting: Vec<Waiting>,
    /// Until it is written.
    pub(super) under_way: UnderWay,
}

impl OpenChunk {
    pub(super) fn new(encoder: Box<dyn ChunkEncoder>) -> Self {
        OpenChunk { encoder, requests: Vec::new(), waiting: Vec::new(), due: None, grown: false }
    }

    /// Commits what the encoder was given last.
    pub(super) fn commit(&mut self, note: FrameRequest, waiting: Waiting) {
        self.encoder.commit();
        self.requests.push(note);
        self.waiting.push(waiting);
    }

    /// Its first request decides when it is due; the others do not ask.
    pub(super) fn begins(&mut self, due: impl FnOnce() -> Instant) {
        if !self.requests.is_empty() {
            self.due.get_or_insert_with(due);
        }
    }

    /// A request of this size was appended and not kept.
    pub(super) fn was_grown_by(&mut self, bytes: u64) {
        self.grown |= bytes > MAX_FORGOTTEN_BYTES;
    }

    /// When it is to be sealed; `None` while it is empty.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Rows in it.
    pub(super) fn rows(&self) -> u64 {
        self.encoder.size().rows
    }

    /// Whether it is to be sealed without waiting for its time.
    pub(super) fn full(&self, max_rows: u64) -> bool {
        let size = self.encoder.size();
        size.rows >= max_rows || size.column_bytes >= MAX_CHUNK_BYTES || size.parts >= MAX_CHUNK_PARTS
    }

    /// Seals it and gives the encoder back, unless its buffers grew too large to be kept. CPU-heavy.
    pub(super) fn seal(mut self, under_way: UnderWay) -> (Sealed, Option<Box<dyn ChunkEncoder>>) {
        let spare = !self.grown && self.encoder.size().column_bytes <= MAX_SPARE_BYTES;
        let frame = Frame::new(self.requests, self.encoder.seal());
        let (before, after) = (frame.uncompressed(), frame.bytes());
        for waiting in &mut self.waiting {
            waiting.compressed(before, after);
        }
        let sealed = Sealed { frame, waiting: self.waiting, under_way };
        (sealed, spare.then_some(self.encoder))
    }
}

/// Encoders of one signal whose buffers wait for the next chunk.
pub(super) struct Encoders {
    sink: Arc<dyn Sink>,
    signal: Signal,
    spare: Mutex<Vec<Box<dyn ChunkEncoder>>>,
    keep: usize,
}

impl Encoders {
    /// Keeps at most `keep` of them.
    pub(super) fn new(sink: Arc<dyn Sink>, signal: Signal, keep: usize) -> Self {
        Encoders { sink, signal, spare: Mutex::new(Vec::with_capacity(keep)), keep }
    }

    pub(super) fn take(&self) -> Box<dyn ChunkEncoder> {
        let spare = self.spare.lock().pop();
        spare.unwrap_or_else(|| self.sink.encoder(self.signal))
    }

    pub(super) fn give_back(&self, encoder: Box<dyn ChunkEncoder>) {
        let mut spare = self.spare.lock();
        if spare.len() < self.keep {
            spare.push(encoder);
        }
    }
}
