//! What all batches of a spool share: the disk, the room, the counters, and the small files beside the batches.

use std::io;

use bytes::Bytes;
use parking_lot::Mutex;

use super::QUARANTINE;
use super::batch::Batch;
use super::counts::Counts;
use super::digests::Remembered;
use super::disk::Disk;
use super::format::wire::{Malformed, Reader, Writer};
use super::journal::{Event, Journal};
use super::room::Room;

/// Room that is kept for notes, so that a full disk can still be emptied.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// Shared by a spool and its batches.
pub(crate) struct Store {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) room: Room,
    pub(crate) waiting: Mutex<Counts>,
    pub(crate) book: Book,
}

/// Where it is written down what became of batches.
pub(crate) enum Book {
    /// In memory, as the batches are.
    Memory(Mutex<Totals>),
    /// On disk.
    Journal(Mutex<Journal>),
}

/// What became of everything that was ever acknowledged here and is no longer waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// In the sink.
    pub stored: Counts,
    /// Refused for good by the sink, kept in the quarantine folder.
    pub quarantined: Counts,
    /// Damaged on disk.
    pub lost: Counts,
    /// Dropped by a person.
    pub dropped: Counts,
}

impl Store {
    /// Leaves the word beside a batch's file that nothing past `len` is to be recovered.
    pub(crate) fn write_cut(&self, sequence: u64, len: u64) -> io::Result<()> {
        self.replace(&super::cut_name(sequence), &len.to_le_bytes())
    }

    /// Writes a small file so that it holds either what it held or all of `bytes`, whatever happens.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        match self.disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.disk.create(&new)?;
        file.append(&[Bytes::copy_from_slice(bytes)])?;
        file.sync()?;
        self.disk.rename(&new, name)?;
        self.disk.sync_dir("")
    }

    /// The bytes of a small file; `None` when there is no such file.
    pub(crate) fn load(&self, name: &str) -> io::Result<Option<Bytes>> {
        let file = match self.disk.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
        file.read_at(0, len).map(Some)
    }

    /// Tries once more with the reserve given back when the disk is full.
    pub(crate) fn with_reserve<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let mut reserve = self.disk.open(RESERVE)?;
                reserve.truncate(0)?;
                reserve.sync()?;
                write()
            }
            done => done,
        }
    }

    /// Sets the reserve aside. Without room for it the spool works, and a full disk needs a person.
    pub(crate) fn make_reserve(&self) -> io::Result<()> {
        let mut file = match self.disk.create(RESERVE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(RESERVE)?,
            file => file?,
        };
        if file.size()? < RESERVE_BYTES as u64 {
            file.truncate(0)?;
            file.append(&[vec![0; RESERVE_BYTES].into()])?;
            file.sync()?;
        }
        self.disk.sync_dir("")
    }
}

impl Store {
    /// Counts what became of a batch, then takes its file away: out of the spool, or into quarantine.
    pub(crate) fn end(&self, batch: &Batch, outcome: Totals, digests: Vec<Remembered>, keep: bool) -> io::Result<()> {
        let name = super::file_name(batch.sequence());
        match &self.book {
            Book::Memory(totals) => {
                self.put_away(&name, keep)?;
                totals.lock().add(&outcome);
            }
            Book::Journal(journal) => {
                let event = Event::Ended { sequence: batch.sequence(), keep, outcome, digests };
                let mut journal = journal.lock();
                if !journal.known.ended.contains_key(&batch.sequence()) {
                    self.with_reserve(|| journal.append(self.disk.as_ref(), &event))?;
                }
                self.put_away(&name, keep)?;
                // One that stays behind cuts nothing any more; the next start removes it.
                let _ = self.disk.remove(&super::cut_name(batch.sequence()));
                journal.forget(batch.sequence());
            }
        }
        self.room.release(batch.charged, &batch.index.shares);
        self.waiting.lock().subtract(&batch.waiting);
        Ok(())
    }

    /// Removes a batch's file or moves it into quarantine, for good. A file that is not there was put away before.
    pub(crate) fn put_away(&self, name: &str, keep: bool) -> io::Result<()> {
        let gone = if keep { self.disk.rename(name, &format!("{QUARANTINE}/{name}")) } else { self.disk.remove(name) };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if keep {
            self.disk.sync_dir(QUARANTINE)?;
        }
        self.disk.sync_dir("")
    }

    /// A batch whose file is cut or gone needs no word beside it.
    pub(crate) fn remove_cut(&self, sequence: u64) -> io::Result<()> {
        match self.disk.remove(&super::cut_name(sequence)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // Also when it is gone already: its removal may not have been synced.
            _ => self.disk.sync_dir(""),
        }
    }

    /// Writes an event into the journal.
    pub(crate) fn write(&self, event: &Event) -> io::Result<()> {
        match &self.book {
            Book::Memory(_) => Ok(()),
            Book::Journal(journal) => journal.lock().append(self.disk.as_ref(), event),
        }
    }

    /// Removes a file from quarantine, if it is there.
    pub(crate) fn remove_kept(&self, sequence: u64) -> io::Result<()> {
        match self.disk.remove(&format!("{QUARANTINE}/{}", super::file_name(sequence))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.disk.sync_dir(QUARANTINE),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        match &self.book {
            Book::Memory(totals) => totals.lock().clone(),
            Book::Journal(journal) => journal.lock().known.totals.clone(),
        }
    }
}

impl Totals {
    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Totals) {
        self.stored.add(&other.stored);
        self.quarantined.add(&other.quarantined);
        self.lost.add(&other.lost);
        self.dropped.add(&other.dropped);
    }

    /// All four together.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = self.stored.clone();
        sum.add(&self.quarantined);
        sum.add(&self.lost);
        sum.add(&self.dropped);
        sum
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        self.stored.encode(out);
        self.quarantined.encode(out);
        self.lost.encode(out);
        self.dropped.encode(out);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Totals, Malformed> {
        Ok(Totals {
            stored: Counts::decode(from)?,
            quarantined: Counts::decode(from)?,
            lost: Counts::decode(from)?,
            dropped: Counts::decode(from)?,
        })
    }
}
