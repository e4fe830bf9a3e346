//! The open chunks of a lane: what lies behind the one lock that all its requests share.
//!
//! Invariant: a request takes that lock twice, for a chunk and to give it back. What follows from its coming back, for this chunk and for the others, is
//! decided in that second visit and done after it.

use std::time::Duration;

use tokio::time::Instant;

use super::chunk::OpenChunk;

/// Fewer rows than this are sealed no more often than every `commit_interval`, alone or not: ClickHouse pays for each block of a few rows.
const WORTH_A_BLOCK: u64 = 500;

#[derive(Default)]
pub(super) struct OpenChunks {
    chunks: Vec<OpenChunk>,
    /// Chunks that are being encoded into in passing, and so are missing from the stack for a moment.
    pub(super) out: usize,
    /// When the last one was sealed.
    sealed_at: Option<Instant>,
    /// The clock looks when one of the chunks is due.
    watched: bool,
    stopping: bool,
}

/// What a lane's chunks are sealed by.
pub(super) struct Rules {
    pub(super) commit_interval: Duration,
    pub(super) max_chunk_rows: u64,
    /// Somebody waits for a chunk to be written, and not for its batch.
    pub(super) hurries: bool,
}

/// What is to be done after a visit.
#[derive(Default)]
pub(super) struct Todo {
    /// To be sealed.
    pub(super) chunks: Vec<OpenChunk>,
    /// The clock is to look.
    pub(super) wake: bool,
}

impl OpenChunks {
    /// The topmost chunk, to be encoded into; none: a new one is. Requests that wait in a chunk do not wait for `long` work, and others not for the chunk that it has.
    pub(super) fn take(&mut self, long: bool) -> Option<OpenChunk> {
        self.out += usize::from(!long);
        self.chunks.pop_if(|chunk| !long || chunk.due().is_none())
    }

    /// A chunk comes back, from `long` work or other; none when it is lost.
    pub(super) fn give_back(
        &mut self,
        chunk: Option<OpenChunk>,
        long: bool,
        now: Instant,
        rules: &Rules,
        alone: impl Fn() -> bool,
    ) -> Todo {
        self.out -= usize::from(!long);
        if let Some(mut chunk) = chunk {
            chunk.begins(|| self.due(now, rules.commit_interval));
            self.chunks.push(chunk);
        }
        self.look(now, rules, alone)
    }

    /// Takes what is to be sealed now: what is due or full, and all that waits for nobody. For the rest the clock has to look.
    pub(super) fn look(&mut self, now: Instant, rules: &Rules, alone: impl Fn() -> bool) -> Todo {
        let stopping = self.stopping;
        let mut chunks = self.extract(now, |chunk, due| due <= now || stopping || chunk.full(rules.max_chunk_rows));
        let wait = |open: &Self| open.chunks.iter().any(|chunk| chunk.due().is_some());
        if wait(self) && rules.hurries && self.out == 0 && self.may_seal(now, rules.commit_interval) && alone() {
            chunks.append(&mut self.extract(now, |_, _| true));
        }
        let wake = wait(self) && !std::mem::replace(&mut self.watched, true);
        Todo { chunks, wake }
    }

    /// The clock's look: what is due, and when it is to look again; `None`: not before it is woken.
    pub(super) fn tick(&mut self, now: Instant) -> (Vec<OpenChunk>, Option<Instant>) {
        let chunks = self.extract(now, |_, due| due <= now);
        let next = self.chunks.iter().filter_map(OpenChunk::due).min();
        self.watched = next.is_some();
        (chunks, next)
    }

    /// Everything is to be sealed at once from now on, and what is open now.
    pub(super) fn stop(&mut self, now: Instant) -> Vec<OpenChunk> {
        self.stopping = true;
        self.extract(now, |_, _| true)
    }

    /// Takes the chunks that hold something and are `wanted`.
    fn extract(&mut self, now: Instant, wanted: impl Fn(&OpenChunk, Instant) -> bool) -> Vec<OpenChunk> {
        let wanted = |chunk: &mut OpenChunk| chunk.due().is_some_and(|due| wanted(chunk, due));
        let chunks: Vec<OpenChunk> = self.chunks.extract_if(.., wanted).collect();
        if !chunks.is_empty() {
            self.sealed_at = Some(now);
        }
        chunks
    }

    /// Whether what is open is worth a block of its own, or it is long enough since the last one.
    fn may_seal(&self, now: Instant, interval: Duration) -> bool {
        let rows: u64 = self.chunks.iter().map(OpenChunk::rows).sum();
        rows >= WORTH_A_BLOCK || self.sealed_at.is_none_or(|at| now.saturating_duration_since(at) >= interval)
    }

    /// When a chunk whose first request came now is to be sealed.
    fn due(&self, now: Instant, interval: Duration) -> Instant {
        let since_last = self.sealed_at.map(|at| at + interval);
        since_last.filter(|due| *due > now).unwrap_or(now + interval)
    }
}
