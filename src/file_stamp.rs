//! What the file system says of a file: whether it was changed or replaced, for files that are read again while the program runs, and who may read it.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(2);

/// When files are looked at again: at once, every two seconds, and at SIGHUP.
#[derive(Debug)]
pub(crate) struct Looks {
    ticks: Interval,
    hangup: Signal,
}

impl Looks {
    /// # Errors
    /// The signal cannot be listened to.
    pub(crate) fn new() -> io::Result<Looks> {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Looks { ticks, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for the next one; whether somebody asked for it. Nothing is lost when the wait is given up.
    pub(crate) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => false,
            _ = self.hangup.recv() => true,
        }
    }
}

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
