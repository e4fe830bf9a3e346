//! The disk behind a small trait, so that the spool's promise can be tested against a disk that fails.
//!
//! What the spool relies on, and nothing else: bytes appended are there after a crash once `sync` said yes; a name is there
//! (or gone, or renamed) after a crash once `sync_dir` said yes; without that, everything is possible. Names are relative to the
//! spool's folder. All calls may block: they are not for a reactor.
//!
//! What an error means is decided here, for every call alike:
//!
//! | error | what it says |
//! | --- | --- |
//! | `NotFound`, `IsADirectory`, and the folder is there ([`Disk::is_there`]) | the file is gone, and what it held with it ([`is_gone`]) |
//! | `StorageFull`, `QuotaExceeded` | no room for bytes, or no inode: the reserve helps ([`is_full`]) |
//! | those of [`may_pass`] | nothing about the file: a right that is missing, files that are open elsewhere, a mount or a network that is away |
//! | anything else | the file, or the disk, is broken: what cannot be read a few times is damaged |

#[cfg(test)]
pub(crate) mod faulty;
mod memory;
mod named;
mod read_only;
mod real;

use std::io;

use bytes::Bytes;

pub(crate) use memory::MemoryDisk;
pub(crate) use read_only::ReadOnlyDisk;
pub(crate) use real::{LockError, RealDisk};

/// There is no room for bytes, or for another file.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The file is not there, or something else has its name: what it held is gone, as long as the folder is there.
pub(crate) fn is_gone(error: &io::Error, disk: &dyn Disk) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) && disk.is_there()
}

/// The error says nothing about what the file holds: somebody mends it, or it passes, and all of it is there.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{
        HostUnreachable, NetworkDown, NetworkUnreachable, NotFound, OutOfMemory, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, ResourceBusy, StaleNetworkFileHandle, StorageFull, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotFound
            | OutOfMemory
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | ResourceBusy
            | StaleNetworkFileHandle
            | StorageFull
            | TimedOut
            | WouldBlock
    )
}

/// A folder of files.
pub(crate) trait Disk: Send + Sync + 'static {
    /// A new, empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, and whatever the disk says.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// A file that exists, for reading and appending.
    ///
    /// # Errors
    /// `NotFound`, and whatever the disk says.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, replacing the file that had it.
    ///
    /// # Errors
    /// Whatever the disk says; the file then has one of the two names.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and whatever the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files in `folder` ("" for the spool's own), in no order, with their lengths; folders are left out.
    ///
    /// # Errors
    /// Whatever the disk says; a folder that does not exist is empty.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Makes every creation, renaming and removal in `folder` ("" for the spool's own) survive a crash.
    ///
    /// # Errors
    /// Whatever the disk says; what survives is then unknown.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Whether anything survives the process.
    fn is_durable(&self) -> bool {
        true
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Whether the folder is still the one that was opened: not removed, moved, or hidden by a mount.
    fn is_there(&self) -> bool {
        true
    }

    /// Whether a file could be made in the folder now. Writes nothing.
    ///
    /// # Errors
    /// What stands in the way, and what a person may do about it.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One open file, appended to at its end.
pub(crate) trait DiskFile: Send + Sync {
    /// Appends the pieces, one after another.
    ///
    /// # Errors
    /// Whatever the disk says; any prefix of the bytes may then be there.
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()>;

    /// Makes what was appended or cut survive a crash, under the file's name.
    ///
    /// # Errors
    /// `NotFound` when the name is not this file's any more, and whatever the disk says; what survives is then unknown, and a later `sync` that
    /// succeeds proves nothing about it.
    fn sync(&mut self) -> io::Result<()>;

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, and whatever the disk says.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// The same, as slices that follow one another: what lies in memory is not moved together.
    ///
    /// # Errors
    /// As [`DiskFile::read_at`].
    fn read_slices(&self, offset: u64, len: usize) -> io::Result<Vec<Bytes>> {
        self.read_at(offset, len).map(|bytes| vec![bytes])
    }

    /// Cuts the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn size(&self) -> io::Result<u64>;
}
