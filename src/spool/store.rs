//! What all batches of a spool share: the disk, the room, the counters, and the small files beside the batches.

use std::io;

use bytes::Bytes;
use parking_lot::Mutex;

use super::counts::Counts;
use super::disk::Disk;
use super::room::Room;

/// Room that is kept for notes, so that a full disk can still be emptied.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 4 << 20;

/// Shared by a spool and its batches.
pub(crate) struct Store {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) room: Room,
    pub(crate) totals: Mutex<Totals>,
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
    /// Counts what became of a batch, then takes its file away.
    pub(crate) fn end(&self, batch: &super::Batch, outcome: Totals, keep: bool) -> io::Result<()> {
        let name = batch.state.lock().log.name.clone();
        let bytes = batch.bytes();
        if keep {
            self.disk.rename(&name, &format!("{}/{name}", super::QUARANTINE))?;
            self.disk.sync_dir(super::QUARANTINE)?;
        } else {
            self.disk.remove(&name)?;
        }
        self.disk.sync_dir("")?;
        self.room.release(bytes, &batch.index.shares);
        self.totals.lock().add(&outcome);
        Ok(())
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
}
