//! Step 8, spool: keeps batches until the sink has them. One batch = one file.

mod batch;
mod contents;
mod counts;
pub mod digests;
pub mod disk;
mod finish;
mod format;
mod index;
mod journal;
mod log;
#[cfg(test)]
mod model;
mod open;
mod recover;
mod room;
mod scan;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;

pub use batch::{Batch, PartState, Rows};
pub use contents::{Contents, SegmentContents};
pub use counts::Counts;
pub use digests::{Digest, Digests, Remembered};
pub use format::frame::{Frame, FramePart, Request};
pub use format::note::{Note, Refused};
pub use format::record::{Header, Token};
pub use index::{Part, Segment};
pub use open::{AppendError, OpenBatch};
pub use recover::{OpenError, Recovered};
pub use room::Limits;
pub use store::Totals;

use crate::otlp::Signal;
use crate::reply::Away;
use disk::{Disk, MemoryDisk};
use room::Room;
use store::{Book, Store};

/// Where files with damaged or refused rows are kept for people.
pub const QUARANTINE: &str = "quarantine";

/// How much a spool may hold, and how long it remembers digests.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Room.
    pub limits: Limits,
    /// How long a digest counts.
    pub digest_ttl: Duration,
}

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
                waiting: Mutex::default(),
                book: Book::Memory(Mutex::default()),
            }),
            next_sequence: AtomicU64::new(0),
        }
    }

    /// Opens the spool on a disk and recovers what is there. Blocks: it reads the metas of every file.
    ///
    /// # Errors
    /// The disk refuses what every start needs, or a file is of another version.
    pub fn open(disk: Box<dyn Disk>, settings: &Settings) -> Result<(Spool, Recovered), OpenError> {
        let (book, journaled) = recover::open_book(disk.as_ref(), settings)?;
        let store = Arc::new(Store { disk, room: Room::new(settings.limits), waiting: Mutex::default(), book });
        let (recovered, next_sequence) = recover::recover(&store, settings, journaled)?;
        if let Err(error) = store.make_reserve() {
            tracing::warn!(%error, "no room for the spool's reserve: a full disk will have to be emptied by hand");
        }
        let spool = Spool { store, next_sequence: AtomicU64::new(next_sequence) };
        Ok((spool, recovered))
    }

    /// Leaves the word that this process ends in peace, with the digests that still count. Nothing may be appended
    /// afterwards. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; the next start then takes every young digest for one that counts.
    pub fn stop(&self, remembered: &[Remembered]) -> io::Result<()> {
        recover::write_clean_stop(&self.store, remembered)
    }

    /// Whether what is appended survives the process, so that it may be acknowledged before the sink has it.
    pub fn is_durable(&self) -> bool {
        self.store.disk.is_durable()
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
        self.store.totals()
    }

    /// What was acknowledged and is not known to be in: accepted = these and [`Spool::totals`] together.
    pub fn waiting(&self) -> Counts {
        self.store.waiting.lock().clone()
    }

    /// Bytes used, whole spool and by key.
    pub fn used(&self) -> (u64, BTreeMap<Arc<str>, u64>) {
        (self.store.room.used(), self.store.room.used_by_key())
    }

    /// Whether there is room for anybody.
    ///
    /// # Errors
    /// [`Away::Spool`].
    pub fn has_room(&self) -> Result<(), Away> {
        self.store.room.check_all(self.store.disk.as_ref())
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
