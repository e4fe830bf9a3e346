//! What the sink refuses is divided until each refused request stands alone, through kills as well.

use super::*;
use crate::deliver::Audience;
use crate::memory::double::Counted;
use crate::reply::Refusal;
use crate::waiting::{Fate, Waiting};

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
    // Without a spool who sent it was told so: it was never accepted.
    assert_eq!(spool.totals().quarantined.total_rows(), 0);
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
pub(super) fn in_a_life<T>(life: impl Future<Output = T>) -> T {
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
    assert_eq!(spool.totals().stored.total_rows(), 9);
}

#[tokio::test(start_paused = true)]
async fn what_the_storage_says_stays_in_the_log() {
    let sink = FakeSink::new();
    let spool = Spool::in_memory();
    let frame = frame(&sink, &["poison a=2", "r1 a=1"]);
    let waiting = [(); 2].map(|()| Waiting::new(Box::new(Counted::new(1)), 0, None, &Arc::default()));
    let (waiting, fates): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    let mut audience = Audience::default();
    audience.join(&frame, waiting);
    let deliveries = deliveries(&sink);
    deliveries.take(batch(&spool, &[frame]), Some((audience, tokio::time::Instant::now() + Duration::from_secs(60))));
    idle(&deliveries).await;
    let said = fates[0].borrow().clone();
    let Fate::Refused(Refusal::Malformed(said)) = said else { panic!("{said:?}") };
    assert_eq!(said, "the storage behind this gateway does not take these records; its log says why");
    assert!(matches!(*fates[1].borrow(), Fate::Kept(None)));
}
