//! The journal: what became of batches whose files are gone, and the digests that outlive them.
//!
//! Invariants: a batch's record is synced before its file is removed, so that the file and the counters never disagree for longer than
//! one start; a batch is counted once, however often its end is repeated. The journal is a row of segment files; each begins with a
//! snapshot of all counters, so that the last segment says everything but the digests, and an old segment goes away when
//! its digests are too old to count.
//!
//! A segment is records (see [`event`]), the snapshot twice. A damaged record is passed over when a whole one follows; what
//! is torn ends its segment.

mod event;

use std::io;

pub(crate) use event::{Event, Known, decode_digests, encode_digests, seal, unseal};

use super::digests::Remembered;
use super::disk::{Disk, DiskFile};
use super::format::wire::Reader;
use event::{decode, encode};

/// A segment that grew to this size is followed by a new one.
const SEGMENT_BYTES: u64 = 8 << 20;
const PREFIX: &str = "journal-";

/// The journal, open for appending.
pub(crate) struct Journal {
    ttl_ms: u64,
    number: u64,
    file: Box<dyn DiskFile>,
    /// Up to here the segment is good.
    len: u64,
    broken: bool,
    opened_ms: u64,
    newest_ms: u64,
    /// Older segments, with the time of their youngest digest.
    old: Vec<(u64, u64)>,
    pub(crate) known: Known,
}

impl Journal {
    /// Reads the journal of earlier processes and begins a segment of its own. Also returns the digests that are younger than
    /// `ttl_ms`.
    pub(crate) fn open(disk: &dyn Disk, ttl_ms: u64) -> io::Result<(Journal, Vec<Remembered>)> {
        let mut numbers: Vec<u64> = disk.list("")?.iter().filter_map(|(name, _)| number_of(name)).collect();
        numbers.sort_unstable();
        let (mut known, mut digests, mut old) = (Known::default(), Vec::new(), Vec::new());
        for number in &numbers {
            let mut newest_ms = 0;
            for event in read_segment(disk, *number)? {
                if let Event::Ended { digests: ended, .. } = &event {
                    newest_ms = ended.iter().map(|one| one.at_ms).fold(newest_ms, u64::max);
                    digests.extend(ended.iter().cloned());
                }
                known.take(&event);
            }
            old.push((*number, newest_ms));
        }
        let now = super::now_ms();
        digests.retain(|one| one.at_ms.saturating_add(ttl_ms) > now);
        let number = numbers.last().map_or(0, |last| last + 1);
        let (file, len) = begin_segment(disk, number, &known)?;
        let journal = Journal { ttl_ms, number, file, len, broken: false, opened_ms: now, newest_ms: 0, old, known };
        Ok((journal, digests))
    }

    /// Writes an event down; it counts, and survives a crash, when this returns `Ok`.
    pub(crate) fn append(&mut self, disk: &dyn Disk, event: &Event) -> io::Result<()> {
        if self.broken {
            self.file.truncate(self.len)?;
            self.file.sync()?;
            self.broken = false;
        }
        let record = encode(event);
        let len = record.len() as u64;
        if let Err(error) = self.file.append(&[record]).and_then(|()| self.file.sync()) {
            self.broken = true;
            return Err(error);
        }
        self.len += len;
        self.known.take(event);
        if let Event::Ended { digests, .. } = event {
            self.newest_ms = digests.iter().map(|one| one.at_ms).fold(self.newest_ms, u64::max);
        }
        let now = super::now_ms();
        let old_enough = self.opened_ms.saturating_add(self.ttl_ms / 2) <= now && self.len > SEGMENT_BYTES / 64;
        if (self.len > SEGMENT_BYTES || old_enough)
            && let Err(error) = self.roll(disk, now)
        {
            tracing::warn!(%error, "the spool's journal could not begin a new segment; the old one goes on");
        }
        Ok(())
    }

    /// The files of the batches that ended are gone for good, or are where they belong.
    pub(crate) fn forget(&mut self, sequence: u64) {
        self.known.ended.remove(&sequence);
    }

    /// Begins a new segment and removes those that say nothing any more.
    fn roll(&mut self, disk: &dyn Disk, now: u64) -> io::Result<()> {
        let number = self.number + 1;
        let (file, len) = begin_segment(disk, number, &self.known)?;
        self.old.push((self.number, self.newest_ms));
        (self.number, self.file, self.len) = (number, file, len);
        (self.opened_ms, self.newest_ms) = (now, 0);
        self.remove_old(disk);
        Ok(())
    }

    pub(crate) fn remove_old(&mut self, disk: &dyn Disk) {
        let now = super::now_ms();
        self.old.retain(|(number, newest_ms)| {
            let counts = newest_ms.saturating_add(self.ttl_ms) > now;
            counts || disk.remove(&segment_name(*number)).is_err()
        });
    }
}

fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Makes a segment that begins with a snapshot. One that was begun before and never used is made anew.
fn begin_segment(disk: &dyn Disk, number: u64, known: &Known) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let name = segment_name(number);
    let snapshot = encode(&Event::Snapshot(known.clone()));
    let len = 2 * snapshot.len() as u64;
    match disk.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&name)?;
    file.append(&[snapshot.clone(), snapshot])?;
    file.sync()?;
    disk.sync_dir("")?;
    Ok((file, len))
}

fn read_segment(disk: &dyn Disk, number: u64) -> io::Result<Vec<Event>> {
    let file = disk.open(&segment_name(number))?;
    let bytes = file.read_at(0, usize::try_from(file.size()?).map_err(io::Error::other)?)?;
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let mut from = Reader(rest);
        match decode(&mut from) {
            Ok(event) => {
                events.push(event);
                rest = from.0;
            }
            Err(_) => match behind_damage(rest) {
                Some(next) => {
                    tracing::error!(
                        segment = number,
                        "a record of the spool's journal is damaged: counters may be less than they were"
                    );
                    rest = next;
                }
                None => break,
            },
        }
    }
    // Without its snapshot a segment was never used.
    if !matches!(events.first(), Some(Event::Snapshot(_))) {
        events.clear();
    }
    Ok(events)
}

/// What follows a record that is not whole, if it is whole: then the record was damaged, and not torn.
fn behind_damage(record: &[u8]) -> Option<&[u8]> {
    let len = Reader(record).u32().ok()?;
    let next = record.get(8..)?.get(len as usize..)?;
    unseal(&mut Reader(next)).ok().map(|_| next)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spool::digests::Digest;
    use crate::spool::disk::MemoryDisk;
    use crate::spool::store::Totals;

    fn ended(sequence: u64) -> Event {
        let mut outcome = Totals::default();
        outcome.stored.add_rows(&"a".into(), &"otel_logs".into(), 5);
        let digest = Digest([9; 16]);
        let digests = vec![Remembered { key: "a".into(), digest, at_ms: crate::spool::now_ms() }; 3];
        Event::Ended { sequence, keep: false, outcome, digests }
    }

    #[test]
    fn counters_and_digests_survive_and_a_batch_counts_once() {
        let disk = MemoryDisk::default();
        let (mut journal, digests) = Journal::open(&disk, 60_000).unwrap();
        assert!(digests.is_empty());
        journal.append(&disk, &ended(1)).unwrap();
        journal.append(&disk, &ended(2)).unwrap();
        journal.append(&disk, &ended(1)).unwrap();
        let (journal, digests) = Journal::open(&disk, 60_000).unwrap();
        assert_eq!(digests.len(), 9);
        assert_eq!(journal.known.totals.stored.total_rows(), 10);
        assert_eq!(journal.known.ended, BTreeMap::from([(1, false), (2, false)]));
        assert_eq!(journal.known.next_sequence, 3);
        let (mut journal, digests) = Journal::open(&disk, 0).unwrap();
        assert!(digests.is_empty());
        assert_eq!(journal.known.totals.stored.total_rows(), 10);
        journal.remove_old(&disk);
        assert_eq!(disk.list("").unwrap().len(), 1);
    }

    #[test]
    fn a_flipped_bit_costs_one_record() {
        let disk = MemoryDisk::default();
        let (mut journal, _) = Journal::open(&disk, 60_000).unwrap();
        let snapshot = usize::try_from(journal.len / 2).unwrap();
        journal.append(&disk, &ended(1)).unwrap();
        let first = usize::try_from(journal.len).unwrap();
        journal.append(&disk, &ended(2)).unwrap();
        let file = disk.open(&segment_name(0)).unwrap();
        let whole = file.read_at(0, usize::try_from(file.size().unwrap()).unwrap()).unwrap();
        for (at, rows) in [(snapshot - 1, 10), (2 * snapshot - 1, 10), (first - 1, 5)] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 4;
            let disk = MemoryDisk::default();
            disk.create(&segment_name(0)).unwrap().append(&[bytes.into()]).unwrap();
            let (journal, _) = Journal::open(&disk, 60_000).unwrap();
            assert_eq!(journal.known.totals.stored.total_rows(), rows);
        }
    }

    #[test]
    fn a_torn_record_ends_its_segment_and_is_not_counted() {
        let disk = MemoryDisk::default();
        let (mut journal, _) = Journal::open(&disk, 60_000).unwrap();
        journal.append(&disk, &ended(1)).unwrap();
        let good = journal.len;
        journal.append(&disk, &ended(2)).unwrap();
        let mut file = disk.open(&segment_name(0)).unwrap();
        file.truncate(good + 20).unwrap();
        let (journal, _) = Journal::open(&disk, 60_000).unwrap();
        assert_eq!(journal.known.totals.stored.total_rows(), 5);
    }
}
