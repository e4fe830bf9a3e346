//! What all batches of a spool share: the disk, the room, the counters, and the small files beside the batches.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::QUARANTINE;
use super::counts::{Counts, Totals};
use super::disk::Disk;
use super::health::Health;
use super::journal::{Event, Journal};
use super::reserve::Reserve;
use super::room::{Limits, Room};

/// Shared by a spool and its batches.
pub(crate) struct Store {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) room: Room,
    pub(crate) waiting: Mutex<Counts>,
    pub(crate) totals: Mutex<Totals>,
    /// Read while rows move between `waiting` and `totals`; written by who wants to see both at rest.
    pub(crate) moving: RwLock<()>,
    /// Where it is written down what became of batches; memory needs none. Held while the disk works.
    pub(crate) journal: Option<Mutex<Journal>>,
    pub(crate) reserve: Reserve,
    pub(crate) health: Health,
    /// The word of a clean stop is on the disk.
    pub(crate) stopped: AtomicBool,
    /// Batches about which a person's order is being carried out.
    pub(crate) orders: Mutex<BTreeSet<u64>>,
}

impl Store {
    /// Nothing waits, and nothing is known but what the journal says.
    pub(crate) fn new(disk: Box<dyn Disk>, limits: Limits, journal: Option<Journal>, reserve: Reserve) -> Store {
        let totals = journal.as_ref().map(|journal| journal.known.totals.clone());
        Store {
            disk,
            room: Room::new(limits),
            waiting: Mutex::default(),
            totals: Mutex::new(totals.unwrap_or_default()),
            moving: RwLock::default(),
            journal: journal.map(Mutex::new),
            reserve,
            health: Health::default(),
            stopped: AtomicBool::new(false),
            orders: Mutex::default(),
        }
    }

    /// The checksum by which a part's bytes are known when they are read back: their CRC-32C. What never leaves memory has none: nothing could have changed it.
    pub(crate) fn sum(&self, bytes: &[Bytes]) -> u32 {
        match self.disk.is_durable() {
            true => bytes.iter().fold(0, |sum, slice| crc32c::crc32c_append(sum, slice)),
            false => 0,
        }
    }

    /// Leaves the word beside a batch's file that nothing past `len` is to be recovered.
    pub(crate) fn write_cut(&self, sequence: u64, len: u64) -> io::Result<()> {
        self.with_reserve(|| self.replace(&super::cut_name(sequence), &len.to_le_bytes()))
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
    pub(crate) fn with_reserve<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.reserve.with(self.disk.as_ref(), write)
    }
}

impl Store {
    /// Before a frame is written: the word of a clean stop would no longer be true.
    pub(crate) fn goes_on(&self) -> io::Result<()> {
        if self.stopped.load(Ordering::Acquire) {
            match self.disk.remove(super::CLEAN_STOP) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.disk.sync_dir("")?,
            }
            self.stopped.store(false, Ordering::Release);
        }
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
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let mut journal = journal.lock();
        self.with_reserve(|| journal.append(self.disk.as_ref(), event))?;
        self.totals.lock().clone_from(&journal.known.totals);
        Ok(())
    }

    /// Removes a file from quarantine, if it is there.
    pub(crate) fn remove_kept(&self, sequence: u64) -> io::Result<()> {
        match self.disk.remove(&format!("{QUARANTINE}/{}", super::file_name(sequence))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.disk.sync_dir(QUARANTINE),
        }
    }
}

impl Store {
    /// Whether a request could be kept now. Blocks; where the last append failed it writes a small file and removes it.
    ///
    /// # Errors
    /// In words, what stands in the way.
    pub(crate) fn check(&self) -> Result<(), String> {
        let disk = self.disk.as_ref();
        self.room.look(disk);
        disk.check().map_err(|error| error.to_string())?;
        if self.reserve.is_spent() {
            self.reserve.make(disk).map_err(|error| {
                format!("the disk is full, and only what was accepted before is brought to its end: {error}")
            })?;
            self.room.look(disk);
        }
        self.room.check_all().map_err(|away| away.to_string())?;
        self.health.check(disk)
    }
}
