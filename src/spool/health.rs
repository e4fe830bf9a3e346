//! Whether the spool can keep anything now, and what is wrong with what it kept.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::disk::{Disk, is_full};

/// Written and removed again, to see whether the disk works after an append failed.
const PROBE: &str = "probe.new";
/// Enough to meet a quota that the free space does not show.
const PROBE_BYTES: usize = 64 << 10;

/// What went wrong.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Why the last append failed; none after one that did not.
    failing: Mutex<Option<String>>,
    found: Mutex<Found>,
}

/// What was found since the start that a person should know of.
#[derive(Debug, Clone, Default)]
struct Found {
    /// Files that vanished or could not be read, and their rows that are lost with them.
    files: u64,
    rows: u64,
    /// Segments of the journal that are not what was written.
    journal: u64,
    /// Files that cannot be read or written now, though they are there, by batch: the last error.
    unreadable: BTreeMap<u64, String>,
}

impl Health {
    /// An append ended so.
    pub(crate) fn appended(&self, outcome: Result<(), &io::Error>) {
        let mut failing = self.failing.lock();
        match outcome {
            Ok(()) if failing.is_none() => {}
            Ok(()) => *failing = None,
            Err(error) => *failing = Some(error.to_string()),
        }
    }

    /// A batch ended with rows that its file no longer gave.
    pub(crate) fn lost(&self, rows: u64) {
        let mut found = self.found.lock();
        found.files += 1;
        found.rows = found.rows.saturating_add(rows);
    }

    /// A start found segments of the journal damaged.
    pub(crate) fn journal_damaged(&self, segments: u64) {
        self.found.lock().journal += segments;
    }

    /// A file of a sealed batch could not be read or written, or (`None`) could.
    pub(crate) fn file_failed(&self, sequence: u64, error: Option<&io::Error>) {
        let mut found = self.found.lock();
        match error {
            Some(error) => drop(found.unreadable.insert(sequence, error.to_string())),
            None => drop(found.unreadable.remove(&sequence)),
        }
    }

    /// Whether the disk works again where the last append failed. Blocks then.
    ///
    /// # Errors
    /// In words, why it does not.
    pub(crate) fn check(&self, disk: &dyn Disk) -> Result<(), String> {
        let Some(why) = self.failing.lock().clone() else {
            return Ok(());
        };
        match probe(disk) {
            Ok(()) => *self.failing.lock() = None,
            Err(error) if is_full(&error) => return Err(error.to_string()),
            Err(_) => return Err(why),
        }
        Ok(())
    }

    /// What a person should know of though requests are kept; none when all is well.
    pub(crate) fn remark(&self) -> Option<String> {
        let Found { files, rows, journal, unreadable } = self.found.lock().clone();
        let mut remarks = Vec::new();
        if files > 0 {
            remarks.push(format!(
                "{rows} rows of {files} files are lost since the start: the files vanished or are damaged"
            ));
        }
        if journal > 0 {
            remarks.push(format!(
                "{journal} segments of the journal were damaged at the start: counters may be less than they were"
            ));
        }
        if let Some(error) = unreadable.values().next() {
            remarks.push(format!("{} files cannot be read or written, and wait: {error}", unreadable.len()));
        }
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }
}

fn probe(disk: &dyn Disk) -> io::Result<()> {
    let left = disk.remove(PROBE);
    if let Err(error) = left
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = disk.create(PROBE)?;
    let written = file.append(&[vec![0; PROBE_BYTES].into()]).and_then(|()| file.sync());
    let removed = disk.remove(PROBE);
    written.and(removed).and_then(|()| disk.sync_dir(""))
}
