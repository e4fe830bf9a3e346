//! The disk of a spool folder: plain files, `fdatasync`-like syncs of std, a lock that keeps a second process out.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, StatVfsMountFlags, accessat, flock, statvfs};
use rustix::process::geteuid;

use super::named::named;
use super::{Disk, DiskFile};
use crate::spool::QUARANTINE;

/// Only the owner may read what clients sent.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Between two tries to lock a folder that is about to be let go.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What one `writev` may take on Linux.
const MAX_SLICES: usize = 1024;
/// Held by the process that the folder belongs to.
const LOCK: &str = "lock";

const CUT: &str = "somebody cut the file while it was open";

/// A folder of the file system, locked for this process while the value lives.
pub(crate) struct RealDisk {
    dir: PathBuf,
    /// The folder as it was opened.
    folder: File,
    lock: Mutex<File>,
    owner: Owner,
}

struct RealFile {
    file: File,
    len: u64,
    path: PathBuf,
}

/// Whose files these are: what root makes in the folder of another user is that user's, or a service could not open its own spool.
#[derive(Clone, Copy)]
struct Owner(Option<(u32, u32)>);

/// Why a folder cannot be used as a spool.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the folder.
    #[error("{} is in use by another otelgate process; a spool folder belongs to one process", .0.display())]
    InUse(PathBuf),
    /// The folder cannot be made, opened or locked.
    #[error(
        "the spool's folder cannot be used: {0}; make it for the user that otelgate runs as, or write another one as `spool: {{ dir: … }}`, or the \
         folder above it as `state_dir: …`, or `spool: none`, without which clients are refused while the sink is away and may be stored twice after a kill"
    )]
    Io(io::Error),
}

impl RealDisk {
    /// Makes the folder where it is missing (for its owner only) and locks it.
    ///
    /// # Errors
    /// The folder belongs to another process, or cannot be made or written.
    pub(crate) fn open(dir: &Path) -> Result<RealDisk, LockError> {
        for folder in [dir.to_owned(), dir.join(QUARANTINE)] {
            make_folder(&folder).map_err(LockError::Io)?;
        }
        let folder = File::open(dir).map_err(named(dir)).map_err(LockError::Io)?;
        let owner = Owner::of(&folder.metadata().map_err(named(dir)).map_err(LockError::Io)?);
        owner.give(&File::open(dir.join(QUARANTINE)).map_err(LockError::Io)?).map_err(LockError::Io)?;
        let lock = Mutex::new(lock(dir, owner)?);
        let disk = RealDisk { dir: dir.to_owned(), folder, lock, owner };
        disk.sync_dir("").map_err(LockError::Io)?;
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

    /// Whether a folder was ever used as a spool.
    pub(crate) fn is_spool(dir: &Path) -> io::Result<bool> {
        dir.join(LOCK).try_exists().map_err(named(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whoever removed the lock's file did not mean to give the folder away.
    fn lock_again(&self) -> io::Result<()> {
        let mut held = self.lock.lock();
        if is_same(&fs::metadata(self.path(LOCK)), &held.metadata()) {
            return Ok(());
        }
        *held = lock(&self.dir, self.owner).map_err(io::Error::other)?;
        Ok(())
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(named(folder))
}

fn lock(dir: &Path, owner: Owner) -> Result<File, LockError> {
    let path = dir.join(LOCK);
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let lock = open.map_err(named(&path)).map_err(LockError::Io)?;
    owner.give(&lock).map_err(named(&path)).map_err(LockError::Io)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse(dir.to_owned())),
        Err(error) => Err(LockError::Io(named(&path)(error.into()))),
    }
}

fn is_same(one: &io::Result<Metadata>, other: &io::Result<Metadata>) -> bool {
    let which = |file: &Metadata| (file.dev(), file.ino());
    matches!((one, other), (Ok(one), Ok(other)) if which(one) == which(other))
}

impl Owner {
    fn of(folder: &Metadata) -> Owner {
        let another = geteuid().is_root() && folder.uid() != 0;
        Owner(another.then(|| (folder.uid(), folder.gid())))
    }

    fn give(self, file: &File) -> io::Result<()> {
        self.0.map_or(Ok(()), |(user, group)| fchown(file, Some(user), Some(group)))
    }
}

/// The files of a folder with their lengths; folders are left out.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(named(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(named(folder))?;
        let metadata = match entry.metadata() {
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(named(&entry.path()))?,
        };
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            names.push((name, metadata.len()));
        }
    }
    Ok(names)
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path(name);
        let file = OpenOptions::new().create_new(true).read(true).append(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(named(&path))?;
        self.owner.give(&file).map_err(named(&path))?;
        Ok(Box::new(RealFile { file, len: 0, path }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(named(&path))?;
        let len = file.metadata().map_err(named(&path))?.len();
        Ok(Box::new(RealFile { file, len, path }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        match fs::rename(&from, &to) {
            // Somebody removed the quarantine's folder, and not the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() => {
                to.parent().map_or(Ok(()), make_folder)?;
                fs::rename(&from, &to).map_err(named(&from))
            }
            renamed => renamed.map_err(named(&from)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(named(&path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        list(&self.path(folder))
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let path = self.path(folder);
        File::open(&path).and_then(|folder| folder.sync_all()).map_err(named(&path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.dir).map_err(|error| named(&self.dir)(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn is_there(&self) -> bool {
        is_same(&fs::metadata(&self.dir), &self.folder.metadata())
    }

    fn check(&self) -> io::Result<()> {
        let dir = self.dir.display();
        if !self.is_there() {
            let text = format!(
                "{dir} is not the folder any more that was opened: it was removed, moved, or a mount hides it; put it back, or start otelgate again"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        accessat(CWD, &self.dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| named(&self.dir)(error.into()))?;
        self.lock_again()?;
        let stat = statvfs(&self.dir).map_err(|error| named(&self.dir)(error.into()))?;
        if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(named(&self.dir)(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        // File systems that make inodes as they need them say that they have none.
        if stat.f_files > 0 && stat.f_favail == 0 {
            let text = format!("{dir}: no inode is left on its file system; remove files there");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(())
    }
}

impl RealFile {
    /// What was written is of use only where it will be found.
    fn has_its_name(&self) -> io::Result<()> {
        let there = fs::metadata(&self.path);
        if let Ok(there) = &there
            && is_same(&Ok(there.clone()), &self.file.metadata())
        {
            return match there.len() < self.len {
                true => Err(named(&self.path)(io::Error::other(CUT))),
                false => Ok(()),
            };
        }
        let why = io::Error::new(io::ErrorKind::NotFound, "the file was removed, moved or replaced while it was open");
        Err(named(&self.path)(why))
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
                Ok(0) => return Err(named(&self.path)(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.len += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(named(&self.path)(error)),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(named(&self.path))?;
        self.has_its_name()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(named(&self.path)(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, offset).map_err(named(&self.path))?;
        Ok(buffer.into())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if self.file.metadata().map_err(named(&self.path))?.len() < len {
            return Err(named(&self.path)(io::Error::other(CUT)));
        }
        self.file.set_len(len).map_err(named(&self.path))?;
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

    #[test]
    fn a_file_that_lost_its_name_is_not_synced() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let (mut gone, mut cut) = (disk.create("gone").unwrap(), disk.create("cut").unwrap());
        for file in [&mut gone, &mut cut] {
            file.append(&[Bytes::from_static(b"hello")]).unwrap();
            file.sync().unwrap();
        }
        fs::remove_file(dir.path().join("gone")).unwrap();
        fs::write(dir.path().join("cut"), "h").unwrap();
        gone.append(&[Bytes::from_static(b"world")]).unwrap();
        let error = gone.sync().unwrap_err();
        assert!(error.kind() == io::ErrorKind::NotFound && error.to_string().contains("/gone: "), "{error}");
        assert!(cut.sync().is_err());
        let error = disk.open("nobody").err().unwrap();
        assert!(crate::spool::disk::is_gone(&error, &disk));
        assert_eq!(error.to_string().matches("nobody").count(), 1, "{error}");
    }

    #[test]
    fn a_folder_that_goes_away_is_told_from_a_file_that_does() {
        let parent = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (parent.path().join("spool"), parent.path().join("elsewhere"));
        let disk = RealDisk::open(&dir).unwrap();
        disk.check().unwrap();
        // Everything in it, and the quarantine: the folder is still this process's.
        fs::remove_file(dir.join(LOCK)).unwrap();
        fs::remove_dir(dir.join(QUARANTINE)).unwrap();
        disk.check().unwrap();
        assert!(matches!(RealDisk::open(&dir), Err(LockError::InUse(_))), "it is locked again");
        fs::remove_dir(dir.join(QUARANTINE)).unwrap();
        drop(disk.create("a").unwrap());
        disk.rename("a", "quarantine/a").unwrap();
        fs::rename(&dir, &elsewhere).unwrap();
        let error = disk.open("a").err().unwrap();
        assert!(!crate::spool::disk::is_gone(&error, &disk) && crate::spool::disk::may_pass(&error));
        assert!(disk.check().unwrap_err().to_string().contains("put it back"));
        fs::create_dir(&dir).unwrap();
        assert!(disk.check().is_err(), "another folder of the same name is not this one");
        fs::remove_dir(&dir).unwrap();
        fs::rename(&elsewhere, &dir).unwrap();
        disk.check().unwrap();
    }
}
