//! Step 8, spool: keeps batches until the sink has them. One batch = one file = one insert a part = one token a part.
//!
//! # Invariants
//!
//! 1. A request is acknowledged after the frame that holds it was synced, and, when its file was new, the file's name too.
//! 2. A frame whose write or sync failed does not come back at a start while its clients were told that nothing is kept: the file is cut
//!    and the cut synced, or the file is removed, or a word is left beside it (`.cut`) that nothing past a length is to be recovered. Where the disk
//!    refuses all of these, the answer is that nobody knows ([`AppendError::Unknown`]).
//! 3. Frames never change once they are synced. After the footer only notes are appended.
//! 4. A note is synced before what it announces.
//! 5. What became of a batch is synced in the [`journal`] before its file goes away, under its sequence number: a batch is counted once, whatever is
//!    repeated. So accepted = waiting + stored + quarantined + lost + dropped, for each key and table, across starts.
//! 6. Nothing that is read is believed without its checksum. Whatever a file's bytes are, reading it neither panics nor makes room for more than the
//!    file holds.
//! 7. Sequence numbers are never used twice. Nothing is ordered by a clock.
//!
//! # The folder
//!
//! | name | what |
//! | --- | --- |
//! | `NNNNNNNNNNNNNNNNNNNN.batch` | a batch; the name is its sequence number |
//! | `NNNNNNNNNNNNNNNNNNNN.cut` | u64: the length after which nothing of that batch is to be recovered |
//! | `journal-NNNNNNNNNNNN` | what became of batches, and their digests (see [`journal`]) |
//! | `clean-stop` | the last process ended in peace; the digests that still counted |
//! | `reserve` | room for notes and the journal on a full disk: removed when it is needed, and while it is gone nothing new comes in |
//! | `lock` | held (flock) by the process that the folder belongs to |
//! | `quarantine/` | batches with rows that the sink refused for good, and damaged files, for people |
//!
//! Others keep small files here too ([`Spool::save`]), such as the last known schema.
//!
//! # A batch's file
//!
//! All numbers are little-endian; `varint` is LEB128; a text or blob is a varint length and its bytes; a list is a varint count and its items.
//! The header (64 bytes) is written twice, so that a flipped bit in it costs nothing:
//!
//! | at | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | `OTGSPOOL` |
//! | 8 | 2 | version: 2, 3 for profiles, 4 where notes of shards may come; 1 has the same layout and fewer kinds of notes |
//! | 10 | 2 | signal: 0 traces, 1 logs, 2 metrics |
//! | 12 | 8 | sequence number |
//! | 20 | 16 | token |
//! | 36 | 8 | opened, in milliseconds since 1970 (for people) |
//! | 44 | 16 | zero |
//! | 60 | 4 | CRC32C of bytes 0 to 60 |
//!
//! Records follow: frames, then a footer, then notes. Each is a head, a meta and a body (empty but for frames):
//!
//! | at | bytes | |
//! | --- | --- | --- |
//! | 0 | 16 | the batch's token: where a damaged record is followed by a whole one, this finds it |
//! | 16 | 4 | kind: 1 frame, 2 footer, 3 note |
//! | 20 | 4 | the record's number in the file, from 0 |
//! | 24 | 4 | number of the first record of the same write |
//! | 28 | 4 | length of the meta |
//! | 32 | 8 | length of the body |
//! | 40 | 8 | requests in all frames before |
//! | 48 | 8 | rows in all frames before: what an unreadable frame held is the difference between its neighbours |
//! | 56 | 4 | CRC32C of the meta |
//! | 60 | 4 | CRC32C of bytes 0 to 60 |
//!
//! A frame's meta: sealed at (u64, milliseconds since 1970); keys (list of text); requests (list of: key's index varint, bytes varint, digest 16 bytes);
//! lists of columns (list of list of text); parts (list of: part's number in the batch varint, table text, day i32, index of its columns
//! varint, length varint, CRC32C of its bytes u32, uncompressed varint, list of (request's index as a difference, rows) varints, list of witnesses).
//! Its body is the parts' bytes in that order. A frame stands alone: no other record is needed to understand it, so damage in one costs no other.
//! What each key has in it follows from its requests and their rows and is not written twice.
//!
//! A footer's meta: requests by key and rows by key and table of all frames, so that it is known whose rows a damaged frame held;
//! then the numbers of frames that were torn (u32, see below). A note's meta: a list of [`Note`]s.
//!
//! # Recovery
//!
//! Heads and metas of every file are read; bodies where a torn tail has to be found, otherwise when they are delivered.
//!
//! - A file without a footer was being written. In its last write any frame may be torn, and none of it was acknowledged, as far as can be told: what is bad at
//!   the end is cut, what is bad before a whole frame is passed over, and the footer is written.
//! - Anything else that is not what was written is damage: the whole records around it are used, what is missing is counted as lost when the batch is
//!   finished, and the file is then kept in quarantine. Where a note may be gone, every part counts as tried.
//! - A batch that the journal knows has ended: its file goes where it belongs, and it is not delivered.
//! - The others are delivered: those already tried first, then by sequence number.
//! - Digests: those in `clean-stop`; after a start that no clean stop preceded, all in files and journal that are young enough.

mod batch;
mod contents;
mod counts;
pub(crate) mod digests;
pub(crate) mod disk;
mod finish;
mod format;
mod health;
mod index;
mod journal;
mod look;
#[cfg(test)]
mod model;
mod open_batch;
pub mod orders;
mod piece;
mod recover;
mod reserve;
mod room;
mod scan;
mod store;
mod tail;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

pub(crate) use batch::{Batch, PartState};
pub(crate) use contents::{Contents, SegmentContents};
pub(crate) use counts::{Counts, Totals};
pub(crate) use digests::{Digest, Digests, Remembered};
pub(crate) use format::frame::{Frame, FrameRequest};
pub(crate) use format::note::{Note, Refused};
pub(crate) use format::record::{Header, Token};
pub(crate) use index::{BatchPart, Segment};
pub use look::look;
pub(crate) use open_batch::{AppendError, OpenBatch};
pub(crate) use orders::{AskError, Summary};
pub(crate) use piece::{Extent, PieceState, Rows};
pub(crate) use recover::{OpenError, Recovered};
pub(crate) use room::Limits;

use crate::reply::Away;
use crate::signal::Signal;
use disk::{Disk, MemoryDisk};
use reserve::Reserve;
use store::Store;

/// Says that the process before this one ended in peace, and which digests it still remembered.
const CLEAN_STOP: &str = "clean-stop";

/// Where files with damaged or refused rows are kept for people.
pub(crate) const QUARANTINE: &str = "quarantine";

/// How much a spool may hold, and how long it remembers digests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Room.
    pub(crate) limits: Limits,
    /// How long a digest counts.
    pub(crate) digest_ttl: Duration,
}

/// Batches on a disk. Every method that says so blocks: it is not for a reactor.
pub(crate) struct Spool {
    store: Arc<Store>,
    next_sequence: AtomicU64,
    shards: AtomicBool,
}

impl Spool {
    /// A spool in memory: gone with the process, so that nothing may be acknowledged before the sink has it.
    pub(crate) fn in_memory() -> Spool {
        let store = Store::new(Box::new(MemoryDisk::default()), Limits::NONE, None, Reserve::default());
        Spool { store: Arc::new(store), next_sequence: AtomicU64::new(0), shards: AtomicBool::new(false) }
    }

    /// For who only looks.
    pub(crate) fn of(store: Arc<Store>) -> Spool {
        Spool { store, next_sequence: AtomicU64::new(0), shards: AtomicBool::new(false) }
    }

    /// Opens the spool on a disk and recovers what is there. Blocks: it reads the metas of every file.
    ///
    /// # Errors
    /// The disk refuses what every start needs, or a file is of another version.
    pub(crate) fn open(disk: Box<dyn Disk>, settings: &Settings) -> Result<(Spool, Recovered), OpenError> {
        let reserve = Reserve::default();
        let opened = recover::open_journal(disk.as_ref(), settings, &reserve)?;
        let store = Arc::new(Store::new(disk, settings.limits, Some(opened.journal), reserve));
        store.health.journal_damaged(opened.damaged);
        let (mut recovered, next_sequence) = recover::recover(&store, settings, opened.digests)?;
        recovered.journal_damaged = opened.damaged;
        if let Err(error) = store.reserve.make(store.disk.as_ref()) {
            tracing::warn!(%error, "no room for the spool's reserve: nothing new is accepted before there is");
        }
        store.room.look(store.disk.as_ref());
        let spool = Spool { store, next_sequence: AtomicU64::new(next_sequence), shards: AtomicBool::new(false) };
        Ok((spool, recovered))
    }

    /// Leaves the word that this process ends in peace, with the digests that still count. A frame that is appended afterwards takes the
    /// word back. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; the next start then takes every young digest for one that counts.
    pub(crate) fn stop(&self, remembered: &[Remembered]) -> io::Result<()> {
        recover::write_clean_stop(&self.store, remembered)
    }

    /// Whether what is appended survives the process, so that it may be acknowledged before the sink has it.
    pub(crate) fn is_durable(&self) -> bool {
        self.store.disk.is_durable()
    }

    /// From now on batches may come to hold notes of shards, which versions before do not understand.
    pub(crate) fn notes_shards(&self) {
        self.shards.store(true, Ordering::Relaxed);
    }

    /// A new batch. No file is made before its first frame.
    pub(crate) fn batch(&self, signal: Signal) -> OpenBatch {
        let header = Header {
            sequence: self.next_sequence.fetch_add(1, Ordering::Relaxed),
            token: Token::random(),
            signal,
            created_ms: now_ms(),
            shards: self.shards.load(Ordering::Relaxed),
        };
        OpenBatch::new(self.store.clone(), header)
    }

    /// Whether a request of this key may come in, as the disk was at the last [`Spool::check`]: who asks here must not wait for a disk.
    ///
    /// # Errors
    /// [`Away::Spool`] or [`Away::KeySpool`].
    pub(crate) fn room(&self, key: &str) -> Result<(), Away> {
        self.has_room()?;
        self.store.room.check_key(key)
    }

    /// What became of everything that is no longer waiting, over all processes that this spool has seen.
    pub(crate) fn totals(&self) -> Totals {
        self.store.totals.lock().clone()
    }

    /// What was acknowledged and is not known to be in: accepted = these and [`Spool::totals`] together.
    pub(crate) fn waiting(&self) -> Counts {
        self.store.waiting.lock().clone()
    }

    /// [`Spool::waiting`] and [`Spool::totals`] at one moment, so that they add up. May wait for a disk that ends a batch. Blocks.
    pub(crate) fn account(&self) -> (Counts, Totals) {
        let _at_rest = self.store.moving.write();
        (self.waiting(), self.totals())
    }

    /// Bytes used, whole spool and by key.
    pub(crate) fn used(&self) -> (u64, BTreeMap<Arc<str>, u64>) {
        (self.store.room.used(), self.store.room.used_by_key())
    }

    /// Bytes that are charged to one key.
    pub(crate) fn used_by(&self, key: &str) -> u64 {
        self.store.room.used_by(key)
    }

    /// The most bytes that it may use; `None`: no limit of its own.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.store.room.max_bytes()
    }

    /// Whether there is room for anybody, and the folder is there to take it, as the disk was at the last [`Spool::check`].
    ///
    /// # Errors
    /// [`Away::Spool`].
    pub(crate) fn has_room(&self) -> Result<(), Away> {
        // Frames would take the room that is needed to deliver what is here.
        if self.store.reserve.is_spent() {
            return Err(Away::Spool);
        }
        self.store.room.check_all()
    }

    /// Whether a request could be kept now; after an append failed, whether the disk works again. Blocks.
    ///
    /// # Errors
    /// In words, what stands in the way.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.store.check()
    }

    /// What a person should know of though requests are kept: rows that are lost, files that cannot be read, a journal that was damaged.
    pub(crate) fn remark(&self) -> Option<String> {
        self.store.health.remark()
    }

    /// Keeps a small file, such as the last known schema, so that it survives a crash whole. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; the file is then as it was, or as it should be.
    pub(crate) fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.store.replace(name, bytes)
    }

    /// A small file that was saved. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(crate) fn load(&self, name: &str) -> io::Result<Option<Bytes>> {
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

/// What the fuzz targets drive; not part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    use super::*;

    /// A start on a folder with a file of these bytes, and the delivery of what it holds.
    pub fn start_on(bytes: &[u8]) {
        let disk = MemoryDisk::default();
        let Ok(mut file) = disk.create(&file_name(7)) else { return };
        let _ = file.append(&[Bytes::copy_from_slice(bytes)]);
        let settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };
        match Spool::open(Box::new(disk), &settings) {
            Err(OpenError::Version { .. }) => {}
            Err(error) => panic!("a file's bytes stop the start: {error}"),
            Ok((_, recovered)) => {
                for batch in recovered.batches {
                    let read = batch.parts().iter().all(|part| batch.read(part.id).is_ok());
                    assert!(read && batch.finish().is_ok(), "a file's bytes stop its delivery");
                }
            }
        }
    }
}
