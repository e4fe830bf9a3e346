//! A sink of several shards: each part goes whole to one, stays there through kills, and waits for nobody else's.

use super::*;

const SHARDS: [&str; 2] = ["a:8123", "b:8123"];

fn divided() -> Arc<FakeSink> {
    let sink = FakeSink::new();
    sink.divide(&SHARDS);
    sink
}

/// Batches of one request of two rows each, all of one table.
fn batches(spool: &Spool, sink: &FakeSink, count: usize) -> Vec<Batch> {
    (0..count).map(|n| batch(spool, &[frame(sink, &[&format!("r{n} t=2")])])).collect()
}

fn stored_once(sink: &FakeSink, count: usize) {
    let expected = (0..count).map(|n| (format!("r{n}"), 2)).collect();
    assert_eq!(sink.stored("t"), expected);
    assert_eq!(sink.state.lock().strays, Vec::<String>::new());
}

fn rows_at(sink: &FakeSink, shard: &str) -> usize {
    sink.state.lock().at.iter().filter(|at| at.as_deref() == Some(shard)).count()
}

#[tokio::test(start_paused = true)]
async fn shards_take_turns() {
    let sink = divided();
    let deliveries = deliveries(&sink);
    batches(&Spool::in_memory(), &sink, 10).into_iter().for_each(|batch| deliveries.take(batch, None));
    idle(&deliveries).await;
    stored_once(&sink, 10);
    let rows = SHARDS.map(|shard| rows_at(&sink, shard));
    assert!(rows.iter().all(|rows| *rows >= 6), "{rows:?}");
    let counted: Vec<u64> = deliveries.shards().into_iter().map(|(_, health)| health.rows).collect();
    assert_eq!(counted, rows.map(|rows| rows as u64));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_keeps_what_was_tried_there_and_nothing_else() {
    let sink = divided();
    sink.state.lock().away.insert(SHARDS[0].into());
    let deliveries = deliveries(&sink);
    let spool = Spool::in_memory();
    batches(&spool, &sink, 40).into_iter().for_each(|batch| deliveries.take(batch, None));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let waiting = deliveries.batches().len();
    assert!((1..=2).contains(&waiting), "{waiting} wait for the shard that is away");
    assert!(seals_at_once(&deliveries, "t"), "the other takes what comes");
    let last_error = deliveries.shards()[0].1.last_error.clone();
    assert!(last_error.is_some_and(|(_, why)| &*why == "away"));
    sink.state.lock().away.clear();
    idle(&deliveries).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(deliveries.batches().is_empty());
    stored_once(&sink, 40);
}

#[tokio::test(start_paused = true)]
async fn one_that_holds_keeps_no_other_waiting_and_goes_on_when_it_is_mended() {
    let sink = divided();
    sink.script("t", [Act::Say(hold())]);
    let deliveries = deliveries(&sink);
    batches(&Spool::in_memory(), &sink, 20).into_iter().for_each(|batch| deliveries.take(batch, None));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(deliveries.batches().len(), 1);
    assert_eq!(deliveries.shards().iter().map(|(_, health)| health.held).sum::<u64>(), 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(deliveries.batches().is_empty());
    assert_eq!(deliveries.shards().iter().map(|(_, health)| health.held).sum::<u64>(), 0);
    stored_once(&sink, 20);
}

/// Killed while one shard is silent on an insert that is in, or is not. The next process knows the shards in another order.
#[test]
fn a_restart_goes_back_to_the_same_shard() {
    for (rule, stored) in
        [AfterUnknown::RepeatThenLook, AfterUnknown::Look].into_iter().flat_map(|rule| [(rule, false), (rule, true)])
    {
        let (disk, sink) = (FaultyDisk::new(1), divided());
        *sink.rule.lock() = rule;
        sink.script("t", (0..4).map(|_| Act::Silence(stored, Duration::from_secs(86_400))));
        divided::in_a_life(async {
            let (spool, _) = Spool::open(Box::new(disk.clone()), &disk::SPOOL).unwrap();
            spool.notes_shards();
            let deliveries = deliveries(&sink);
            batches(&spool, &sink, 6).into_iter().for_each(|batch| deliveries.take(batch, None));
            tokio::time::sleep(Duration::from_secs(60)).await;
            disk.set(Faults { crash_in: Some(0), ..Faults::default() });
            assert!(disk.list("").is_err());
        });
        disk.restart();
        sink.script("t", []);
        for shards in [&SHARDS[1..], &[SHARDS[1], "c:8123", SHARDS[0]]] {
            sink.divide(shards);
            divided::in_a_life(async {
                let (_, recovered) = Spool::open(Box::new(disk.clone()), &disk::SPOOL).unwrap();
                let deliveries = deliveries(&sink);
                recovered.batches.into_iter().for_each(|batch| deliveries.take(batch, None));
                tokio::time::sleep(Duration::from_secs(3600)).await;
                let gone = shards.len() == 1;
                assert_eq!(deliveries.batches().is_empty(), !gone, "what went to a shard that is gone waits for it");
                let told = deliveries.tables().remove("t").and_then(|health| health.last_error);
                assert_eq!(gone, told.is_some_and(|(_, why)| why.contains("not there any more")));
            });
        }
        stored_once(&sink, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_somewhere_is_looked_for_everywhere_before_it_is_sent() {
    let sink = FakeSink::new();
    let spool = Spool::in_memory();
    let tried = batches(&spool, &sink, 2);
    // Of an older version, which knew no shards; one of them is in.
    for batch in &tried {
        batch.note(&[Note::Tried { part: batch.parts()[0].id }]).unwrap();
    }
    sink.state.lock().rows.extend([("t".to_owned(), "r0".to_owned()), ("t".to_owned(), "r0".to_owned())]);
    sink.state.lock().at.extend([Some(SHARDS[1].into()), Some(SHARDS[1].into())]);
    sink.divide(&SHARDS);
    sink.state.lock().away.insert(SHARDS[0].into());
    let deliveries = deliveries(&sink);
    tried.into_iter().for_each(|batch| deliveries.take(batch, None));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(sink.tokens("t").len(), 0, "it may be at the shard that does not answer");
    sink.state.lock().away.clear();
    idle(&deliveries).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    stored_once(&sink, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_for_one_shard_is_divided_and_stays_there() {
    let sink = divided();
    sink.takes_at_once(Some(3));
    let deliveries = deliveries(&sink);
    let requests: Vec<String> = (0..6).map(|n| format!("r{n} t=2")).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    deliveries.take(batch(&Spool::in_memory(), &[frame(&sink, &requests)]), None);
    idle(&deliveries).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    stored_once(&sink, 6);
}

/// A file of layout 4, the first that names shards, as a process left it that was killed: a part of two tables, of which `t` was tried at the shard of
/// `b1:8443,b2:8443` and `u` nowhere.
#[test]
fn what_an_older_version_tried_at_a_shard_is_settled_there() {
    const WRITTEN: &[u8] = include_bytes!("../../../tests/data/spools/layout-4-shards.batch");
    const TRIED: &str = "b1:8443,b2:8443";
    assert_eq!(WRITTEN[8..10], 4u16.to_le_bytes());
    for (rule, stored) in
        [(AfterUnknown::Look, true), (AfterUnknown::Look, false), (AfterUnknown::RepeatThenLook, false)]
    {
        let (disk, sink) = (FaultyDisk::new(1), FakeSink::new());
        let mut file = disk.create(&format!("{:020}.batch", 7)).unwrap();
        file.append(&[WRITTEN.into()]).and_then(|()| file.sync()).and_then(|()| disk.sync_dir("")).unwrap();
        *sink.rule.lock() = rule;
        if stored {
            let mut state = sink.state.lock();
            state.rows.extend(["r0", "r0", "r1"].map(|request| ("t".to_owned(), request.to_owned())));
            state.at.extend([(); 3].map(|()| Some(TRIED.into())));
        }
        sink.divide(&["c:8443", TRIED, "a1:8443,a2:8443"]);
        divided::in_a_life(async {
            let (spool, recovered) = Spool::open(Box::new(disk.clone()), &disk::SPOOL).unwrap();
            assert_eq!((recovered.batches.len(), recovered.damaged, recovered.unreadable), (1, 0, 0));
            let deliveries = deliveries(&sink);
            recovered.batches.into_iter().for_each(|batch| deliveries.take(batch, None));
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(deliveries.batches().is_empty());
            assert_eq!(spool.totals().stored.total_rows(), 4);
        });
        assert_eq!(sink.stored("t"), [("r0".into(), 2), ("r1".into(), 1)].into(), "{rule:?} {stored}");
        assert_eq!(sink.stored("u"), [("r0".into(), 1)].into());
        let state = sink.state.lock();
        let mut of_t = state.rows.iter().zip(&state.at).filter(|((table, _), _)| table == "t");
        assert!(of_t.all(|(_, at)| at.as_deref() == Some(TRIED)), "{:?}", state.at);
        assert_eq!(state.strays, Vec::<String>::new());
    }
}
