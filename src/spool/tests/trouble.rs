//! Files that vanish, may not be read, or find no room while the spool is in use: only what they held is concerned, and it is said.

use super::*;
use crate::spool::disk::faulty::{Faults, FaultyDisk};

fn open(disk: &FaultyDisk) -> (Spool, Recovered) {
    Spool::open(Box::new(disk.clone()), &SETTINGS).unwrap()
}

fn batch(spool: &Spool, frames: &[Frame]) -> Batch {
    let mut open = spool.batch(Signal::Logs);
    open.append(frames).unwrap();
    open.seal()
}

/// stored, lost, waiting.
fn rows(spool: &Spool) -> [u64; 3] {
    let totals = spool.totals();
    [totals.stored.total_rows(), totals.lost.total_rows(), spool.waiting().total_rows()]
}

#[test]
fn a_file_that_vanishes_costs_what_is_not_stored_of_it_and_nothing_else() {
    let disk = FaultyDisk::new(1);
    let (spool, _) = open(&disk);
    let frames = [frame("otel_logs", &["a", "b"], 3, b"one"), frame("otel_traces", &["a"], 5, b"two")];
    let (hit, other) = (batch(&spool, &frames), batch(&spool, &frames));
    assert_eq!(hit.read(0).unwrap().rows(), 6);
    hit.note(&[Note::Tried { part: 0 }, Note::In { part: 0 }]).unwrap();
    disk.vanish(&file_name(hit.sequence()));
    assert!(hit.read(1).unwrap().segments.is_empty());
    hit.note(&[Note::In { part: 1 }]).unwrap();
    hit.finish().unwrap();
    assert_eq!(rows(&spool), [6, 5, 11]);
    let totals = spool.totals();
    assert_eq!(totals.stored.rows.values().collect::<Vec<_>>(), [&3, &3], "whose they are is known");
    assert_eq!(totals.stored.total_requests(), 3);
    assert!(spool.remark().unwrap().contains("5 rows of 1 files are lost"), "{:?}", spool.remark());
    assert_eq!((spool.check(), spool.has_room()), (Ok(()), Ok(())));
    assert_eq!(other.read(1).unwrap().rows(), 5);
    other.finish().unwrap();
    assert_eq!(rows(&spool), [17, 5, 0]);
    assert_eq!(spool.used().0, 0);
}

#[test]
fn of_a_table_whose_parts_are_in_only_some_each_key_has_its_share() {
    let disk = FaultyDisk::new(2);
    let (spool, _) = open(&disk);
    let mut other_day = frame("otel_logs", &["a", "b"], 2, b"two");
    other_day.parts[0].name.partition += 1;
    let hit = batch(&spool, &[frame("otel_logs", &["a", "b"], 4, b"one"), other_day]);
    hit.note(&[Note::In { part: 0 }]).unwrap();
    disk.vanish(&file_name(hit.sequence()));
    hit.finish().unwrap();
    assert_eq!(rows(&spool), [8, 4, 0]);
    assert_eq!(spool.totals().lost.rows.values().collect::<Vec<_>>(), [&2, &2]);
}

#[test]
fn a_file_that_may_not_be_read_waits_for_who_may_mend_it() {
    let disk = FaultyDisk::new(3);
    let (spool, _) = open(&disk);
    let (hit, other) = (
        batch(&spool, &[frame("otel_logs", &["a"], 3, b"one")]),
        batch(&spool, &[frame("otel_logs", &["a"], 1, b"two")]),
    );
    disk.deny(Some(&file_name(hit.sequence())));
    for _ in 0..20 {
        assert_eq!(hit.read(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(hit.note(&[Note::Tried { part: 0 }]).is_err());
    }
    other.read(0).unwrap();
    other.finish().unwrap();
    assert!(spool.remark().unwrap().contains("1 files cannot be read"), "{:?}", spool.remark());
    disk.deny(None);
    assert_eq!(hit.read(0).unwrap().rows(), 3);
    assert_eq!(spool.remark(), None);
    hit.finish().unwrap();
    assert_eq!(rows(&spool), [4, 0, 0]);
}

#[test]
fn what_a_person_drops_that_cannot_be_read_is_dropped() {
    let disk = FaultyDisk::new(4);
    let (spool, _) = open(&disk);
    let hit = batch(&spool, &[frame("otel_logs", &["a"], 3, b"one")]);
    disk.deny(Some(&file_name(hit.sequence())));
    let tries = (0..20).take_while(|_| hit.drop_rest().is_err()).count();
    assert!(tries < 10, "{tries}");
    assert_eq!(spool.totals().dropped.total_rows(), 3);
    assert_eq!((rows(&spool), disk.len_of(&file_name(hit.sequence()))), ([0, 0, 0], None));
}

/// Nothing is lost because a mount is away for a while.
#[test]
fn a_folder_that_is_away_costs_nothing_when_it_comes_back() {
    let disk = FaultyDisk::new(5);
    let (spool, _) = open(&disk);
    let hit = batch(&spool, &[frame("otel_logs", &["a"], 3, b"one")]);
    disk.hide(true);
    for _ in 0..20 {
        assert!(hit.read(0).is_err() && hit.note(&[Note::Tried { part: 0 }]).is_err() && hit.finish().is_err());
    }
    assert!(spool.check().is_err());
    assert!(spool.batch(Signal::Logs).append(&[frame("otel_logs", &["a"], 3, b"two")]).is_err());
    disk.hide(false);
    assert_eq!(hit.read(0).unwrap().rows(), 3);
    hit.finish().unwrap();
    assert_eq!((rows(&spool), spool.check()), ([3, 0, 0], Ok(())));
}

#[test]
fn readiness_tells_what_requests_meet_until_the_disk_works_again() {
    let disk = FaultyDisk::new(6);
    let (spool, _) = open(&disk);
    let append = || spool.batch(Signal::Logs).append(&[frame("otel_logs", &["a"], 3, b"one")]);
    for faults in [
        Faults { create: 1.0, ..Faults::default() },
        Faults { sync: 1.0, ..Faults::default() },
        Faults { write: 1.0, ..Faults::default() },
    ] {
        disk.set(faults);
        assert!(append().is_err());
        assert!(spool.check().is_err(), "{faults:?}");
        disk.set(Faults::default());
        assert_eq!(spool.check(), Ok(()), "{faults:?}");
        append().unwrap();
    }
    let left = disk.list("").unwrap();
    assert!(left.iter().all(|(name, _)| !name.starts_with("probe")), "{left:?}");
}

/// A backlog, the disk full to its last byte, and the sink there.
#[test]
fn a_start_on_a_full_disk_drains_its_backlog_and_then_takes_more() {
    let disk = FaultyDisk::new(7);
    let (spool, _) = open(&disk);
    for n in 0..5u8 {
        let sealed = batch(&spool, &[frame("otel_logs", &["a"], 1, &[n; 3000])]);
        sealed.note(&[Note::Tried { part: 0 }]).unwrap();
    }
    drop(spool);
    disk.set(Faults { crash_in: Some(0), ..Faults::default() });
    assert!(disk.list("").is_err());
    disk.restart();
    disk.fill_up(0);
    let (spool, recovered) = open(&disk);
    assert_eq!(recovered.batches.len(), 5);
    assert!(spool.has_room().is_err() && spool.check().is_err(), "the room is for what is here");
    for sealed in recovered.batches {
        sealed.note(&[Note::In { part: 0 }]).unwrap();
        sealed.finish().unwrap();
    }
    assert_eq!(rows(&spool), [5, 0, 0]);
    assert_eq!(spool.check(), Ok(()));
    assert_eq!(disk.len_of("reserve"), Some(4 << 10), "set aside again");
}

/// Every try would take what the last one left.
#[test]
fn starts_on_a_disk_that_is_full_without_a_reserve_leave_nothing() {
    let disk = FaultyDisk::new(8);
    drop(open(&disk));
    disk.vanish("reserve");
    disk.fill_up(0);
    let before = disk.list("").unwrap().len();
    for _ in 0..3 {
        assert!(Spool::open(Box::new(disk.clone()), &SETTINGS).is_err());
    }
    assert_eq!(disk.list("").unwrap().len(), before);
}

/// Requests ask from a reactor, so that none of them may wait for a disk: it is asked where its answer is waited for.
#[test]
fn requests_go_by_what_the_disk_said_last() {
    let disk = FaultyDisk::new(9);
    let (spool, _) = open(&disk);
    assert_eq!(spool.room("a"), Ok(()));
    disk.fill_up(0);
    assert_eq!(spool.room("a"), Ok(()));
    assert!(spool.check().is_err());
    assert_eq!(spool.room("a"), Err(Away::Spool));
    disk.fill_up(None);
    assert_eq!(spool.room("a"), Err(Away::Spool));
    assert_eq!(spool.check(), Ok(()));
    assert_eq!(spool.room("a"), Ok(()));
}
