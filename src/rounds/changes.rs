//! What is read again when it changes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::Rounds;
use crate::file_stamp::{FileStamp, stamps};

/// A file that was seen to change is read so much later: who writes it in place may not be done, and half of a list of keys or CAs is a list too.
pub(crate) const WRITTEN_AFTER: Duration = Duration::from_millis(100);

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is as it was read.
    Same,
    /// It is not, and may be about to be written.
    Changed,
    /// It is as it was read and could not be used then: what is not valid yet will be.
    Unused,
}

impl From<bool> for Found {
    fn from(differs: bool) -> Found {
        if differs { Found::Changed } else { Found::Same }
    }
}

/// When something that is looked at in each round has changed, and at SIGHUP.
#[derive(Debug)]
pub(crate) struct Changes {
    found: Arc<Notify>,
    hangup: Signal,
}

impl Changes {
    /// `look` may block.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub(crate) fn of<F: Into<Found>>(
        rounds: &Rounds,
        mut look: impl FnMut() -> F + Send + 'static,
    ) -> io::Result<Changes> {
        let found = Arc::new(Notify::new());
        let tell = found.clone();
        rounds.add(move || {
            match look().into() {
                Found::Same => return,
                Found::Changed => thread::sleep(WRITTEN_AFTER),
                Found::Unused => {}
            }
            tell.notify_one();
        });
        Ok(Changes { found, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for the next one; whether somebody asked for it. Nothing is lost when the wait is given up.
    pub(crate) async fn next(&mut self) -> bool {
        tokio::select! {
            () = self.found.notified() => false,
            _ = self.hangup.recv() => true,
        }
    }
}

/// Files, and what the file system said of them when they were last read.
#[derive(Debug)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// Locked for as long as they are being read.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    stamps: Vec<FileStamp>,
    unused: bool,
}

impl Files {
    /// To be made before they are read for the first time, so that whoever changes them meanwhile is noticed. Blocks.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Arc<Files> {
        let paths: Vec<_> = paths.into_iter().cloned().collect();
        let last = Last { stamps: stamps_of(&paths), unused: false };
        Arc::new(Files { paths, last: Mutex::new(last) })
    }

    /// When they are to be read again.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub(crate) fn changes(self: &Arc<Self>, rounds: &Rounds) -> io::Result<Changes> {
        let files = self.clone();
        Changes::of(rounds, move || files.look())
    }

    /// Reads them by `read`, which says whether all could be used, and hears whether that is news: an old complaint is not repeated unless somebody
    /// `asked`. Returns what it says. One reads at a time. Blocks.
    pub(crate) fn read(&self, asked: bool, read: impl FnOnce(bool) -> bool) -> bool {
        let mut last = self.last.lock();
        let now = stamps_of(&self.paths);
        let is_news = asked || now != last.stamps;
        last.stamps = now;
        last.unused = !read(is_news);
        !last.unused
    }

    fn look(&self) -> Found {
        // Who reads them may hang, and looks at them anyway.
        let Some(last) = self.last.try_lock() else { return Found::Same };
        match (stamps_of(&self.paths) != last.stamps, last.unused) {
            (true, _) => Found::Changed,
            (false, true) => Found::Unused,
            (false, false) => Found::Same,
        }
    }
}

fn stamps_of(paths: &[PathBuf]) -> Vec<FileStamp> {
    stamps(paths.iter().map(PathBuf::as_path))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The time of docs/configuration.md.
    #[tokio::test]
    async fn what_changes_is_told_of_when_it_can_be_written() {
        let (rounds, seen) = (Rounds::start().unwrap(), Arc::new(Mutex::new(None)));
        let first = seen.clone();
        let differs = move || {
            let mut first = first.lock();
            let is_first = first.is_none();
            first.get_or_insert_with(Instant::now);
            is_first
        };
        let mut changes = Changes::of(&rounds, differs).unwrap();
        let asked = changes.next().await;
        let since = seen.lock().unwrap().elapsed();
        assert!(!asked && since >= WRITTEN_AFTER, "{since:?}");
    }

    #[test]
    fn a_change_is_news_once_and_what_could_not_be_used_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        let files = Files::new([&path]);
        let read = |asked, good| {
            let mut heard = None;
            let used = files.read(asked, |is_news| {
                heard = Some(is_news);
                good
            });
            assert_eq!(used, good);
            heard.unwrap()
        };
        assert_eq!(files.look(), Found::Same);
        std::fs::write(&path, "half").unwrap();
        assert_eq!((files.look(), files.look()), (Found::Changed, Found::Changed), "until it is read");
        assert!(read(false, false));
        assert_eq!(files.look(), Found::Unused);
        assert!(!read(false, false) && read(true, false));
        std::fs::write(&path, "the whole").unwrap();
        assert_eq!(files.look(), Found::Changed, "it waits for its writer again");
        assert!(read(false, true));
        assert_eq!(files.look(), Found::Same);
        files.read(false, |_| {
            std::fs::remove_file(&path).unwrap();
            assert_eq!(files.look(), Found::Same, "who looks waits for nobody who reads");
            true
        });
        assert_eq!(files.look(), Found::Changed, "what changes while it is read is seen");
    }
}
