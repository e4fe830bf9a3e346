//! Step 8, spool: keeps batches until the sink has them. One batch = one file.

#![allow(dead_code)]

mod batch;
mod contents;
mod counts;
pub mod digests;
pub mod disk;
mod finish;
mod format;
mod index;
mod room;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;

pub use batch::{AppendError, Batch, OpenBatch, PartState};
pub use contents::{Contents, SegmentContents};
pub use counts::Counts;
pub use digests::{Digest, Digests};
pub use format::frame::{Frame, FramePart, Request};
pub use format::note::{Note, Refused};
pub use format::record::{Header, Token};
pub use index::{Part, Segment};
pub use room::Limits;
pub use store::Totals;

use crate::otlp::Signal;
use crate::reply::Away;
use disk::MemoryDisk;
use room::Room;
use store::Store;

/// Where files with damaged or refused rows are kept for people.
pub const QUARANTINE: &str = "quarantine";

/// Batches on a disk. Every method that says so blocks: it is not for a reactor.
pub struct Spool {
    store: Arc<Store>,
    next_sequence: AtomicU64,
}

impl Spool {
    /// A spool in memory: gone with the process, so that nothing may be acknowledged before the sink has it.
    pub fn in_memory() -> Spool {
        Spool {
            store: Arc::new(Store {
                disk: Box::new(MemoryDisk::default()),
                room: Room::new(Limits::NONE),
                totals: Mutex::default(),
            }),
            next_sequence: AtomicU64::new(0),
        }
    }

    /// A new batch. No file is made before its first frame.
    pub fn batch(&self, signal: Signal) -> OpenBatch {
        let header = Header {
            sequence: self.next_sequence.fetch_add(1, Ordering::Relaxed),
            token: Token::random(),
            signal,
            created_ms: now_ms(),
        };
        OpenBatch::new(self.store.clone(), header)
    }

    /// Whether a request of this key may come in. Looks at the disk's free space at most once a second.
    ///
    /// # Errors
    /// [`Away::Spool`] or [`Away::KeySpool`].
    pub fn room(&self, key: &str) -> Result<(), Away> {
        self.store.room.check(key, self.store.disk.as_ref())
    }

    /// What became of everything that is no longer waiting, over all processes that this spool has seen.
    pub fn totals(&self) -> Totals {
        self.store.totals.lock().clone()
    }

    /// Keeps a small file, such as the last known schema, so that it survives a crash whole. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; the file is then as it was, or as it should be.
    pub fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.store.replace(name, bytes)
    }

    /// A small file that was saved. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn load(&self, name: &str) -> io::Result<Option<Bytes>> {
        self.store.load(name)
    }
}

/// A batch's file.
fn file_name(sequence: u64) -> String {
    format!("{sequence:020}.batch")
}

/// The word beside a batch's file that cuts it.
fn cut_name(sequence: u64) -> String {
    format!("{sequence:020}.cut")
}

/// Milliseconds since 1970. For ages of digests and for people; no order is decided by it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
