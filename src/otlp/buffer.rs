//! The one kind of memory that grows with what a client sends: every byte of its capacity is reserved before it is allocated.

use bytes::Bytes;

use crate::memory::Memory;
use crate::reply::Refusal;

/// The configuration's name of the limit that every buffer here obeys.
pub(super) const LIMIT: &str = "request.max_body_bytes";

/// Bytes that grow up to a limit, with the memory that counts them.
pub(super) struct Buffer<M> {
    memory: M,
    bytes: Vec<u8>,
    max: u64,
    aim: usize,
    times: usize,
}

/// How much the first piece holds when nothing is known about how much will come.
const FIRST: usize = 8 << 10;
/// How many times over a full buffer grows.
const DOUBLING: usize = 2;
/// The same when it is said how much will come, so that what most clients send is moved once.
const AIMED: usize = 16;

impl<M: Memory> Buffer<M> {
    /// An empty buffer for at most `max` bytes.
    pub(super) fn new(memory: M, max: u64) -> Self {
        Buffer { memory, bytes: Vec::new(), aim: usize::try_from(max).unwrap_or(usize::MAX), times: DOUBLING, max }
    }

    /// Says how many bytes there will be when all is well. It is not believed: it only lets the buffer grow faster, and not past that.
    pub(super) fn aim_at(&mut self, total: u64) {
        self.aim = usize::try_from(total.min(self.max)).unwrap_or(usize::MAX);
        self.times = AIMED;
    }

    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it holds, to be changed in place.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The memory that counts it, for what is needed besides.
    pub(super) fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// How many bytes it takes without growing.
    pub(super) fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// How many bytes it may still take.
    pub(super) fn left(&self) -> u64 {
        self.max.saturating_sub(len(&self.bytes))
    }

    /// Makes room for `more` bytes: capacity doubles, so that bytes are moved rarely and at most twice what arrived is ever reserved; 16 times
    /// while it is known how many will come.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] past the limit, [`Refusal::Unavailable`] when memory has no room.
    pub(super) fn room(&mut self, more: usize) -> Result<(), Refusal> {
        if more <= self.spare() {
            return Ok(());
        }
        if u64::try_from(more).unwrap_or(u64::MAX) > self.left() {
            return Err(too_large(self.max));
        }
        let needed = self.bytes.len() + more;
        let grown = self.bytes.capacity().max(needed).saturating_mul(self.times);
        self.reserve(needed.max(grown.max(FIRST).min(self.aim)))
    }

    /// Makes the capacity exactly `capacity`, when it is less.
    pub(super) fn reserve(&mut self, capacity: usize) -> Result<(), Refusal> {
        let before = self.bytes.capacity();
        if capacity > before {
            let more = u64::try_from(capacity - before).unwrap_or(u64::MAX);
            self.memory.grow(more)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }

    /// Appends `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends what `read` writes into at most `most` bytes, the last of those that it is shown: behind where it is told, which it leaves as they are. Returns how many it wrote.
    ///
    /// # Errors
    /// As [`Buffer::room`], and `read`'s own.
    pub(super) fn read(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut [u8], usize) -> Result<usize, Refusal>,
    ) -> Result<usize, Refusal> {
        self.room(most)?;
        let start = self.bytes.len();
        self.bytes.resize(start + most, 0);
        let got = read(&mut self.bytes, start);
        let got = got.map(|got| got.min(most));
        self.bytes.truncate(start + got.as_ref().copied().unwrap_or(0));
        got
    }

    /// The memory, the bytes, and how many bytes the memory counts for them.
    pub(super) fn into_parts(self) -> (M, Bytes, u64) {
        let counted = u64::try_from(self.bytes.capacity()).unwrap_or(u64::MAX);
        (self.memory, Bytes::from(self.bytes), counted)
    }
}

/// The refusal of what is larger than `max`.
pub(super) fn too_large(max: u64) -> Refusal {
    Refusal::TooLarge { limit: LIMIT, max }
}

/// A length as a count of bytes.
pub(super) fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
