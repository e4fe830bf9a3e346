//! The disk of a spool folder: plain files, `fdatasync`-like syncs of std, a lock that keeps a second process out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};

use super::{Disk, DiskFile};

/// Only the owner may read what clients sent.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Between two tries to lock a folder that is about to be let go.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What one `writev` may take on Linux.
const MAX_SLICES: usize = 1024;

/// A folder of the file system, locked for this process while the value lives.
pub(crate) struct RealDisk {
    dir: PathBuf,
    _lock: File,
}

struct RealFile {
    file: File,
    len: u64,
}

/// Why a folder cannot be used as a spool.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the folder.
    #[error("{0} is in use by another otelgate process; a spool folder belongs to one process")]
    InUse(PathBuf),
    /// The folder cannot be made, opened or locked.
    #[error("cannot use {0} as the spool's folder: {1}")]
    Io(PathBuf, io::Error),
}

impl RealDisk {
    /// Makes the folder where it is missing (for its owner only) and locks it.
    ///
    /// # Errors
    /// The folder belongs to another process, or cannot be made or written.
    pub(crate) fn open(dir: &Path) -> Result<RealDisk, LockError> {
        let failed = |error: io::Error| LockError::Io(dir.to_owned(), error);
        for folder in [dir.to_owned(), dir.join(super::super::QUARANTINE)] {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(FOLDER_MODE);
            builder.create(folder).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(dir.join("lock"))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::InUse(dir.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
        let disk = RealDisk { dir: dir.to_owned(), _lock: lock };
        disk.sync_dir("").map_err(failed)?;
        Ok(disk)
    }

    /// As [`Self::open`], and waits so long for another process that is about to let go of the folder.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn open_within(dir: &Path, wait: Duration) -> Result<RealDisk, LockError> {
        let began = Instant::now();
        loop {
            match RealDisk::open(dir) {
                Err(LockError::InUse(_)) if began.elapsed() < wait => std::thread::sleep(LOCK_PAUSE),
                opened => return opened,
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().create_new(true).read(true).append(true).mode(FILE_MODE).open(self.path(name))?;
        Ok(Box::new(RealFile { file, len: 0 }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).open(self.path(name))?;
        let len = file.metadata()?.len();
        Ok(Box::new(RealFile { file, len }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                names.push((name, metadata.len()));
            }
        }
        Ok(names)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(MAX_SLICES)];
            match self.file.write_vectored(some) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.len += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_files_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        assert!(matches!(RealDisk::open(dir.path()), Err(LockError::InUse(_))));
        let mut file = disk.create("a").unwrap();
        let pieces: Vec<Bytes> = (0..3000u32).map(|n| n.to_le_bytes().to_vec().into()).collect();
        file.append(&pieces).unwrap();
        file.sync().unwrap();
        assert_eq!(disk.open("a").unwrap().read_at(8000, 4).unwrap()[..], 2000u32.to_le_bytes());
        file.truncate(8).unwrap();
        file.append(&[Bytes::from_static(b"x")]).unwrap();
        assert_eq!(disk.open("a").unwrap().size().unwrap(), 9);
        disk.rename("a", "quarantine/a").unwrap();
        assert_eq!(disk.list("quarantine").unwrap(), [("a".to_owned(), 9)]);
        assert!(disk.free_bytes().unwrap() > 0);
        drop((disk, file));
        RealDisk::open(dir.path()).unwrap();
    }
}
