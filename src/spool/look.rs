//! Looking into the folder of a process that does not run: nothing is recovered, written, made or locked, so whoever may read the files may look.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, ReadOnlyDisk, RealDisk};
use super::format::record::HeaderError;
use super::journal::Journal;
use super::orders::{AskError, Place, Summary};
use super::recover::{batch_of, load_cut, sequence_of};
use super::reserve::Reserve;
use super::scan::scan;
use super::store::Store;
use super::{Limits, Spool};

/// Everything in a spool's folder as the next start would find it: what waits, in the order of its delivery, then what is in quarantine.
/// Blocks.
///
/// # Errors
/// There is no spool, or a file of it cannot be read; the file is named.
pub fn look(dir: &Path) -> Result<Vec<Summary>, AskError> {
    let disk = ReadOnlyDisk::open(dir)?;
    if !RealDisk::is_spool(dir)? {
        return Err(AskError::NoSpool(dir.to_owned()));
    }
    Ok(look_on(Box::new(disk))?)
}

pub(crate) fn look_on(disk: Box<dyn Disk>) -> io::Result<Vec<Summary>> {
    let known = Journal::look(disk.as_ref())?;
    let store = Arc::new(Store::new(disk, Limits::NONE, None, Reserve::default()));
    let mut waiting = Vec::new();
    for (name, len) in store.disk.list("")? {
        let Some(sequence) = sequence_of(&name, ".batch") else { continue };
        // Counted already: the next start puts its file where it belongs.
        if !known.ended.contains_key(&sequence)
            && let Some(found) = look_at(&store, name, sequence, len)?
        {
            waiting.push(found);
        }
    }
    waiting.sort_by_key(|(tried, summary)| (!tried, summary.sequence));
    let mut all: Vec<Summary> = waiting.into_iter().map(|(_, summary)| summary).collect();
    all.extend(Spool::of(store).quarantined()?);
    Ok(all)
}

/// A batch and whether it was tried; `None` when nothing of it was kept.
fn look_at(store: &Arc<Store>, name: String, sequence: u64, len: u64) -> io::Result<Option<(bool, Summary)>> {
    let file = match store.disk.open(&name) {
        // A process that runs all the same has just delivered it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let size = len.min(load_cut(store, sequence)?);
    let mut scan = match scan(file.as_ref(), size) {
        Ok(scan) => scan,
        Err(HeaderError::Unreadable | HeaderError::Version(_)) => {
            return Ok(Some((false, Summary::unreadable(sequence, Place::Waiting, len))));
        }
    };
    scan.header.sequence = sequence;
    let kept = scan.sealed || scan.damaged || !scan.index.frames.is_empty();
    Ok(kept.then(|| {
        let batch = batch_of(store, name, len, scan);
        (batch.is_tried(), batch.summary())
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;
    use crate::signal::Signal;
    use crate::spool::tests::frame;
    use crate::spool::{Note, Refused, Settings};

    /// Every file with its bytes, mode and time of change.
    fn everything(dir: &Path) -> BTreeMap<std::path::PathBuf, (Vec<u8>, u32, i64, i64)> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.metadata().unwrap();
            let bytes = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
            if path.is_dir() {
                found.extend(everything(&path));
            }
            found.insert(path, (bytes, metadata.mode(), metadata.mtime(), metadata.mtime_nsec()));
        }
        found
    }

    #[test]
    fn looking_changes_nothing_and_shows_what_a_start_would_find() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("spool");
        assert!(look(&dir).unwrap_err().to_string().contains("spool: No such file"), "a mistyped path");
        assert!(!dir.exists());
        assert!(matches!(look(folder.path()), Err(AskError::NoSpool(_))));

        let settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };
        let spool = Spool::open(Box::new(RealDisk::open(&dir).unwrap()), &settings).unwrap().0;
        let kept = |bytes: &[u8]| {
            let mut open = spool.batch(Signal::Logs);
            open.append(&[frame("otel_logs", &["a"], 2, bytes)]).unwrap();
            open
        };
        // One that was never sealed and whose end is torn, one in quarantine, one tried.
        let open = kept(b"open");
        let torn = dir.join(super::super::file_name(open.header.sequence));
        let refused = kept(b"refused").seal();
        let note = Note::Refused(Refused { part: 0, frame: 0, start: 0, rows: 2, why: "odd".into() });
        refused.note(&[note, Note::In { part: 0 }]).unwrap();
        refused.finish().unwrap();
        kept(b"tried").seal().note(&[Note::Tried { part: 0 }]).unwrap();
        drop((open, refused, spool));
        let mut bytes = std::fs::read(&torn).unwrap();
        bytes.extend([7; 99]);
        std::fs::write(&torn, bytes).unwrap();

        let before = everything(&dir);
        let shown = look(&dir).unwrap();
        assert_eq!(everything(&dir), before);
        let places: Vec<_> = shown.iter().map(|one| (one.sequence, one.place, one.parts[0].rows)).collect();
        assert_eq!(places, [(2, Place::Waiting, 2), (0, Place::Waiting, 2), (1, Place::Quarantine, 2)]);
        let found = Spool::open(Box::new(RealDisk::open(&dir).unwrap()), &settings).unwrap().1.batches;
        assert_eq!(found.iter().map(super::super::Batch::sequence).collect::<Vec<_>>(), [2, 0]);
    }
}
