//! A batch's way into a sink that fails: what is repeated, under which token, what is believed, and who pays for a refusal.

mod disk;
mod divided;
mod shards;
mod too_much;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::chunk::Growth;
use crate::config::ForwardCompression;
use crate::sink::collector::tests::endpoint::Endpoint;
use crate::sink::collector::tests::{PROTOCOLS, collector, inflated, settings};
use crate::sink::fake::{Act, FakeSink, odd, too_much};
use crate::sink::{AfterUnknown, Outcome};
use crate::spool::disk::Disk;
use crate::spool::disk::faulty::{Faults, FaultyDisk};
use crate::spool::{Digest, Extent, Frame, FrameRequest, Limits, Note, Settings, Spool, now_ms};

/// A frame of these requests, all of the key `k`.
pub(crate) fn frame(sink: &FakeSink, requests: &[&str]) -> Frame {
    let mut encoder = sink.encoder(Signal::Logs);
    let mut notes = Vec::new();
    for text in requests {
        encoder.append(text.as_bytes(), &Growth::default()).expect("a good request");
        encoder.commit();
        let digest = Digest::of(text.as_bytes());
        notes.push(FrameRequest { key: "k".into(), bytes: text.len() as u64, digest });
    }
    Frame::new(notes, encoder.seal())
}

fn batch(spool: &Spool, frames: &[Frame]) -> Batch {
    let mut open = spool.batch(Signal::Logs);
    open.append(frames).unwrap();
    open.seal()
}

fn deliveries(sink: &Arc<FakeSink>) -> Arc<Deliveries> {
    Deliveries::new(sink.clone(), 2, Arc::default())
}

/// Delivers one batch of these frames and returns when the lane has nothing left to do.
async fn deliver(sink: &Arc<FakeSink>, frames: &[&[&str]]) {
    let deliveries = deliveries(sink);
    let frames: Vec<Frame> = frames.iter().map(|requests| frame(sink, requests)).collect();
    deliveries.take(batch(&Spool::in_memory(), &frames), None);
    idle(&deliveries).await;
}

async fn idle(deliveries: &Deliveries) {
    let hour = Duration::from_secs(3600);
    let idle = async {
        while !deliveries.is_at_rest() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(hour, idle).await.expect("the lane comes to rest");
}

/// Whether a batch that feeds this table is sealed as soon as it is opened.
fn seals_at_once(deliveries: &Deliveries, table: &str) -> bool {
    let now = Instant::now();
    deliveries.seals_at(Signal::Logs, now, (Duration::ZERO, Duration::MAX), [&Arc::from(table)].into_iter())
        == Some(now)
}

fn retry() -> Outcome {
    Outcome::Retry { why: "busy".into(), after: None }
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "cut".into() }
}

fn hold() -> Outcome {
    Outcome::Hold { why: "no such table".into() }
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_bytes_and_token() {
    let sink = FakeSink::new();
    sink.script("a", [Act::Say(retry()), Act::Say(retry())]);
    deliver(&sink, &[&["r1 a=2 b=1"], &["r2 a=1"]]).await;
    let tokens = sink.tokens("a");
    assert_eq!(tokens.len(), 3);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_ne!(tokens[0], sink.tokens("b")[0]);
    assert_eq!(sink.stored("a"), [("r1".into(), 2), ("r2".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_repeated_then_looked_at() {
    let sink = FakeSink::new();
    sink.script("a", [Act::StoreAndSay(unknown())]);
    deliver(&sink, &[&["r1 a=2"]]).await;
    assert_eq!(sink.tokens("a").len(), 2);
    assert_eq!(sink.state.lock().looks, ["a"]);
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_kept_without_its_rows_is_replaced() {
    let sink = FakeSink::new();
    sink.script("a", [Act::SpoilAndSay(unknown())]);
    deliver(&sink, &[&["r1 a=2"]]).await;
    let tokens = sink.tokens("a");
    assert_eq!(tokens.len(), 3);
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[1], tokens[2]);
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
}

#[tokio::test(start_paused = true)]
async fn a_table_without_a_window_is_looked_at_before_anything_is_repeated() {
    let sink = FakeSink::new();
    *sink.rule.lock() = AfterUnknown::Look;
    sink.script("a", [Act::StoreAndSay(unknown())]);
    sink.script("b", [Act::Say(unknown())]);
    deliver(&sink, &[&["r1 a=2 b=1"]]).await;
    assert_eq!((sink.tokens("a").len(), sink.tokens("b").len()), (1, 2));
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    assert_eq!(sink.stored("b"), [("r1".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_held_table_holds_no_other_and_goes_on_when_it_is_mended() {
    let sink = FakeSink::new();
    sink.always("a", Some(Act::Say(hold())));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &[frame(&sink, &["r1 a=2 b=1"])]), None);
    idle(&deliveries).await;
    // The lane counts as idle though `a` is held.
    assert_eq!(sink.stored("b").len(), 1);
    assert_eq!(deliveries.tables()["a"].held, 1);
    for n in 0..20 {
        let more = frame(&sink, &[&format!("n{n} b=1")]);
        deliveries.take(batch(&spool, &[more]), None);
    }
    idle(&deliveries).await;
    assert_eq!(sink.stored("b").len(), 21);
    sink.always("a", None);
    tokio::time::sleep(HELD_PAUSE * 2).await;
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    assert_eq!(deliveries.tables()["a"].held, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_what_depends_on_a_table_neither_divides_nor_repeats_what_is_in() {
    for said in [Outcome::Refused { why: "view".into() }, hold(), retry()] {
        for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look] {
            let sink = FakeSink::new();
            *sink.rule.lock() = rule;
            sink.always("a", Some(Act::StoreAndSay(Outcome::Doubtful { or_else: Box::new(said.clone()) })));
            let deliveries = deliveries(&sink);
            let frames = [frame(&sink, &["r1 a=2", "r2 a=1"]), frame(&sink, &["r3 a=1"])];
            deliveries.take(batch(&Spool::in_memory(), &frames), None);
            idle(&deliveries).await;
            tokio::time::sleep(HELD_PAUSE * 10).await;
            let expected = [("r1", 2), ("r2", 1), ("r3", 1)].map(|(name, rows)| (name.into(), rows));
            assert_eq!(sink.stored("a"), expected.into(), "{said:?} {rule:?}");
            let (_, why) = deliveries.tables()["a"].last_error.clone().unwrap();
            assert!(why.contains("depends on the table"), "{why}");
            assert!(sink.tokens("a").len() <= 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_proves_nothing_is_looked_for_each_time() {
    let sink = FakeSink::new();
    *sink.rule.lock() = AfterUnknown::Look;
    sink.always("a", Some(Act::Say(Outcome::Doubtful { or_else: Box::new(hold()) })));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &[frame(&sink, &["r1 a=2"])]), None);
    tokio::time::sleep(HELD_PAUSE * 4).await;
    assert_eq!(deliveries.tables()["a"].held, 1);
    // The last attempt is in, and nobody said so.
    sink.script("a", [Act::StoreAndSay(Outcome::Doubtful { or_else: Box::new(hold()) })]);
    tokio::time::sleep(HELD_PAUSE * 4).await;
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    assert_eq!(deliveries.tables()["a"].held, 0);
    let state = sink.state.lock();
    assert_eq!(state.looks.len(), state.attempts.len());
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_tried_is_not_believed() {
    let sink = FakeSink::new();
    let spool = Spool::in_memory();
    let tried = batch(&spool, &[frame(&sink, &["r1 a=2 b=1"])]);
    let parts: Vec<u32> = tried.parts().iter().map(|part| part.id).collect();
    tried.note(&[Note::Tried { part: parts[0] }, Note::In { part: parts[1] }]).unwrap();
    let deliveries = deliveries(&sink);
    deliveries.take(tried, None);
    idle(&deliveries).await;
    assert_eq!(sink.state.lock().looks, ["a"]);
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    assert!(sink.tokens("b").is_empty(), "what is known to be in is not sent again");
}

#[tokio::test(start_paused = true)]
async fn replicas_are_not_looked_at_while_they_remember_the_token() {
    let hour_ms = 3_600_000;
    // Minutes ago, hours ago, and in the time to come: the clock was set back.
    for (at_ms, looks) in [(now_ms() - 60_000, 0), (now_ms() - hour_ms, 1), (now_ms() + hour_ms, 1)] {
        let sink = FakeSink::new();
        sink.replicas.store(true, std::sync::atomic::Ordering::Relaxed);
        let tried = batch(&Spool::in_memory(), &[frame(&sink, &["r1 a=2"])]);
        let (part, extent) = (tried.parts()[0].id, Extent::Whole);
        tried.note(&[Note::Attempt { part, extent, generation: 3, at_ms }]).unwrap();
        let token = tried.token(part, extent, 3);
        let deliveries = deliveries(&sink);
        deliveries.take(tried, None);
        tokio::time::sleep(STRAGGLERS * 2).await;
        assert_eq!(sink.state.lock().looks.len(), looks, "{at_ms}");
        assert_eq!(sink.tokens("a").len(), 1);
        assert_eq!(sink.tokens("a")[0] == token, looks == 0);
        assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn an_insert_of_an_earlier_process_that_arrives_late_is_stored_once() {
    let sink = FakeSink::new();
    *sink.rule.lock() = AfterUnknown::Look;
    let spool = Spool::in_memory();
    let tried = batch(&spool, &[frame(&sink, &["r1 a=2"])]);
    tried.note(&[Note::Tried { part: tried.parts()[0].id }]).unwrap();
    let deliveries = deliveries(&sink);
    deliveries.take(tried, None);
    deliveries.take(batch(&spool, &[frame(&sink, &["r2 a=1"])]), None);
    tokio::time::sleep(STRAGGLERS / 2).await;
    assert_eq!(sink.stored("a"), [("r2".into(), 1)].into(), "the others go on");
    assert_eq!(deliveries.tables()["a"].waiting, 1);
    assert!(seals_at_once(&deliveries, "a"), "new batches are sealed at once");
    let late = ["r1", "r1"].map(|name| ("a".to_owned(), name.to_owned()));
    sink.state.lock().rows.extend(late);
    tokio::time::sleep(STRAGGLERS).await;
    idle(&deliveries).await;
    assert_eq!(sink.stored("a"), [("r1".into(), 2), ("r2".into(), 1)].into());
    assert_eq!(deliveries.tables()["a"].waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn inserts_in_flight_are_bounded_and_the_tried_go_first() {
    let sink = FakeSink::new();
    let spool = Spool::in_memory();
    sink.always("a", Some(Act::Wait(Duration::from_secs(1))));
    let deliveries = deliveries(&sink);
    for name in ["r0", "r1", "r2", "tried"] {
        let batch = batch(&spool, &[frame(&sink, &[&format!("{name} a=1")])]);
        if name == "tried" {
            batch.note(&[Note::Tried { part: batch.parts()[0].id }]).unwrap();
        }
        deliveries.take(batch, None);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let health = deliveries.tables()["a"].clone();
    assert_eq!((health.working, health.waiting), (2, 2));
    assert_eq!(sink.state.lock().attempts.len(), 2);
    idle(&deliveries).await;
    assert_eq!(sink.stored("a").len(), 4);
    let first: Vec<String> = sink.state.lock().rows.iter().map(|(_, name)| name.clone()).collect();
    assert!(first[..2].contains(&"tried".to_owned()), "{first:?}");
}

#[tokio::test]
async fn one_poisoned_request_costs_nobody_else_behind_a_collector() {
    for protocol in PROTOCOLS {
        let endpoint = Endpoint::start([]).await;
        let collector = collector(&settings(protocol, &[endpoint.address]));
        let mut samples = stack::Samples::new(31);
        let requests: Vec<Vec<u8>> = (0..9).map(|at| samples.logs_bytes(5 + at)).collect();
        *endpoint.state.poison.lock() = Some(requests[4].clone());
        let spool = Spool::in_memory();
        let mut open = spool.batch(Signal::Logs);
        let mut encoder = collector.encoder(Signal::Logs);
        for frame in requests.chunks(3) {
            for request in frame {
                encoder.append(request, &Growth::default()).unwrap();
                encoder.commit();
            }
            let note = |request: &Vec<u8>| FrameRequest { key: "k".into(), bytes: 1, digest: Digest::of(request) };
            open.append(&[Frame::new(frame.iter().map(note).collect(), encoder.seal())]).unwrap();
        }
        let deliveries = Deliveries::new(collector.clone(), 2, Arc::default());
        deliveries.take(open.seal(), None);
        while deliveries.oldest_ms().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let taken: Vec<u8> = endpoint.seen().iter().flat_map(|seen| inflated(seen, ForwardCompression::None)).collect();
        let times = |request: &Vec<u8>| memchr::memmem::find_iter(&taken, request).count();
        let times: Vec<usize> = requests.iter().map(times).collect();
        assert_eq!(times, [1, 1, 1, 1, 0, 1, 1, 1, 1], "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_tried_again_as_soon_as_something_changes() {
    let sink = FakeSink::new();
    sink.always("a", Some(Act::Say(hold())));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    for name in ["r1", "r2", "r3"] {
        deliveries.take(batch(&spool, &[frame(&sink, &[&format!("{name} a=1")])]), None);
    }
    idle(&deliveries).await;
    assert_eq!(deliveries.tables()["a"].held, 3);
    sink.always("a", None);
    sink.changes.send_modify(|count| *count += 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sink.stored("a").len(), 3);
    assert_eq!(deliveries.tables()["a"].held, 0);
}

#[tokio::test(start_paused = true)]
async fn one_held_part_that_is_in_brings_the_others_of_its_table() {
    let sink = FakeSink::new();
    sink.always("a", Some(Act::Say(hold())));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    for n in 0..20 {
        deliveries.take(batch(&spool, &[frame(&sink, &[&format!("r{n} a=1")])]), None);
    }
    idle(&deliveries).await;
    sink.always("a", None);
    let first = async {
        while sink.stored("a").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HELD_PAUSE * 2, first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sink.stored("a").len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_costs_its_part_a_pause_and_nothing_else() {
    let sink = FakeSink::new();
    sink.script("a", [Act::StoreAndPanic]);
    let deliveries = deliveries(&sink);
    let began = Instant::now();
    deliveries.take(batch(&Spool::in_memory(), &[frame(&sink, &["r1 a=2 b=1"])]), None);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!((sink.stored("b").len(), deliveries.tables()["a"].held), (1, 1));
    assert!(deliveries.tables()["a"].last_error.as_ref().is_some_and(|(_, why)| why.contains("panicked")));
    while !deliveries.batches().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= HELD_PAUSE / 2 && began.elapsed() < 2 * HELD_PAUSE);
    // It was in; the repeat had its token, and a look told so.
    assert_eq!(sink.stored("a"), [("r1".into(), 2)].into());
    assert_eq!(sink.state.lock().looks, ["a"]);
    assert_eq!(deliveries.tables()["a"].held, 0);
    assert!(deliveries.is_at_rest());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_ends_takes_no_other_of_its_number_along() {
    let sink = FakeSink::new();
    let deliveries = deliveries(&sink);
    let shipment = || Shipment::new(Arc::new(batch(&Spool::in_memory(), &[frame(&sink, &["r1 a=1"])])), None);
    let (ends, again) = (shipment(), shipment());
    assert_eq!(ends.batch.sequence(), again.batch.sequence());
    deliveries.live.lock().insert(again.batch.sequence(), again.clone());
    deliveries.clone().finish(ends).await;
    assert!(deliveries.has(again.batch.sequence()));
    deliveries.clone().finish(again.clone()).await;
    assert!(!deliveries.has(again.batch.sequence()));
}
