//! Requests that come again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_repeat_after_an_answer_that_arrived_is_stored_again() {
    let path = Path::new(Spool::in_memory());
    // Who forgets what is followed slept meanwhile.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let (answer, peer) = alive();
    path.send_over("r1 a=1", answer).0.kept().await.unwrap();
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(!joined);
    ticket.kept().await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    // The connection lived on for 6 s: that it ends now says nothing about the answer.
    peer.break_off();
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(!joined);
    ticket.kept().await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r1".into(), 3)].into());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_a_lost_answer_joins_what_was_kept_once() {
    let path = Path::new(Spool::in_memory());
    let (answer, peer) = alive();
    path.send_over("r1 a=1", answer).0.kept().await.unwrap();
    peer.break_off();
    for late in [0, 20] {
        tokio::time::sleep(Duration::from_secs(late)).await;
        let (answer, peer) = alive();
        let (ticket, joined) = path.send_over("r1 a=1", answer);
        assert!(joined);
        ticket.kept().await.unwrap();
        peer.break_off();
    }
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(joined);
    ticket.kept().await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (_, joined) = path.send_over("r1 a=1", alive().0);
    assert!(!joined, "each lost answer stands for one repeat");
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_joins_a_request_that_nobody_waits_for_any_more() {
    let path = Path::new(Spool::in_memory());
    drop(path.send_over("r1 a=1", alive().0));
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(joined);
    ticket.kept().await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_an_unknown_outcome_waits_for_what_comes_of_it() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("a", Some(Act::Wait(Duration::from_secs(20))));
    assert_eq!(away(path.send("r1 a=1").await), Away::Unknown);
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(joined);
    ticket.kept().await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_joined() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("a", Some(Act::Say(Outcome::Retry { why: "away".into(), after: None })));
    // Its client is gone; later nothing of it is kept.
    drop(path.send_over("r1 a=1", alive().0));
    tokio::time::sleep(RULES.deadline * 2).await;
    path.sink.always("a", None);
    let (ticket, joined) = path.send_over("r1 a=1", alive().0);
    assert!(!joined);
    ticket.kept().await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
}
