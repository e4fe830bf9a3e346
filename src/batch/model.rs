//! The promise from a client's side: whatever the disk, the sink and the connections do, and however often the process is killed, a
//! client that repeats the same bytes until it has an answer finds each of its records stored exactly once.
//!
//! Time is paused, so a run of many virtual minutes takes a fraction of a second. A run says its seed when it fails;
//! `BATCH_MODEL_SEEDS=from..to` runs others than the usual ones.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Left;
use super::tests::{Path, alive};
use crate::sink::AfterUnknown;
use crate::sink::fake::FakeSink;
use crate::spool::disk::Disk;
use crate::spool::disk::faulty::{Faults, FaultyDisk};
use crate::spool::{Limits, Settings, Spool};

const REQUESTS: usize = 60;
const LIVES: usize = 6;
const SETTINGS: Settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(3600) };

/// Requests that no client has an answer for.
type Unanswered = Arc<Mutex<BTreeSet<usize>>>;

#[test]
fn every_record_is_stored_exactly_once_in_tables_with_a_window() {
    seeds(0..10).for_each(|seed| run(seed, Tables::Plain(AfterUnknown::RepeatThenLook)));
}

#[test]
fn every_record_is_stored_exactly_once_in_tables_without_a_window() {
    seeds(100..110).for_each(|seed| run(seed, Tables::Plain(AfterUnknown::Look)));
}

#[test]
fn every_record_is_stored_exactly_once_in_replicated_tables() {
    seeds(200..210).for_each(|seed| run(seed, Tables::Replicated));
}

#[test]
fn every_record_is_stored_exactly_once_over_shards() {
    for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look] {
        seeds(300..305).for_each(|seed| run(seed, Tables::Shards(rule)));
    }
}

/// What the sink's tables do about repeats.
#[derive(Clone, Copy)]
enum Tables {
    Plain(AfterUnknown),
    /// The same, on several shards.
    Shards(AfterUnknown),
    /// Token and rows are kept together.
    Replicated,
}

fn seeds(usual: Range<u64>) -> Range<u64> {
    let told = std::env::var("BATCH_MODEL_SEEDS").ok();
    let told = told.as_deref().and_then(|range| range.split_once(".."));
    told.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?)).unwrap_or(usual)
}

fn run(seed: u64, tables: Tables) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (disk, sink) = (FaultyDisk::new(seed), FakeSink::new());
    match tables {
        Tables::Plain(rule) | Tables::Shards(rule) => *sink.rule.lock() = rule,
        Tables::Replicated => sink.replicas.store(true, Ordering::Relaxed),
    }
    let unanswered: Unanswered = Arc::new(Mutex::new((0..REQUESTS).collect()));
    for life in 0..=LIVES {
        let last = life == LIVES;
        sink.chaos((!last).then(|| rng.random()));
        if matches!(tables, Tables::Shards(_)) {
            // Their order says nothing, and one of them may be away.
            let all = ["a:1", "b:1", "c:1"];
            let (first, away) = (rng.random_range(0..3), rng.random_bool(0.5) && !last);
            sink.divide(&[all[first], all[(first + 1) % 3], all[(first + 2) % 3]]);
            sink.state.lock().away = away.then(|| Arc::from(all[rng.random_range(0..3usize)])).into_iter().collect();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live(&mut rng, &disk, &sink, &unanswered, last));
        // SIGKILL, and the power goes too: nothing that still runs reaches the disk.
        disk.set(Faults { crash_in: Some(0), ..Faults::default() });
        assert!(disk.list("").is_err());
        runtime.shutdown_timeout(Duration::from_secs(10));
        disk.restart();
    }
    assert!(unanswered.lock().is_empty(), "seed {seed}: not everybody was answered");
    assert_eq!(sink.state.lock().strays, Vec::<String>::new(), "seed {seed}: sent to one shard, then to another");
    check_books(seed, &disk, &sink);
    for table in ["a", "b"] {
        let stored = sink.stored(table);
        for request in 0..REQUESTS {
            let found = stored.get(&name(request)).copied().unwrap_or(0);
            let of = |(_, names): &&(String, BTreeSet<String>)| names.contains(&name(request));
            let tokens =
                || sink.state.lock().inserts.iter().filter(of).map(|(token, _)| token.clone()).collect::<Vec<_>>();
            let expected = if is_refused(request) { 0 } else { rows(request, table) };
            assert_eq!(found, expected, "seed {seed}: {} in {table}, inserted as {:#?}", name(request), tokens());
        }
    }
}

/// What the spool says became of the rows is what became of them.
fn check_books(seed: u64, disk: &FaultyDisk, sink: &FakeSink) {
    let (spool, recovered) = Spool::open(Box::new(disk.clone()), &SETTINGS).expect("a disk that works opens");
    assert!(recovered.batches.is_empty(), "seed {seed}: something is left");
    let refused: usize =
        (0..REQUESTS).filter(|request| is_refused(*request)).map(|n| rows(n, "a") + rows(n, "b")).sum();
    let (totals, stored) = (spool.totals(), sink.state.lock().rows.len());
    let counted = [totals.stored, totals.quarantined, totals.lost].map(|counts| counts.total_rows());
    assert_eq!(counted, [stored as u64, refused as u64, 0], "seed {seed}: stored, quarantined, lost");
}

/// One life of the process: recovery, then clients that repeat what was not answered. The last one ends when everything is delivered.
async fn live(rng: &mut StdRng, disk: &FaultyDisk, sink: &Arc<FakeSink>, unanswered: &Unanswered, last: bool) {
    let (spool, recovered) = Spool::open(Box::new(disk.clone()), &SETTINGS).expect("a disk that works opens");
    let left = Left { digests: recovered.digests, digest_ttl: SETTINGS.digest_ttl, shared: None };
    let path = Arc::new(Path::open(sink, spool, recovered.batches, left));
    if !last {
        disk.set(Faults {
            write: 0.02,
            sync: 0.02,
            other: 0.01,
            create: 0.01,
            read: 0.0,
            crash_in: rng.random_bool(0.5).then(|| rng.random_range(10..200)),
        });
    }
    let (landing, lands_in) = (sink.clone(), Duration::from_millis(rng.random_range(0..40_000)));
    tokio::spawn(async move {
        tokio::time::sleep(lands_in).await;
        landing.land();
    });
    let waiting: Vec<usize> = unanswered.lock().iter().copied().collect();
    for request in waiting {
        let client = client(path.clone(), disk.clone(), unanswered.clone(), request, rng.random(), last);
        tokio::spawn(client);
    }
    if last {
        let done = || unanswered.lock().is_empty() && path.lanes.waiting() == 0;
        let mut quiet = 0;
        while quiet < 10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            quiet = if done() && path.deliveries.oldest_ms().is_none() { quiet + 1 } else { 0 };
        }
    } else {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40_000))).await;
    }
}

/// Sends the same bytes until an answer arrives.
async fn client(path: Arc<Path>, disk: FaultyDisk, unanswered: Unanswered, request: usize, seed: u64, last: bool) {
    let mut rng = StdRng::seed_from_u64(seed);
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..5000))).await;
    loop {
        let (answer, peer) = alive();
        let (ticket, _) = path.send_over(&text(request), answer);
        // Sometimes the client has no patience, and sometimes the answer is lost on its way.
        let patience = Duration::from_millis(if last { 600_000 } else { rng.random_range(0..3000) });
        let kept = tokio::time::timeout(patience, ticket.kept()).await;
        let arrives = last || rng.random_bool(0.8);
        if !arrives {
            peer.break_off();
        }
        // An answer that a dead process gave reached nobody.
        if arrives && matches!(kept, Ok(Ok(_))) && !disk.is_dead() {
            unanswered.lock().remove(&request);
            return;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..3000))).await;
    }
}

/// The sink refuses the rows of some for good.
fn is_refused(request: usize) -> bool {
    request % 8 == 5
}

fn name(request: usize) -> String {
    if is_refused(request) { format!("poison{request}") } else { format!("r{request}") }
}

/// The odd ones feed two tables.
fn rows(request: usize, table: &str) -> usize {
    match table {
        "a" => 1 + request % 3,
        _ => request % 2,
    }
}

fn text(request: usize) -> String {
    format!("{} a={} b={}", name(request), rows(request, "a"), rows(request, "b"))
}
