//! The journal: what became of batches whose files are gone, and the digests that outlive them.
//!
//! Invariants: a batch's record is synced before its file is removed, so that the file and the counters never disagree for longer than
//! one start; a batch is counted once, however often its end is repeated. The journal is a row of segment files; each begins with a
//! snapshot of all counters, so that the last segment says everything but the digests, and an old segment goes away when
//! its digests are too old to count.
//!
//! A segment is records (see [`event`]), the snapshot twice. A damaged record is passed over when a whole one follows, wherever it begins; what
//! is torn ends its segment. A segment that takes nothing any more (its file is gone, or cut, or cannot be mended) is followed by another, whose
//! snapshot says all that was known.

mod event;

use std::io;

pub(crate) use event::{Event, Known, decode_digests, encode_digests, seal, unseal};

use super::digests::Remembered;
use super::disk::{Disk, DiskFile, is_gone, may_pass};
use super::format::wire::Reader;
use super::reserve::Reserve;
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

/// What a start makes of the journal of earlier processes.
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    /// Digests that are young enough.
    pub(crate) digests: Vec<Remembered>,
    /// Segments that are not what was written.
    pub(crate) damaged: u64,
}

/// What lies in the segments.
#[derive(Default)]
struct Read {
    known: Known,
    digests: Vec<Remembered>,
    /// With the time of their youngest digest.
    segments: Vec<(u64, u64)>,
    damaged: u64,
}

impl Journal {
    /// Reads the journal of earlier processes and begins a segment of its own, with the reserve's room where there is no other.
    pub(crate) fn open(disk: &dyn Disk, ttl_ms: u64, reserve: &Reserve) -> io::Result<Opened> {
        let Read { known, mut digests, segments: old, damaged } = read(disk)?;
        let now = super::now_ms();
        digests.retain(|one| one.at_ms.saturating_add(ttl_ms) > now);
        let number = old.last().map_or(0, |(last, _)| last + 1);
        let (file, len) = reserve.with(disk, || begin_segment(disk, number, &known))?;
        let journal = Journal { ttl_ms, number, file, len, broken: false, opened_ms: now, newest_ms: 0, old, known };
        Ok(Opened { journal, digests, damaged })
    }

    /// What the journal of a process that does not run says; writes nothing.
    pub(crate) fn look(disk: &dyn Disk) -> io::Result<Known> {
        read(disk).map(|read| read.known)
    }

    /// Writes an event down; it counts, and survives a crash, when this returns `Ok`.
    pub(crate) fn append(&mut self, disk: &dyn Disk, event: &Event) -> io::Result<()> {
        let now = super::now_ms();
        if self.broken {
            match self.file.truncate(self.len).and_then(|()| self.file.sync()) {
                Ok(()) => self.broken = false,
                Err(error) => {
                    tracing::error!(segment = self.number, %error, "the spool's journal is damaged; it goes on in a new segment");
                    self.roll(disk, now)?;
                }
            }
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
        (self.number, self.file, self.len, self.broken) = (number, file, len, false);
        (self.opened_ms, self.newest_ms) = (now, 0);
        self.remove_old(disk);
        Ok(())
    }

    pub(crate) fn remove_old(&mut self, disk: &dyn Disk) {
        let now = super::now_ms();
        self.old.retain(|(number, newest_ms)| {
            let counts = newest_ms.saturating_add(self.ttl_ms) > now;
            counts || disk.remove(&segment_name(*number)).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }
}

fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Makes a segment that begins with a snapshot. One that was begun before and never used is made anew, and one that cannot be begun does not
/// stay.
fn begin_segment(disk: &dyn Disk, number: u64, known: &Known) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let name = segment_name(number);
    let snapshot = encode(&Event::Snapshot(known.clone()));
    let len = 2 * snapshot.len() as u64;
    match disk.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let begin = || {
        let mut file = disk.create(&name)?;
        file.append(&[snapshot.clone(), snapshot.clone()])?;
        file.sync()?;
        disk.sync_dir("")?;
        Ok((file, len))
    };
    begin().inspect_err(|_: &io::Error| drop(disk.remove(&name)))
}

/// Reads all segments in their order.
///
/// # Errors
/// One may not be read, though it is there: a person can mend that.
fn read(disk: &dyn Disk) -> io::Result<Read> {
    let mut numbers: Vec<u64> = disk.list("")?.iter().filter_map(|(name, _)| number_of(name)).collect();
    numbers.sort_unstable();
    let mut read = Read::default();
    for number in numbers {
        let (events, damaged) = match read_segment(disk, number) {
            Ok(segment) => segment,
            Err(error) if may_pass(&error) && !is_gone(&error, disk) => return Err(error),
            Err(error) => {
                tracing::error!(segment = number, %error, "a segment of the spool's journal cannot be read: counters may be less than they were");
                (Vec::new(), true)
            }
        };
        read.damaged += u64::from(damaged);
        let mut newest_ms = 0;
        for event in events {
            if let Event::Ended { digests: ended, .. } = &event {
                newest_ms = ended.iter().map(|one| one.at_ms).fold(newest_ms, u64::max);
                read.digests.extend(ended.iter().cloned());
            }
            read.known.take(&event);
        }
        read.segments.push((number, newest_ms));
    }
    Ok(read)
}

/// The events of a segment, and whether it is damaged: what is not whole before something whole was damaged. What is not whole at the
/// end was torn, as a rule, and was never announced; it is said all the same.
fn read_segment(disk: &dyn Disk, number: u64) -> io::Result<(Vec<Event>, bool)> {
    let file = disk.open(&segment_name(number))?;
    let bytes = file.read_at(0, usize::try_from(file.size()?).map_err(io::Error::other)?)?;
    let (mut rest, mut events, mut damaged) = (&bytes[..], Vec::new(), false);
    while !rest.is_empty() {
        let mut from = Reader(rest);
        if let Ok(event) = decode(&mut from) {
            events.push(event);
            rest = from.0;
            continue;
        }
        let Some(next) = next_record(rest) else {
            let bytes = rest.len();
            tracing::warn!(
                segment = number,
                bytes,
                "the last record of a segment of the spool's journal is torn, and passed over"
            );
            break;
        };
        tracing::error!(
            segment = number,
            "a record of the spool's journal is damaged: counters may be less than they were"
        );
        damaged = true;
        rest = next;
    }
    // Without a snapshot, and with nothing else, a segment was never used.
    damaged |= events.first().is_some_and(|first| !matches!(first, Event::Snapshot(_)));
    Ok((events, damaged))
}

/// What follows a record that is not whole, from the next whole record on. Most damage leaves the length whole, so that is tried first.
fn next_record(damaged: &[u8]) -> Option<&[u8]> {
    let whole = |at: usize| {
        let rest = damaged.get(at..)?;
        decode(&mut Reader(rest)).ok().map(|_| rest)
    };
    let behind = Reader(damaged).u32().ok().and_then(|len| whole(8usize.checked_add(len as usize)?));
    behind.or_else(|| (1..damaged.len()).find_map(whole))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spool::counts::Totals;
    use crate::spool::digests::Digest;
    use crate::spool::disk::MemoryDisk;

    fn open(disk: &dyn Disk, ttl_ms: u64) -> Opened {
        Journal::open(disk, ttl_ms, &Reserve::default()).unwrap()
    }

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
        let Opened { mut journal, digests, .. } = open(&disk, 60_000);
        assert!(digests.is_empty());
        journal.append(&disk, &ended(1)).unwrap();
        journal.append(&disk, &ended(2)).unwrap();
        journal.append(&disk, &ended(1)).unwrap();
        let Opened { journal, digests, .. } = open(&disk, 60_000);
        assert_eq!(digests.len(), 9);
        assert_eq!(journal.known.totals.stored.total_rows(), 10);
        assert_eq!(journal.known.ended, BTreeMap::from([(1, false), (2, false)]));
        assert_eq!(journal.known.next_sequence, 3);
        let Opened { mut journal, digests, .. } = open(&disk, 0);
        assert!(digests.is_empty());
        assert_eq!(journal.known.totals.stored.total_rows(), 10);
        journal.remove_old(&disk);
        assert_eq!(disk.list("").unwrap().len(), 1);
    }

    #[test]
    fn a_flipped_bit_costs_one_record() {
        let disk = MemoryDisk::default();
        let mut journal = open(&disk, 60_000).journal;
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
            let journal = open(&disk, 60_000).journal;
            assert_eq!(journal.known.totals.stored.total_rows(), rows);
        }
    }

    #[test]
    fn a_torn_record_ends_its_segment_and_is_not_counted() {
        let disk = MemoryDisk::default();
        let mut journal = open(&disk, 60_000).journal;
        journal.append(&disk, &ended(1)).unwrap();
        let good = journal.len;
        journal.append(&disk, &ended(2)).unwrap();
        let mut file = disk.open(&segment_name(0)).unwrap();
        file.truncate(good + 20).unwrap();
        let journal = open(&disk, 60_000).journal;
        assert_eq!(journal.known.totals.stored.total_rows(), 5);
    }

    /// However much of it is damaged, what is whole is found, and the damage is said.
    #[test]
    fn what_is_whole_is_found_behind_any_damage() {
        let disk = MemoryDisk::default();
        let mut journal = open(&disk, 60_000).journal;
        let mut ends = vec![usize::try_from(journal.len).unwrap()];
        for sequence in 0..4 {
            journal.append(&disk, &ended(sequence)).unwrap();
            ends.push(usize::try_from(journal.len).unwrap());
        }
        let file = disk.open(&segment_name(0)).unwrap();
        let whole = file.read_at(0, *ends.last().unwrap()).unwrap();
        // Both snapshots; two records, lengths and all; the length of one; the last.
        for (from, to, left, damaged) in
            [(0, ends[0], 20, 1), (ends[0], ends[2], 10, 1), (ends[1], ends[1] + 4, 15, 1), (ends[3], ends[4], 15, 0)]
        {
            let mut bytes = whole.to_vec();
            bytes[from..to].fill(0xee);
            let disk = MemoryDisk::default();
            disk.create(&segment_name(0)).unwrap().append(&[bytes.into()]).unwrap();
            let opened = open(&disk, 60_000);
            assert_eq!(opened.journal.known.totals.stored.total_rows(), left, "{from}..{to}");
            assert_eq!(opened.damaged, damaged, "{from}..{to}");
        }
    }

    #[test]
    fn a_segment_whose_file_is_gone_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let disk = crate::spool::disk::RealDisk::open(folder.path()).unwrap();
        let mut journal = open(&disk, 60_000).journal;
        journal.append(&disk, &ended(1)).unwrap();
        std::fs::remove_file(folder.path().join(segment_name(0))).unwrap();
        assert!(journal.append(&disk, &ended(2)).is_err(), "what is written to a file without a name is not written");
        journal.append(&disk, &ended(2)).unwrap();
        std::fs::write(folder.path().join(segment_name(1)), b"").unwrap();
        assert!(journal.append(&disk, &ended(3)).is_err());
        journal.append(&disk, &ended(3)).unwrap();
        let opened = open(&disk, 60_000);
        assert_eq!(opened.journal.known.totals.stored.total_rows(), 15);
        assert_eq!(opened.journal.known.next_sequence, 4);
    }

    /// As at a start on a full disk: the reserve gives room, and without it nothing stays.
    #[test]
    fn a_start_on_a_full_disk_takes_the_reserve_and_leaves_no_empty_segment() {
        let disk = crate::spool::disk::faulty::FaultyDisk::new(1);
        Reserve::default().make(&disk).unwrap();
        disk.fill_up(0);
        let reserve = Reserve::default();
        let opened = Journal::open(&disk, 60_000, &reserve).unwrap();
        assert!(reserve.is_spent());
        drop(opened);
        disk.fill_up(0);
        for _ in 0..3 {
            assert!(Journal::open(&disk, 60_000, &reserve).is_err());
        }
        let left: Vec<String> = disk.list("").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, [segment_name(0)]);
    }
}
