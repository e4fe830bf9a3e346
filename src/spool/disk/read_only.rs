//! A spool's folder for those who only look: nothing is made, written or locked, and whoever may read the files may look.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::named::named;
use super::real::list;
use super::{Disk, DiskFile};

/// A folder that is only read. Everything else is refused.
pub(crate) struct ReadOnlyDisk {
    dir: PathBuf,
}

struct ReadOnlyFile {
    file: File,
    len: u64,
    path: PathBuf,
}

impl ReadOnlyDisk {
    /// Looks at a folder.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(crate) fn open(dir: &Path) -> io::Result<ReadOnlyDisk> {
        std::fs::read_dir(dir).map_err(named(dir))?;
        Ok(ReadOnlyDisk { dir: dir.to_owned() })
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "who only looks writes nothing"))
}

impl Disk for ReadOnlyDisk {
    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = File::open(&path).map_err(named(&path))?;
        let metadata = file.metadata().map_err(named(&path))?;
        if !metadata.is_file() {
            return Err(named(&path)(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Box::new(ReadOnlyFile { file, len: metadata.len(), path }))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        list(&self.dir.join(folder))
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}

impl DiskFile for ReadOnlyFile {
    fn append(&mut self, _: &[Bytes]) -> io::Result<()> {
        refused()
    }

    fn sync(&mut self) -> io::Result<()> {
        refused()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(named(&self.path)(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, offset).map_err(named(&self.path))?;
        Ok(buffer.into())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        refused()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}
