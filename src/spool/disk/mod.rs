//! The disk behind a small trait, so that the spool's promise can be tested against a disk that fails.
//!
//! What the spool relies on, and nothing else: bytes appended are there after a crash once `sync` said yes; a name is there
//! (or gone, or renamed) after a crash once `sync_dir` said yes; without that, everything is possible. Names are relative to the
//! spool's folder. All calls may block: they are not for a reactor.

#[cfg(test)]
pub(crate) mod faulty;
mod memory;
mod real;

use std::io;

use bytes::Bytes;

pub(crate) use memory::MemoryDisk;
pub(crate) use real::{LockError, RealDisk};

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
}

/// One open file, appended to at its end.
pub(crate) trait DiskFile: Send + Sync {
    /// Appends the pieces, one after another.
    ///
    /// # Errors
    /// Whatever the disk says; any prefix of the bytes may then be there.
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()>;

    /// Makes what was appended or cut survive a crash.
    ///
    /// # Errors
    /// Whatever the disk says; what survives is then unknown, and a later `sync` that succeeds proves nothing about it.
    fn sync(&mut self) -> io::Result<()>;

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, and whatever the disk says.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

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
