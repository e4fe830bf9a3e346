//! A batch's way into a sink that fails: what is repeated, under which token, what is believed, and who pays for a refusal.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::chunk::Growth;
use crate::config::ForwardCompression;
use crate::sink::collector::tests::endpoint::Endpoint;
use crate::sink::collector::tests::{PROTOCOLS, collector, inflated, settings};
use crate::sink::fake::{Act, FakeSink, too_much};
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
async fn poison_costs_nobody_else_a_record() {
    let sink = FakeSink::new();
    let deliveries = deliveries(&sink);
    let spool = Spool::in_memory();
    let frames: &[&[&str]] =
        &[&["r1 a=2"], &["r2 a=1", "poison a=2 b=1", "r3 a=3"], &["r4 a=1", "r5 a=1"], &["r6 a=1"]];
    let frames: Vec<Frame> = frames.iter().map(|requests| frame(&sink, requests)).collect();
    // Rows of the same request in another table are not refused.
    sink.script("b", [Act::StoreAndSay(Outcome::Delivered)]);
    deliveries.take(batch(&spool, &frames), None);
    idle(&deliveries).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let expected = [("r1", 2), ("r2", 1), ("r3", 3), ("r4", 1), ("r5", 1), ("r6", 1)];
    assert_eq!(sink.stored("a"), expected.map(|(name, rows)| (name.into(), rows)).into());
    let quarantined: u64 = spool.totals().quarantined.total_rows();
    assert_eq!(quarantined, 2);
    let mut tokens = sink.tokens("a");
    let all = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), all, "each piece has a token of its own");
}

/// A part of which the last request is refused is divided. The process is killed while the sink is silent on one of the inserts, which
/// is in or is not, and another goes on with what the spool says.
#[test]
fn a_kill_while_a_part_is_divided_neither_doubles_nor_loses() {
    let requests: Vec<String> =
        (0..8).map(|n| format!("{}{n} a={}", if n == 7 { "poison" } else { "r" }, n + 1)).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let one_frame = vec![&requests[..]];
    let eight_frames: Vec<&[&str]> = requests.chunks(1).collect();
    let two_frames = vec![&requests[..3], &requests[3..]];
    let mut kills = 0;
    for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look] {
        for frames in [&one_frame, &eight_frames, &two_frames] {
            for held in 0..20 {
                for stored in [false, true] {
                    kills += usize::from(divided_and_killed(rule, frames, held, stored));
                }
            }
        }
    }
    assert!(kills > 60, "the inserts of a divided part are more than {kills}");
}

/// The insert after so many others is held; true when there was one.
fn divided_and_killed(rule: AfterUnknown, frames: &[&[&str]], held: usize, stored: bool) -> bool {
    let (disk, sink) = (FaultyDisk::new(1), FakeSink::new());
    let settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };
    let start = || Spool::open(Box::new(disk.clone()), &settings).unwrap();
    *sink.rule.lock() = rule;
    let acts = std::iter::repeat_n(Act::Wait(Duration::ZERO), held);
    sink.script("a", acts.chain([Act::Silence(stored, Duration::from_secs(86_400))]));
    let killed = in_a_life(async {
        let (spool, _) = start();
        let frames: Vec<Frame> = frames.iter().map(|requests| frame(&sink, requests)).collect();
        let deliveries = deliveries(&sink);
        deliveries.take(batch(&spool, &frames), None);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let killed = !deliveries.batches().is_empty();
        disk.set(Faults { crash_in: Some(0), ..Faults::default() });
        assert!(disk.list("").is_err());
        killed
    });
    disk.restart();
    sink.script("a", []);
    let answered = sink.tokens("a").into_iter().take(held).collect::<Vec<_>>();
    in_a_life(async {
        let (spool, recovered) = start();
        let deliveries = deliveries(&sink);
        recovered.batches.into_iter().for_each(|batch| deliveries.take(batch, None));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let totals = spool.totals();
        assert_eq!((totals.stored.total_rows(), totals.quarantined.total_rows()), (28, 8));
    });
    let again: Vec<_> = sink.tokens("a").into_iter().skip(held + 1).filter(|token| answered.contains(token)).collect();
    assert!(again.is_empty(), "{rule:?}, insert {held} held: what was answered is sent again: {again:?}");
    let expected = (0..7).map(|n| (format!("r{n}"), n + 1)).collect();
    assert_eq!(sink.stored("a"), expected, "{rule:?}, insert {held} held, stored: {stored}");
    killed
}

/// A process: nothing that it began goes on after it.
fn in_a_life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let done = runtime.block_on(life);
    runtime.shutdown_timeout(Duration::from_secs(10));
    done
}

#[tokio::test(start_paused = true)]
async fn what_was_divided_by_a_process_that_did_not_say_how_is_looked_for_before_it_is_sent() {
    let sink = FakeSink::new();
    let spool = Spool::in_memory();
    let requests: Vec<String> = (0..8).map(|n| format!("{}{n} a=1", if n == 6 { "poison" } else { "r" })).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let tried = batch(&spool, &[frame(&sink, &requests), frame(&sink, &["r8 a=1", "r9 a=1"])]);
    let part = tried.parts()[0].id;
    tried.note(&[Note::Tried { part }, Note::Split { part }]).unwrap();
    let of = |name: &str| ("a".to_owned(), name.to_owned());
    sink.state.lock().rows.extend(["r0", "r1", "r2", "r3", "r8", "r9"].map(of));
    let deliveries = deliveries(&sink);
    deliveries.take(tried, None);
    idle(&deliveries).await;
    let expected = [0, 1, 2, 3, 4, 5, 7, 8, 9].map(|n| (format!("r{n}"), 1));
    assert_eq!(sink.stored("a"), expected.into());
    assert_eq!(spool.totals().quarantined.total_rows(), 1);
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
    assert!(deliveries.lets_seal(Signal::Logs, ["a".into()].iter()), "new batches are sealed at once");
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

/// Requests of two rows each, four a frame.
fn many(sink: &FakeSink, name: &str, requests: usize) -> Vec<Frame> {
    let texts: Vec<String> = (0..requests).map(|n| format!("{name}-{n} a=2")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.chunks(4).map(|few| frame(sink, few)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_at_once_is_divided_after_a_few_attempts() {
    for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look] {
        let sink = FakeSink::new();
        *sink.rule.lock() = rule;
        sink.takes_at_once(Some(10));
        let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
        deliveries.take(batch(&spool, &many(&sink, "first", 32)), None);
        let began = Instant::now();
        idle(&deliveries).await;
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(sink.stored("a").len(), 32);
        let sizes: Vec<u64> = sink.state.lock().sizes.iter().map(|(rows, _)| *rows).collect();
        assert_eq!(sizes.iter().filter(|rows| **rows == 64).count(), 3, "{sizes:?}");
        assert_eq!(sizes.iter().filter(|rows| **rows == 32).count(), 1, "a piece has no patience: {sizes:?}");
        assert_eq!(spool.totals().quarantined.total_rows(), 0);

        // The next ones are divided before they are sent.
        let refused = |sink: &FakeSink| sink.state.lock().sizes.iter().filter(|(_, all)| *all > 10).count();
        let before = refused(&sink);
        for n in 0..10 {
            deliveries.take(batch(&spool, &many(&sink, &format!("n{n}"), 32)), None);
        }
        idle(&deliveries).await;
        assert_eq!(sink.stored("a").len(), 11 * 32);
        let refused = refused(&sink) - before;
        let all = sink.state.lock().sizes.len();
        assert!(refused * 4 < all, "{refused} of {all} were too much");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_under_way_are_bounded_before_inserts_become_smaller() {
    let sink = FakeSink::new();
    sink.always("a", Some(Act::Wait(Duration::from_secs(1))));
    sink.takes_at_once(Some(100));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    for n in 0..6 {
        deliveries.take(batch(&spool, &many(&sink, &format!("n{n}"), 32)), None);
    }
    idle(&deliveries).await;
    assert_eq!(sink.stored("a").len(), 6 * 32);
    let sizes = sink.state.lock().sizes.clone();
    assert!(sizes.iter().all(|(rows, _)| *rows == 64), "one at a time is not too much: {sizes:?}");
    assert!(sizes.iter().filter(|(_, all)| *all > 100).count() <= 2, "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_fit_is_not_punished_for_long() {
    let sink = FakeSink::new();
    sink.takes_at_once(Some(0));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &many(&sink, "fit", 64)), None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    sink.takes_at_once(None);
    idle(&deliveries).await;
    assert_eq!(sink.stored("a").len(), 64);
    let inserts = sink.state.lock().inserts.len();
    assert!(inserts < 32, "what was not tried since goes in large pieces: {inserts}");
    let limited = |deliveries: &Deliveries| deliveries.tables()["a"].rows_at_once;
    assert!(limited(&deliveries).is_some());
    for n in 0..20 {
        deliveries.take(batch(&spool, &many(&sink, &format!("n{n}"), 64)), None);
    }
    idle(&deliveries).await;
    assert_eq!(limited(&deliveries), None);
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_too_much_alone_waits_and_is_never_quarantined() {
    let sink = FakeSink::new();
    sink.takes_at_once(Some(10));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    let frames = [frame(&sink, &["r1 a=2", "large a=50", "r2 a=3"]), frame(&sink, &["r3 a=4"])];
    deliveries.take(batch(&spool, &frames), None);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let expected = [("r1", 2), ("r2", 3), ("r3", 4)];
    assert_eq!(sink.stored("a"), expected.map(|(name, rows)| (name.into(), rows)).into());
    let health = deliveries.tables()["a"].clone();
    assert_eq!(health.held, 1);
    let (_, why) = health.last_error.unwrap();
    assert!(why.contains("one request of 50 rows") && why.contains("out of memory"), "{why}");
    sink.takes_at_once(Some(50));
    tokio::time::sleep(HELD_PAUSE * 2).await;
    assert_eq!(sink.stored("a")["large"], 50);
    assert_eq!((deliveries.tables()["a"].held, spool.totals().quarantined.total_rows()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_in_though_the_sink_said_too_much_are_not_sent_again() {
    for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look] {
        let sink = FakeSink::new();
        *sink.rule.lock() = rule;
        sink.script("a", vec![Act::StoreAndSay(too_much()); 3]);
        deliver(&sink, &[&["r1 a=2", "r2 a=2"]]).await;
        assert_eq!(sink.stored("a"), [("r1".into(), 2), ("r2".into(), 2)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_nothing_is_not_asked_for_every_request() {
    let sink = FakeSink::new();
    sink.takes_at_once(Some(0));
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &many(&sink, "fit", 256)), None);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = sink.state.lock().sizes.len();
    assert!(attempts < 150, "{attempts} in ten minutes");
    assert_eq!(deliveries.tables()["a"].held, 1);
    sink.takes_at_once(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sink.stored("a").len(), 256);
    let inserts = sink.state.lock().inserts.len();
    assert!(inserts < 150, "{inserts}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_understands_keeps_its_neighbours_for_some_minutes_only() {
    let sink = FakeSink::new();
    let odd = Outcome::TooMuch { why: "std::exception".into(), sure: false };
    sink.bewilders("odd", Outcome::Doubtful { or_else: Box::new(odd) });
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &[frame(&sink, &["r1 a=2", "odd a=2", "r2 a=2"]), frame(&sink, &["r3 a=2"])]), None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(sink.stored("a").is_empty(), "it may pass");
    tokio::time::sleep(Duration::from_secs(540)).await;
    assert_eq!(sink.stored("a").keys().collect::<Vec<_>>(), ["r1", "r2", "r3"]);
    let health = deliveries.tables()["a"].clone();
    assert_eq!((health.held, health.rows_at_once), (1, None));
    assert_eq!(spool.totals().quarantined.total_rows(), 0);
}

const SPOOL: Settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };

/// So many batches of one request in table `a`, on a disk that fails as it is told.
fn backlog(sink: &Arc<FakeSink>, count: usize) -> (FaultyDisk, Spool, Vec<Batch>) {
    let disk = FaultyDisk::new(1);
    let spool = Spool::open(Box::new(disk.clone()), &SPOOL).unwrap().0;
    let batches = (0..count).map(|n| batch(&spool, &[frame(sink, &[&format!("r{n} a=2")])])).collect();
    (disk, spool, batches)
}

async fn finished(deliveries: &Deliveries, left: usize) {
    let done = async {
        while deliveries.batches().len() > left {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), done).await.expect("everything else is delivered");
}

/// More files than a table has workers may not be read: everything else is delivered, and they are when they may.
#[tokio::test(start_paused = true)]
async fn files_that_may_not_be_read_keep_nobody_else_waiting() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 6);
    // Two workers a table, and three of these.
    let deliveries = deliveries(&sink);
    disk.deny_all((0..3).map(|sequence| format!("{sequence:020}.batch")));
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    finished(&deliveries, 3).await;
    idle(&deliveries).await;
    assert_eq!(sink.stored("a").len(), 3);
    assert!(deliveries.lets_seal(Signal::Logs, [&Arc::from("a")].into_iter()), "the lane goes on");
    assert!(spool.remark().unwrap().contains("cannot be read"), "{:?}", spool.remark());
    disk.deny(None);
    finished(&deliveries, 0).await;
    assert_eq!(sink.stored("a").len(), 6);
    assert_eq!((spool.remark(), spool.totals().stored.total_rows()), (None, 12));
}

#[tokio::test(start_paused = true)]
async fn a_person_may_drop_what_cannot_be_read() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 4);
    disk.deny(Some(".batch"));
    let deliveries = deliveries(&sink);
    let sequences: Vec<u64> = batches.iter().map(Batch::sequence).collect();
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(sequences.iter().all(|sequence| deliveries.drop_batch(*sequence)));
    finished(&deliveries, 0).await;
    assert_eq!(spool.totals().dropped.total_rows(), 8);
    assert!(sink.stored("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_that_vanish_cost_their_own_rows_only() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 6);
    for batch in &batches[1..4] {
        disk.vanish(&format!("{:020}.batch", batch.sequence()));
    }
    let deliveries = deliveries(&sink);
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    finished(&deliveries, 0).await;
    assert_eq!(sink.stored("a").keys().map(String::as_str).collect::<Vec<_>>(), ["r0", "r4", "r5"]);
    let totals = spool.totals();
    assert_eq!((totals.stored.total_rows(), totals.lost.total_rows(), spool.waiting().total_rows()), (6, 6, 0));
    assert!(spool.remark().unwrap().contains("6 rows of 3 files are lost"), "{:?}", spool.remark());
}
