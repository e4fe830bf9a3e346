//! What is too much at once for the sink.

use super::*;

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
async fn what_nobody_understands_keeps_its_neighbours_for_seconds_only() {
    for rule in [AfterUnknown::RepeatThenLook, AfterUnknown::Look, AfterUnknown::Repeat] {
        let sink = FakeSink::new();
        *sink.rule.lock() = rule;
        sink.bewilders("odd", odd());
        let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
        // Three of them stand together: that does not mean that nothing is taken.
        let mut frames = many(&sink, "good", 400);
        frames.insert(50, frame(&sink, &["r1 a=2", "odd1 a=2", "odd2 a=2", "odd3 a=2", "r2 a=2"]));
        deliveries.take(batch(&spool, &frames), None);
        let began = Instant::now();
        while sink.stored("a").len() < 402 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(began.elapsed() < Duration::from_secs(15), "{rule:?}: {} are in", sink.stored("a").len());
        }
        assert!(began.elapsed() > Duration::from_millis(500), "{rule:?}: it may pass");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sink.stored("a").values().all(|rows| *rows == 2), "{rule:?}: nothing is there twice");
        let health = deliveries.tables()["a"].clone();
        assert_eq!((health.held, health.rows_at_once), (1, None), "{rule:?}");
        assert!(seals_at_once(&deliveries, "a"), "what comes next is not kept waiting");
        assert_eq!(spool.totals().quarantined.total_rows(), 0);
    }
}

/// A server that fails at everything for a minute: it is not asked for every request, and what is in in spite of what it says is not sent again.
#[tokio::test(start_paused = true)]
async fn a_sink_that_says_what_nobody_understands_of_everything_is_not_asked_for_every_request() {
    for in_spite in [false, true] {
        let sink = FakeSink::new();
        sink.always("a", Some(if in_spite { Act::StoreAndSay(odd()) } else { Act::Say(odd()) }));
        let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
        deliveries.take(batch(&spool, &many(&sink, "fit", 256)), None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let attempts = sink.tokens("a").len();
        assert!(attempts < 80, "{attempts} in a minute");
        sink.always("a", None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(sink.stored("a").len(), 256);
        assert!(sink.stored("a").values().all(|rows| *rows == 2));
    }
}

/// What cannot be divided has nobody beside it who waits: it is tried for as long as before.
#[tokio::test(start_paused = true)]
async fn one_request_that_nobody_understands_is_held_only_after_many_attempts() {
    let sink = FakeSink::new();
    sink.bewilders("odd", odd());
    let (deliveries, spool) = (deliveries(&sink), Spool::in_memory());
    deliveries.take(batch(&spool, &[frame(&sink, &["odd a=2"])]), None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(deliveries.tables()["a"].held, 0, "it may pass");
    tokio::time::sleep(Duration::from_secs(280)).await;
    assert_eq!(deliveries.tables()["a"].held, 1);
}
