//! What becomes of batches for tables that take no inserts, or take them slowly.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_table_that_takes_no_inserts_keeps_no_other_waiting() {
    for outcome in [
        Outcome::Retry { why: "too many parts".into(), after: None },
        Outcome::Hold { why: "no such table".into() },
        Outcome::Unknown { why: "no answer".into() },
    ] {
        let path = Path::new(durable());
        path.sink.always("b", Some(Act::Say(outcome.clone())));
        path.send("sick b=1").await.unwrap();
        tokio::time::sleep(RULES.max_age * 4).await;
        for n in 0..5 {
            path.send(&format!("r{n} a=1 b=1")).await.unwrap();
            // Its batch is opened, grows old and is delivered.
            tokio::time::sleep(RULES.max_age * 2).await;
            assert_eq!(path.sink.stored("a").len(), n + 1, "{outcome:?}");
        }
        path.sink.always("b", None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(path.sink.stored("b").len(), 6);
    }
}

/// Nobody can tell a table that takes nothing from rows that it does not take but by others: they are tried after a minute, and once they are in the
/// table is as well as any.
#[tokio::test(start_paused = true)]
async fn one_request_that_is_not_taken_does_not_keep_those_after_it() {
    for outcome in [crate::sink::fake::odd(), Outcome::Hold { why: "no such type".into() }] {
        let path = Path::new(durable());
        path.sink.bewilders("odd", outcome.clone());
        path.send("odd a=1").await.unwrap();
        tokio::time::sleep(RULES.max_age * 4).await;
        path.send("first a=1").await.unwrap();
        tokio::time::sleep(Duration::from_secs(62)).await;
        assert_eq!(path.sink.stored("a").len(), 1, "{outcome:?}");
        // The one comes to be held, and is tried again and again.
        for n in 0..100 {
            path.send(&format!("r{n} a=1")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(path.sink.stored("a").len(), n + 2, "{outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_spool_either() {
    for outcome in
        [crate::sink::fake::odd(), Outcome::Unknown { why: "cut".into() }, Outcome::Hold { why: "no".into() }]
    {
        let path = Path::new(Spool::in_memory());
        path.sink.bewilders("odd", outcome.clone());
        let odd = path.send("odd a=1");
        tokio::time::sleep(RULES.max_age * 2).await;
        for n in 0..100 {
            assert!(path.send(&format!("r{n} a=1")).await.is_ok(), "{outcome:?}: {n}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(odd.await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_for_a_day_is_given_few_batches() {
    let path = Path::new(durable());
    path.sink.always("a", Some(Act::Say(Outcome::Retry { why: "away".into(), after: None })));
    let minutes = 24 * 60;
    for n in 0..minutes {
        path.send(&format!("r{n} a=1")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    path.sink.always("a", None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(path.sink.stored("a").len(), minutes);
    let mut tokens = path.sink.tokens("a");
    tokens.sort();
    tokens.dedup();
    assert!((6..=16).contains(&tokens.len()), "{}", tokens.len());
}

#[tokio::test(start_paused = true)]
async fn batches_grow_while_every_table_that_they_feed_takes_no_inserts() {
    let path = Path::new(durable());
    for table in ["a", "b"] {
        path.sink.always(table, Some(Act::Say(Outcome::Retry { why: "away".into(), after: None })));
    }
    for n in 0..30 {
        path.send(&format!("r{n} a=1 b=1")).await.unwrap();
        tokio::time::sleep(RULES.max_age).await;
    }
    for table in ["a", "b"] {
        path.sink.always(table, None);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((path.sink.stored("a").len(), path.sink.stored("b").len()), (30, 30));
    let mut tokens = path.sink.tokens("a");
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 2, "the first one, and all that gathered behind it: {tokens:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_table_is_waited_for() {
    let path = Path::new(durable());
    path.sink.always("b", Some(Act::Wait(Duration::from_secs(20))));
    for n in 0..20 {
        path.send(&format!("r{n} a=1 b=1")).await.unwrap();
        tokio::time::sleep(RULES.max_age).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(path.sink.stored("b").len(), 20);
    assert!(path.sink.tokens("b").len() <= 3, "it gets few large inserts");
}
