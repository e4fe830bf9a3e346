//! The seam between the path and a sink's encoding: requests are appended to an open chunk, uncommitted, then
//! committed or rolled back, and the chunk is sealed into bytes that stand alone.
//!
//! Invariants that every implementation keeps: a request whose `append` fails, or that is rolled back, leaves no trace; the rows of
//! a part lie in the order in which their requests were committed; `seal` leaves the encoder empty, with its
//! buffers kept for the next chunk.

use std::sync::Arc;

use bytes::Bytes;

/// An open chunk of one signal: column buffers for ClickHouse, OTLP bytes for a collector.
pub trait ChunkEncoder: Send {
    /// Appends all records of one uncompressed OTLP protobuf export request, uncommitted.
    ///
    /// # Errors
    /// Malformed bytes, or a request that grows past `growth`; the chunk is then as it was before.
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError>;

    /// [`ChunkEncoder::append`] of a request that nobody else will write to: an encoder whose chunks hold what came in may keep it where it lies.
    ///
    /// # Errors
    /// The same.
    fn append_shared(&mut self, request: &Bytes, growth: &Growth) -> Result<Appended, EncodeError> {
        self.append(request, growth)
    }

    /// Bytes of columns that the last `append` made before it failed; 0 where they are never more than the request's.
    fn grown(&self) -> u64 {
        0
    }

    /// Keeps what the last `append` added.
    fn commit(&mut self);

    /// Removes what the last `append` added.
    fn rollback(&mut self);

    /// What is committed so far.
    fn size(&self) -> ChunkSize;

    /// Seals the committed requests into one part a table and partition, and empties the chunk. CPU-heavy: not for a reactor.
    fn seal(&mut self) -> Vec<SealedPart>;
}

/// What one request may grow into (defaults: 200,000 records, 128 MiB of columns, 500 parts).
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// Spans, log records or data points.
    pub max_records: u64,
    /// Bytes of columns before compression.
    pub max_column_bytes: u64,
    /// Tables and partitions that it touches.
    pub max_parts: u32,
}

impl Default for Growth {
    fn default() -> Self {
        Growth { max_records: 200_000, max_column_bytes: 128 << 20, max_parts: 500 }
    }
}

/// What a request turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// Spans, log records or data points that are appended.
    pub records: u64,
    /// Bytes of columns before compression.
    pub column_bytes: u64,
    /// Those that are not.
    pub unkept: Vec<Unkept>,
}

/// Records that are not appended, for their table would not keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// The table.
    pub table: &'static str,
    /// One of a few words of the encoder: `too_old`, `too_late`.
    pub reason: &'static str,
    /// How many.
    pub records: u64,
    /// In words, with the limit.
    pub why: String,
}

/// How much an open chunk holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkSize {
    /// Committed requests.
    pub requests: u32,
    /// Rows over all parts.
    pub rows: u64,
    /// Bytes of columns before compression.
    pub column_bytes: u64,
    /// Parts touched.
    pub parts: u32,
}

/// Why a request cannot be appended. Always the client's fault, never to be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not a well-formed OTLP request.
    #[error("{what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, counted from the request's first byte.
        at: usize,
    },
    /// Messages lie too deep in each other.
    #[error("messages nest deeper than {max} at byte {at}")]
    TooDeep {
        /// How deep they may lie.
        max: u8,
        /// Where, counted from the request's first byte.
        at: usize,
    },
    /// It grows past a limit of [`Growth`].
    #[error("the request is over {limit} ({max})")]
    TooLarge {
        /// `max_records`, `max_column_bytes` or `max_parts`, or in words what the encoder bounds itself.
        limit: &'static str,
        /// The limit's value.
        max: u64,
    },
}

/// The name of a part: a table and one partition of it. What is inserted into a part is in or is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartName {
    /// The table's name, without its database.
    pub table: Arc<str>,
    /// For ClickHouse, whose tables are partitioned by day: days since 1970-01-01 in the server's time zone; 0 where the table's rows need no
    /// partition of their own. For a collector, whose "table" is the signal: the number of the export request in its batch.
    pub(crate) partition: i32,
}

/// One part of a sealed chunk: bytes that stand alone.
#[derive(Debug, Clone)]
pub struct SealedPart {
    /// Table and partition.
    pub name: PartName,
    /// The columns in the bytes, in order. Shared while the table's schema stays the same.
    pub columns: Arc<[Arc<str>]>,
    /// What is sent, as slices that follow one another: one compressed Native block, or fields of OTLP requests as they lie in memory.
    pub bytes: Vec<Bytes>,
    /// Size before compression.
    pub(crate) uncompressed: u64,
    /// Rows a request: (index of the request in the chunk, in order of commit; its rows in this part).
    pub(crate) rows_by_request: Vec<(u32, u32)>,
    /// Up to eight rows of different requests, chosen for their identity.
    pub witnesses: Vec<Witness>,
}

impl SealedPart {
    /// Rows in the part.
    pub fn rows(&self) -> u64 {
        self.rows_by_request.iter().map(|(_, rows)| u64::from(*rows)).sum()
    }
}

/// One row of a part, by which it can be found again in the table: opaque to everybody but the sink that made it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witness(pub Bytes);
