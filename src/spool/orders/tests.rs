//! What an order does to the books and the files.

use super::super::tests::frame;
use super::*;
use crate::signal::Signal;
use crate::spool::Refused;
use crate::spool::disk::faulty::FaultyDisk;
use crate::spool::look::look_on;

fn reopen(disk: &FaultyDisk) -> StoppedSpool {
    StoppedSpool::on(Box::new(disk.clone()), Duration::from_secs(600)).unwrap()
}

/// A spool with batch 0, of whose five rows two were refused.
fn with_refused() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let stopped = reopen(&disk);
    let mut open = stopped.spool.batch(Signal::Logs);
    open.append(&[frame("otel_logs", &["a", "b"], 2, b"one"), frame("otel_logs", &["a"], 1, b"two")]).unwrap();
    let batch = open.seal();
    let refused = Refused { part: 0, frame: 0, start: 2, rows: 2, why: "too odd".into() };
    batch.note(&[Note::Refused(refused), Note::In { part: 0 }]).unwrap();
    batch.finish().unwrap();
    stopped.close().unwrap();
    disk
}

fn rows(stopped: &StoppedSpool) -> [u64; 4] {
    let totals = stopped.spool.totals();
    let waiting = stopped.spool.waiting().total_rows();
    [totals.stored.total_rows(), totals.quarantined.total_rows(), totals.dropped.total_rows(), waiting]
}

#[test]
fn what_was_refused_is_delivered_again_when_a_person_says_so() {
    let disk = with_refused();
    let mut stopped = reopen(&disk);
    assert_eq!(rows(&stopped), [3, 2, 0, 0]);
    let [one] = &look_on(Box::new(disk.clone())).unwrap()[..] else { panic!("one batch") };
    assert_eq!((one.place, one.parts[0].refused_rows), (Place::Quarantine, 2));
    assert_eq!(one.parts[0].reasons, ["too odd"]);
    stopped.retry(0).unwrap();
    assert!(matches!(stopped.retry(0), Err(AskError::NoSuchBatch(0))));
    stopped.close().unwrap();

    let stopped = reopen(&disk);
    assert_eq!(rows(&stopped), [3, 0, 0, 2]);
    let batch = &stopped.recovered.batches[0];
    assert!(batch.is_due(0) && batch.state(0).generation == 1);
    let contents = batch.read(0).unwrap();
    assert_eq!(contents.segments[0].to_send, [(2, 2)]);
    assert!(contents.segments[1].to_send.is_empty());
    let refused = Refused { part: 0, frame: 0, start: 3, rows: 1, why: "still".into() };
    batch.note(&[Note::Refused(refused), Note::In { part: 0 }]).unwrap();
    batch.finish().unwrap();
    assert_eq!(rows(&stopped), [4, 1, 0, 0]);
}

#[test]
fn what_a_person_drops_is_counted_once() {
    let disk = with_refused();
    let mut stopped = reopen(&disk);
    assert_eq!(stopped.drop(0).unwrap().total_rows(), 2);
    assert_eq!(rows(&stopped), [3, 0, 2, 0]);
    assert!(matches!(stopped.drop(0), Err(AskError::NoSuchBatch(0))));
    let mut open = stopped.spool.batch(Signal::Traces);
    open.append(&[frame("otel_traces", &["a"], 7, b"three")]).unwrap();
    drop((open.seal(), stopped));

    let mut stopped = reopen(&disk);
    assert_eq!(rows(&stopped), [3, 0, 2, 7]);
    let [waiting] = &look_on(Box::new(disk.clone())).unwrap()[..] else { panic!("one batch") };
    assert_eq!(waiting.place, Place::Waiting);
    let sequence = waiting.sequence;
    assert_eq!(stopped.drop(sequence).unwrap().total_rows(), 7);
    assert!(look_on(Box::new(disk.clone())).unwrap().is_empty());
    assert_eq!(rows(&reopen(&disk)), [3, 0, 9, 0]);
}

#[test]
fn what_was_refused_of_a_part_that_is_in_is_dropped_with_the_rest() {
    let disk = FaultyDisk::new(1);
    let mut stopped = reopen(&disk);
    let mut open = stopped.spool.batch(Signal::Logs);
    open.append(&[frame("otel_logs", &["a", "b"], 2, b"one"), frame("hyperdx_sessions", &["a"], 3, b"two")]).unwrap();
    let batch = open.seal();
    let refused = Refused { part: 0, frame: 0, start: 2, rows: 2, why: "too odd".into() };
    batch.note(&[Note::Refused(refused), Note::In { part: 0 }]).unwrap();
    drop(batch);
    stopped.close().unwrap();
    stopped = reopen(&disk);
    assert_eq!(stopped.drop(0).unwrap().total_rows(), 5);
    assert_eq!(rows(&stopped), [2, 0, 5, 0]);
    assert!(look_on(Box::new(disk.clone())).unwrap().is_empty());
}
