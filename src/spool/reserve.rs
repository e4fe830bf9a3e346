//! Room that is kept for what empties a full disk: notes, the journal, also that of a start, and words that cut.
//!
//! While it is given back nothing new comes in ([`Reserve::is_spent`]): frames would take the room that their delivery needs.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::{Disk, is_full};

const NAME: &str = "reserve";
/// Its bytes; its inode is one more file that can be made.
pub(crate) const BYTES: u64 = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// Whether it is set aside.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    spent: AtomicBool,
}

impl Reserve {
    /// Does `write` once more with the reserve given back where the disk is full.
    pub(crate) fn with<T>(&self, disk: &dyn Disk, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if is_full(&error) => {
                self.spent.store(true, Ordering::Release);
                match disk.remove(NAME) {
                    // It is given back already, and more room is not to be had.
                    Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Err(error),
                    Err(other) => return Err(other),
                    Ok(()) => {}
                }
                // Whether its removal survives is no matter: the room is there now.
                let _ = disk.sync_dir("");
                write()
            }
            done => done,
        }
    }

    /// Whether it is given back, so that nothing but what empties the disk may be written.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    /// Sets it aside, if there is room for it.
    pub(crate) fn make(&self, disk: &dyn Disk) -> io::Result<()> {
        let made = fill(disk);
        if made.is_err() {
            // A part of it would only take what is left.
            let _ = disk.remove(NAME);
        }
        self.spent.store(made.is_err(), Ordering::Release);
        made
    }
}

fn fill(disk: &dyn Disk) -> io::Result<()> {
    let mut file = match disk.create(NAME) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(NAME)?,
        file => file?,
    };
    if file.size()? < BYTES {
        file.truncate(0)?;
        let bytes = usize::try_from(BYTES).map_err(io::Error::other)?;
        file.append(&[vec![0; bytes].into()])?;
        file.sync()?;
    }
    disk.sync_dir("")
}
