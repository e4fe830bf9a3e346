//! The journal: what became of batches whose files are gone, and the digests that outlive them.
//!
//! Invariants: a batch's record is synced before its file is removed, so that the file and the counters never disagree for longer than
//! one start; a batch is counted once, however often its end is repeated. The journal is a row of segment files; each begins with a
//! snapshot of all counters, so that the last segment says everything but the digests, and an old segment goes away when
//! its digests are too old to count.
//!
//! A segment is records of `length u32, CRC32C u32, payload`, the snapshot twice. A damaged record is passed over when a whole one follows; what
//! is torn ends its segment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;

use super::digests::{Digest, Remembered};
use super::disk::{Disk, DiskFile};
use super::format::wire::{Malformed, Reader, Writer};
use super::store::Totals;

/// A segment that grew to this size is followed by a new one.
const SEGMENT_BYTES: u64 = 8 << 20;
const PREFIX: &str = "journal-";

/// What the journal knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) totals: Totals,
    /// Batches that ended, whose files may still be there; `true`: the file belongs in quarantine.
    pub(crate) ended: BTreeMap<u64, bool>,
    /// Batches that people took out of quarantine and that have not ended again.
    pub(crate) retried: BTreeSet<u64>,
    /// No batch with this number or a higher one was ended.
    pub(crate) next_sequence: u64,
    /// How many events it took to know this. A snapshot of fewer is of a segment whose beginning failed, and is passed over.
    pub(crate) events: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Snapshot(Known),
    /// A batch ended.
    Ended {
        sequence: u64,
        keep: bool,
        outcome: Totals,
        digests: Vec<Remembered>,
    },
    /// A person took a batch out of quarantine: what was counted as quarantined waits again.
    Retried {
        sequence: u64,
        outcome: Totals,
    },
    /// A person dropped a batch that was in quarantine.
    Dropped {
        sequence: u64,
        outcome: Totals,
    },
}

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

impl Known {
    fn take(&mut self, event: &Event) {
        self.events += u64::from(!matches!(event, Event::Snapshot(_)));
        match event {
            Event::Snapshot(known) if known.events < self.events => {}
            Event::Snapshot(known) => *self = known.clone(),
            Event::Ended { sequence, keep, outcome, .. } => {
                if self.ended.insert(*sequence, *keep).is_none() {
                    self.totals.add(outcome);
                }
                self.retried.remove(sequence);
                self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
            }
            Event::Retried { sequence, outcome } => {
                self.ended.remove(sequence);
                if self.retried.insert(*sequence) {
                    self.totals.quarantined.subtract(&outcome.quarantined);
                }
            }
            Event::Dropped { sequence, outcome } => {
                if self.ended.insert(*sequence, false) != Some(false) {
                    self.totals.quarantined.subtract(&outcome.dropped);
                    self.totals.dropped.add(&outcome.dropped);
                }
            }
        }
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

fn encode(event: &Event) -> Bytes {
    let mut payload = Writer::default();
    match event {
        Event::Snapshot(known) => {
            payload.varint(0);
            known.totals.encode(&mut payload);
            payload.count(known.ended.len());
            for (sequence, keep) in &known.ended {
                payload.u64(*sequence);
                payload.varint(u64::from(*keep));
            }
            payload.count(known.retried.len());
            known.retried.iter().for_each(|sequence| payload.u64(*sequence));
            payload.u64(known.next_sequence);
            payload.u64(known.events);
        }
        Event::Ended { sequence, keep, outcome, digests } => {
            payload.varint(1);
            payload.u64(*sequence);
            payload.varint(u64::from(*keep));
            outcome.encode(&mut payload);
            encode_digests(digests, &mut payload);
        }
        Event::Retried { sequence, outcome } => {
            payload.varint(2);
            payload.u64(*sequence);
            outcome.encode(&mut payload);
        }
        Event::Dropped { sequence, outcome } => {
            payload.varint(3);
            payload.u64(*sequence);
            outcome.encode(&mut payload);
        }
    }
    seal(&payload.0)
}

/// Puts length and checksum before a payload.
pub(crate) fn seal(payload: &[u8]) -> Bytes {
    let mut record = Writer::default();
    record.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    record.u32(crc32c::crc32c(payload));
    record.bytes(payload);
    record.0.into()
}

/// The payload of the next record, if it is whole.
pub(crate) fn unseal<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let (len, sum) = (from.u32()?, from.u32()?);
    let payload = from.bytes(len as usize)?;
    if crc32c::crc32c(payload) != sum {
        return Err(Malformed);
    }
    Ok(payload)
}

fn decode(from: &mut Reader<'_>) -> Result<Event, Malformed> {
    let mut payload = Reader(unseal(from)?);
    let event = match payload.varint()? {
        0 => Event::Snapshot(Known {
            totals: Totals::decode(&mut payload)?,
            ended: payload.list(9, |from| Ok((from.u64()?, from.varint()? != 0)))?.into_iter().collect(),
            retried: payload.list(8, Reader::u64)?.into_iter().collect(),
            next_sequence: payload.u64()?,
            events: payload.u64()?,
        }),
        1 => Event::Ended {
            sequence: payload.u64()?,
            keep: payload.varint()? != 0,
            outcome: Totals::decode(&mut payload)?,
            digests: decode_digests(&mut payload)?,
        },
        2 => Event::Retried { sequence: payload.u64()?, outcome: Totals::decode(&mut payload)? },
        3 => Event::Dropped { sequence: payload.u64()?, outcome: Totals::decode(&mut payload)? },
        _ => return Err(Malformed),
    };
    payload.end()?;
    Ok(event)
}

/// Digests of one key and one moment share them: most of a frame's do.
pub(crate) fn encode_digests(digests: &[Remembered], out: &mut Writer) {
    let groups = digests.chunk_by(|a, b| a.key == b.key && a.at_ms == b.at_ms);
    out.count(groups.clone().count());
    for group in groups {
        let first = &group[0];
        out.text(&first.key);
        out.u64(first.at_ms);
        out.count(group.len());
        group.iter().for_each(|one| out.bytes(&one.digest.0));
    }
}

pub(crate) fn decode_digests(from: &mut Reader<'_>) -> Result<Vec<Remembered>, Malformed> {
    let groups = from.list(10, |from| {
        let (key, at_ms) = (from.text()?, from.u64()?);
        from.list(16, |from| Ok(Remembered { key: key.clone(), digest: Digest(from.array()?), at_ms }))
    })?;
    Ok(groups.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::MemoryDisk;

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
