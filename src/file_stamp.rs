//! What the file system says of a file: whether it was changed or replaced, for files that are read again while the program runs, and who may read it.

use std::path::Path;
use std::time::SystemTime;

/// A file's time, length and inode; none when it cannot be looked at.
pub(crate) type FileStamp = Option<(SystemTime, u64, u64)>;

/// The stamp of each file, in this order.
pub(crate) fn stamps<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<FileStamp> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.into_iter().map(stamp).collect()
}

/// Whether every user of the machine may read the file: what holds a secret warns of it. What a group may do somebody decided, as for a secret
/// that is mounted into a container.
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

/// For tests: puts a file there that hangs whoever reads it, as a file on a disk that does not answer.
#[cfg(test)]
pub(crate) fn hang(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let beside = path.with_extension("hangs");
    mknodat(CWD, &beside, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    std::fs::rename(&beside, path).expect("renamed");
}

/// For tests: a file that hangs holds these bytes from now on, also for who reads it already. False: nobody does.
#[cfg(test)]
pub(crate) fn answer(path: &Path, bytes: &[u8]) -> bool {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let pipe = std::fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(path);
    let beside = path.with_extension("answers");
    std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path)).expect("renamed");
    pipe.is_ok_and(|mut pipe| pipe.write_all(bytes).is_ok())
}
