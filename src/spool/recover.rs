//! The start: what earlier processes left is put in order, and every batch that is not known to be in is delivered.
//!
//! Nothing here gives up: what cannot be read is put into quarantine, counted and logged once a file, and the start goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::counts::Totals;
use super::digests::Remembered;
use super::disk::{Disk, is_gone, may_pass};
use super::format::note::Note;
use super::format::record::{HEADER_LEN, HeaderError};
use super::format::wire::{Reader, Writer};
use super::index::Index;
use super::journal::{self, Event, Journal, Opened};
use super::reserve::Reserve;
use super::scan::{Scan, scan};
use super::store::Store;
use super::tail::{Footer, Tail};
use super::{CLEAN_STOP, QUARANTINE, Settings, now_ms};

/// What a start found.
#[derive(Default)]
pub(crate) struct Recovered {
    /// To be delivered, in this order: those already tried first, then by sequence number.
    pub(crate) batches: Vec<Batch>,
    /// Digests that count. After a start that no clean stop preceded: every digest that is young enough.
    pub(crate) digests: Vec<Remembered>,
    /// Whether the process before this one ended in peace, or there was none.
    pub(crate) clean: bool,
    /// Files whose last write was torn; nobody was told that it is kept, as far as can be told.
    pub(crate) torn: u64,
    /// Files with damage between whole records.
    pub(crate) damaged: u64,
    /// Files without a readable header, or that cannot be opened, moved into quarantine as they are.
    pub(crate) unreadable: u64,
    /// Segments of the journal that are not what was written.
    pub(crate) journal_damaged: u64,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refuses what every start needs.
    #[error("the spool cannot be opened: {0}")]
    Io(io::Error),
    /// A batch was written by a newer version of otelgate.
    #[error(
        "{file} has layout version {version}, which this otelgate does not know; start the version that wrote it, and let it deliver"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

/// The files of a spool folder.
struct Files {
    batches: BTreeMap<u64, u64>,
    cuts: BTreeSet<u64>,
    next_sequence: u64,
}

/// Opens the journal, before anything else is looked at.
pub(crate) fn open_journal(disk: &dyn Disk, settings: &Settings, reserve: &Reserve) -> io::Result<Opened> {
    let ttl_ms = u64::try_from(settings.digest_ttl.as_millis()).unwrap_or(u64::MAX);
    let mut opened = Journal::open(disk, ttl_ms, reserve)?;
    opened.journal.remove_old(disk);
    Ok(opened)
}

/// Brings the folder in order; returns what is to be delivered and the next sequence number.
pub(crate) fn recover(
    store: &Arc<Store>,
    settings: &Settings,
    journaled: Vec<Remembered>,
) -> Result<(Recovered, u64), OpenError> {
    let stopped = load_clean_stop(store)?;
    let first = store.disk.list("")?.iter().all(|(name, _)| sequence_of(name, ".batch").is_none());
    let mut recovered =
        Recovered { clean: stopped.is_some() || (first && journaled.is_empty()), ..Recovered::default() };
    let since_ms = now_ms().saturating_sub(u64::try_from(settings.digest_ttl.as_millis()).unwrap_or(u64::MAX));
    let mut files = list(store)?;
    put_ended_away(store, &mut files)?;
    let mut digests = Vec::new();
    for (sequence, len) in &files.batches {
        recover_file(store, *sequence, *len, files.cuts.contains(sequence), since_ms, &mut recovered, &mut digests)?;
    }
    for orphan in files.cuts.iter().filter(|cut| !files.batches.contains_key(cut)) {
        store.remove_cut(*orphan)?;
    }
    recovered.digests = match stopped {
        Some(remembered) => remembered,
        None => journaled.into_iter().chain(digests).collect(),
    };
    match store.disk.remove(CLEAN_STOP) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => store.disk.sync_dir("")?,
    }
    distrust_the_clock(&recovered.batches);
    recovered.batches.sort_by_key(|batch| (!batch.is_tried(), batch.sequence()));
    Ok((recovered, files.next_sequence))
}

/// A clock that shows less than a file remembers was set back: no age can be told by it.
fn distrust_the_clock(batches: &[Batch]) {
    let latest = batches.iter().map(Batch::latest_ms).max().unwrap_or(0);
    if now_ms() < latest {
        tracing::warn!(
            "the clock was set back since the spool was written; how old attempts are is taken to be unknown"
        );
        batches.iter().for_each(Batch::forget_times);
    }
}

/// Leaves the word that this process ends in peace.
pub(crate) fn write_clean_stop(store: &Store, remembered: &[Remembered]) -> io::Result<()> {
    let mut payload = Writer::default();
    journal::encode_digests(remembered, &mut payload);
    // First, so that whoever appends from now on takes the word back.
    store.stopped.store(true, Ordering::Release);
    let word = journal::seal(&payload.0);
    store.with_reserve(|| store.replace(CLEAN_STOP, &word))
}

fn load_clean_stop(store: &Store) -> io::Result<Option<Vec<Remembered>>> {
    let Some(bytes) = store.load(CLEAN_STOP)? else {
        return Ok(None);
    };
    let payload = journal::unseal(&mut Reader(&bytes));
    Ok(payload.and_then(|payload| journal::decode_digests(&mut Reader(payload))).ok())
}

pub(crate) fn sequence_of(name: &str, ending: &str) -> Option<u64> {
    name.strip_suffix(ending)?.parse().ok()
}

fn list(store: &Store) -> io::Result<Files> {
    let mut files = Files { batches: BTreeMap::new(), cuts: BTreeSet::new(), next_sequence: 0 };
    for (name, len) in store.disk.list("")? {
        if name.ends_with(".new") {
            store.disk.remove(&name)?;
        } else if let Some(sequence) = sequence_of(&name, ".batch") {
            files.batches.insert(sequence, len);
        } else if let Some(sequence) = sequence_of(&name, ".cut") {
            files.cuts.insert(sequence);
        }
    }
    let kept = store.disk.list(QUARANTINE)?;
    let kept = kept.iter().filter_map(|(name, _)| sequence_of(name, ".batch"));
    let here = files.batches.keys().chain(&files.cuts).copied();
    files.next_sequence = here.chain(kept).map(|last| last.saturating_add(1)).max().unwrap_or(0);
    if let Some(journal) = &store.journal {
        files.next_sequence = files.next_sequence.max(journal.lock().known.next_sequence);
    }
    Ok(files)
}

/// Finishes what a process before this one began: batches that are counted already go away.
fn put_ended_away(store: &Store, files: &mut Files) -> io::Result<()> {
    let Some(journal) = &store.journal else {
        return Ok(());
    };
    let mut journal = journal.lock();
    for (sequence, keep) in journal.known.ended.clone() {
        if files.batches.remove(&sequence).is_some() {
            store.put_away(&super::file_name(sequence), keep)?;
        }
        if !keep {
            store.remove_kept(sequence)?;
        }
        journal.forget(sequence);
    }
    Ok(())
}

fn recover_file(
    store: &Arc<Store>,
    sequence: u64,
    len: u64,
    cut: bool,
    since_ms: u64,
    recovered: &mut Recovered,
    digests: &mut Vec<Remembered>,
) -> Result<(), OpenError> {
    let name = super::file_name(sequence);
    let file = match store.disk.open(&name) {
        Err(error) if is_gone(&error, store.disk.as_ref()) || !may_pass(&error) => {
            recovered.unreadable += 1;
            tracing::error!(%error, "a spool file cannot be opened; it is kept in quarantine as it is");
            store.put_away(&name, true)?;
            return Ok(());
        }
        file => file?,
    };
    let size = if cut { len.min(load_cut(store, sequence)?) } else { len };
    let scan = match scan(file.as_ref(), size) {
        Err(HeaderError::Version(version)) => return Err(OpenError::Version { file: name, version }),
        Err(HeaderError::Unreadable) if size <= HEADER_LEN as u64 => None,
        Err(HeaderError::Unreadable) => {
            recovered.unreadable += 1;
            tracing::error!(
                file = name,
                bytes = size,
                "a spool file has no readable header; it is kept in quarantine as it is"
            );
            store.put_away(&name, true)?;
            return Ok(());
        }
        Ok(scan) => Some(scan),
    };
    // Torn before its first frame was synced: nobody was told that it is kept.
    let Some(mut scan) = scan.filter(|scan| scan.sealed || scan.damaged || !scan.index.frames.is_empty()) else {
        recovered.torn += 1;
        store.put_away(&name, false)?;
        store.remove_cut(sequence)?;
        return Ok(());
    };
    // The name is what the journal knows it by.
    scan.header.sequence = sequence;
    digests.extend(scan.digests(file.as_ref(), since_ms));
    recovered.torn += u64::from(scan.end < size || (!scan.sealed && !scan.torn.is_empty()));
    recovered.damaged += u64::from(scan.damaged);
    let batch = take_up(store, name, len, cut, scan)?;
    recovered.batches.push(batch);
    Ok(())
}

/// An unreadable word cuts nothing away that may have been acknowledged.
pub(crate) fn load_cut(store: &Store, sequence: u64) -> io::Result<u64> {
    let bytes = store.load(&super::cut_name(sequence))?;
    let len = bytes.and_then(|bytes| bytes.first_chunk().copied().map(u64::from_le_bytes));
    Ok(len.unwrap_or(u64::MAX))
}

/// Makes a sealed batch of what a file holds: its torn tail is cut, its footer written where it is missing.
fn take_up(store: &Arc<Store>, name: String, len: u64, cut: bool, scan: Scan) -> io::Result<Batch> {
    let torn_after_seal = scan.sealed && scan.end < scan.size;
    let unsealed = !scan.sealed;
    tell(&name, len, &scan);
    let mut batch = batch_of(store, name, len, scan);
    {
        let mut tail = batch.tail.lock();
        tail.broken |= cut;
        let mut file = store.disk.open(&batch.name)?;
        if torn_after_seal {
            // Once the tail is cut nothing else says that a note was torn.
            let tried = tried(&batch.index);
            store.with_reserve(|| tail.append(store, file.as_mut(), &batch.header, &tried))?;
        } else if unsealed {
            // Not needed now: what cannot be cut or written is cut and written with the first note.
            let _ = tail.append(store, file.as_mut(), &batch.header, &[]);
        }
    }
    batch.waiting = batch.answers_for()?;
    if batch.state.lock().is_retried() {
        // Counted once: the process that took it out of quarantine may have died before it could say so.
        let outcome = Totals { quarantined: batch.waiting.clone(), ..Totals::default() };
        store.write(&Event::Retried { sequence: batch.sequence(), outcome })?;
    }
    store.waiting.lock().add(&batch.waiting);
    store.room.charge(batch.charged, &batch.index.shares, &BTreeMap::new());
    Ok(batch)
}

/// The batch that a file holds, as its notes say; writes nothing.
pub(crate) fn batch_of(store: &Arc<Store>, name: String, len: u64, scan: Scan) -> Batch {
    let mut counts = scan.index.counts.clone();
    counts.add(&scan.lost);
    let tail = Tail {
        len: scan.end,
        records: scan.records,
        total: scan.total,
        broken: scan.end < len,
        footer: (!scan.sealed).then_some(Footer { counts, torn: scan.torn }),
    };
    let mut notes = scan.notes;
    if scan.damaged || (scan.sealed && scan.end < scan.size) {
        // A note that cannot be read may have said so.
        notes.extend(tried(&scan.index));
    }
    if scan.lost_notes {
        // One that stood before others may have said how a part was divided.
        notes.extend(scan.index.parts.iter().map(|part| Note::Split { part: part.id }));
    }
    let batch = Batch::new(store.clone(), scan.header, scan.index, name, tail, notes);
    {
        let mut state = batch.state.lock();
        state.lost = scan.lost;
        state.logged = scan.damaged;
    }
    batch
}

fn tried(index: &Index) -> Vec<Note> {
    index.parts.iter().map(|part| Note::Tried { part: part.id }).collect()
}

/// Says once a file what is wrong with it.
fn tell(file: &str, len: u64, scan: &Scan) {
    if scan.damaged {
        tracing::error!(
            file,
            lost_rows = scan.lost.total_rows(),
            lost_requests = scan.lost.total_requests(),
            "a spool file is damaged; its whole frames are delivered, the file is kept in quarantine"
        );
    } else if scan.end < len || (!scan.sealed && !scan.torn.is_empty()) {
        tracing::warn!(
            file,
            bytes = len - scan.end,
            frames = scan.torn.len(),
            "the last write to a spool file is torn, and was not acknowledged; what is whole of it is delivered"
        );
    }
}
