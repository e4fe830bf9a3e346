//! Requests through a lane: what is answered, when, and what leaves no trace.

mod of_locks;
mod of_repeats;
mod of_sick_tables;

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::admit::tests::{REQUEST, entry};
use crate::admit::{Admission, Paid};
use crate::config::KeyEntry;
use crate::keys::KeyRing;
use crate::listen::{Answer, Peer};
use crate::otlp::Call;
use crate::reply::Away;
use crate::signal::Protocol;
use crate::sink::Outcome;
use crate::sink::fake::{Act, FakeSink};
use crate::spool::disk::faulty::FaultyDisk;
use crate::spool::{Batch, Limits, Settings};

pub(super) const RULES: config::Batch = config::Batch {
    max_rows: 1000,
    max_bytes: 1 << 20,
    max_uncompressed_bytes: 1 << 22,
    max_parts: 64,
    max_age: Duration::from_secs(1),
    commit_interval: Duration::from_millis(10),
    max_chunk_rows: 100,
    deadline: Duration::from_secs(8),
};

/// The production path from an admitted request on, over a sink in memory.
pub(super) struct Path {
    pub(super) sink: Arc<FakeSink>,
    admission: Admission,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) lanes: Lanes,
}

impl Path {
    pub(super) fn new(spool: Spool) -> Self {
        Path::with(RULES, spool)
    }

    pub(super) fn with(rules: config::Batch, spool: Spool) -> Self {
        Path::ruled(rules, &FakeSink::new(), spool, Vec::new(), Left::default())
    }

    /// As at a start: what was recovered is delivered.
    pub(super) fn open(sink: &Arc<FakeSink>, spool: Spool, recovered: Vec<Batch>, left: Left) -> Self {
        Path::ruled(RULES, sink, spool, recovered, left)
    }

    fn ruled(rules: config::Batch, sink: &Arc<FakeSink>, spool: Spool, recovered: Vec<Batch>, left: Left) -> Self {
        let mut limits = entry("good");
        limits.limits.requests_per_second = 1_000_000;
        limits.limits.records_per_second = 1_000_000;
        let keys = Arc::new(KeyRing::new(vec![KeyEntry { name: "k".into(), ..limits }]));
        let dyn_sink: Arc<dyn Sink> = sink.clone();
        let metrics = Arc::default();
        let deliveries = Deliveries::new(dyn_sink.clone(), 2, Arc::clone(&metrics));
        for batch in recovered {
            deliveries.take(batch, None);
        }
        let lanes = Lanes::start(&dyn_sink, &Arc::new(spool), &deliveries, rules, &REQUEST, &metrics, left);
        Path { sink: sink.clone(), admission: Admission::new(keys, 3, &REQUEST), deliveries, lanes }
    }

    fn recognise(&self, request: &str, answer: Answer) -> Result<Recognised<'_>, Refusal> {
        let (coming, received) = self.arrives(request)?;
        at_once(self.lanes.recognise(coming, received, answer))
    }

    /// A request that is admitted and received.
    pub(super) fn arrives(&self, request: &str) -> Result<(Coming<'_>, Received<Admitted>), Refusal> {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", "good".parse().unwrap());
        let who = self.admission.authenticate(&headers, &[], IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let admitted = self.admission.admit(who, Signal::Logs, &http::HeaderMap::new())?;
        let call = Call { protocol: Protocol::HttpProtobuf, signal: Signal::Logs, compression: None };
        let request = Bytes::copy_from_slice(request.as_bytes());
        let coming = self.lanes.expect(Signal::Logs)?;
        Ok((coming, Received { admitted, call, request, dropped: 0 }))
    }

    pub(super) fn charge(&self, request: &str) -> Result<(Encoded<'_>, Paid), Refusal> {
        match self.recognise(request, alive().0)? {
            Recognised::Fresh(fresh) => self.pay(fresh),
            Recognised::Repeat(_) => panic!("{request} was taken for a repeat"),
        }
    }

    pub(super) fn pay<'a>(&'a self, fresh: Fresh<'a>) -> Result<(Encoded<'a>, Paid), Refusal> {
        let mut encoded = at_once(self.lanes.encode(fresh))?;
        let (bytes, records) = (encoded.bytes(), encoded.records());
        let paid = self.admission.charge(encoded.admitted(), bytes, records)?;
        Ok((encoded, paid))
    }

    /// A request over a connection that lives on.
    pub(super) fn send(&self, request: &str) -> impl Future<Output = Result<ticket::Kept, Refusal>> + use<> {
        let (encoded, paid) = self.charge(request).unwrap();
        self.lanes.keep(encoded, paid).kept()
    }

    /// A request whose answer goes to `answer`: the ticket, and whether it joined another one.
    pub(super) fn send_over(&self, request: &str, answer: Answer) -> (Ticket, bool) {
        match self.recognise(request, answer).unwrap() {
            Recognised::Repeat(ticket) => (ticket, true),
            Recognised::Fresh(fresh) => {
                let (encoded, paid) = self.pay(fresh).unwrap();
                (self.lanes.keep(encoded, paid), false)
            }
        }
    }
}

/// What comes of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// An answer that is written at once, over a connection that lives until it is closed.
pub(super) fn alive() -> (Answer, Peer) {
    let peer = Peer::unconnected(IpAddr::V4(Ipv4Addr::LOCALHOST));
    peer.answer_written();
    (peer.answer(), peer)
}

fn away(answer: Result<ticket::Kept, Refusal>) -> Away {
    match answer {
        Err(Refusal::Unavailable { away, .. }) => away,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_spool_a_request_is_answered_when_its_batch_is_in() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("b", Some(Act::Wait(Duration::from_secs(3))));
    let began = tokio::time::Instant::now();
    let (one, two) = (path.send("r1 a=2"), path.send("r2 a=1 b=1"));
    assert!(one.await.unwrap().rejected().is_none());
    assert!(began.elapsed() >= RULES.max_age && began.elapsed() < Duration::from_secs(2));
    two.await.unwrap();
    assert!(began.elapsed() >= RULES.max_age + Duration::from_secs(3));
    assert_eq!(path.sink.stored("a"), [("r1".into(), 2), ("r2".into(), 1)].into());
    assert_eq!(path.sink.tokens("a").len(), 1);
    assert_eq!((path.admission.memory().used(), path.lanes.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_or_dropped_leaves_no_trace() {
    let path = Path::new(Spool::in_memory());
    assert!(matches!(path.charge("bad"), Err(Refusal::Malformed(_))));
    assert!(matches!(path.charge("many a=1001"), Err(Refusal::TooLarge { limit: "request.max_records", .. })));
    drop(path.charge("dropped a=5").unwrap());
    path.send("r1 a=1").await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
    assert_eq!(path.admission.memory().used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_encoder_that_panics_costs_its_chunk_and_nobody_else() {
    let path = Path::new(Spool::in_memory());
    let beside = path.send("r1 a=1");
    let append = std::panic::AssertUnwindSafe(|| path.charge("panic a=1").map(drop));
    assert!(std::panic::catch_unwind(append).is_err());
    assert_eq!(path.lanes.out(), 0);
    assert_eq!(away(beside.await), Away::Unknown);
    path.send("r2 a=1").await.unwrap();
    assert_eq!(path.sink.stored("a"), [("r2".into(), 1)].into());
    assert_eq!((path.admission.memory().used(), path.lanes.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_records_is_kept_at_once() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("a", Some(Act::Say(Outcome::Retry { why: "away".into(), after: None })));
    path.send("empty").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_all_are_refused_together_and_nothing_is_sent_after() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("a", Some(Act::Say(Outcome::Retry { why: "away".into(), after: None })));
    let began = tokio::time::Instant::now();
    let first = path.send("r1 a=1");
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Its batch waits behind the first one for half of its deadline, and is tried again within a second or so when the first is given up.
    let second = path.send("r2 a=1");
    assert_eq!(away(first.await), Away::Sink);
    assert!(began.elapsed() >= RULES.deadline && began.elapsed() < RULES.deadline + Duration::from_millis(100));
    path.sink.always("a", None);
    second.await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(path.sink.stored("a"), [("r2".into(), 1)].into());
    assert_eq!(path.admission.memory().used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_is_said_so_and_settled_afterwards() {
    let path = Path::new(Spool::in_memory());
    path.sink.script("a", [Act::StoreAndSay(Outcome::Unknown { why: "cut".into() })]);
    path.sink.always("a", Some(Act::Wait(Duration::from_secs(20))));
    assert_eq!(away(path.send("r1 a=1").await), Away::Unknown);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
    path.sink.always("a", None);
    path.send("r2 a=1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_sent_poison_is_told_and_nobody_else() {
    let path = Path::new(Spool::in_memory());
    let good = path.send("r1 a=1 b=1");
    let poison = path.send("poison a=2");
    assert!(good.await.unwrap().rejected().is_none());
    assert!(matches!(poison.await, Err(Refusal::Malformed(_))));
    assert_eq!(path.sink.stored("a"), [("r1".into(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_reaches_the_one_request_that_it_can_only_mean() {
    let path = Path::new(Spool::in_memory());
    let partial = || Act::StoreAndSay(Outcome::DeliveredBut { rejected: 2, why: "too old".into() });
    path.sink.script("a", [partial(), partial()]);
    let alone = path.send("r1 a=3").await.unwrap();
    let rejected = alone.rejected().unwrap();
    assert_eq!((rejected.records, &*rejected.why), (2, "too old"));
    let (one, other) = (path.send("r2 a=3"), path.send("r3 a=3"));
    assert!(one.await.unwrap().rejected().is_none(), "nobody knows whose it is");
    assert!(other.await.unwrap().rejected().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_full_chunk_and_a_full_batch_do_not_wait() {
    let path = Path::new(Spool::in_memory());
    let began = tokio::time::Instant::now();
    let tickets: Vec<_> = (0..20).map(|n| path.send(&format!("r{n} a=100"))).collect();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert!(began.elapsed() < RULES.max_age);
    assert_eq!(path.sink.tokens("a").len(), 2, "two batches of 1000 rows");
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_delivers_what_is_open() {
    let path = Path::new(Spool::in_memory());
    let began = tokio::time::Instant::now();
    let ticket = path.send("r1 a=1");
    path.lanes.stop().await;
    ticket.await.unwrap();
    assert!(began.elapsed() < RULES.max_age);
    path.send("late a=1").await.unwrap();
    assert_eq!(path.sink.stored("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_some_is_in_is_not_pursued_for_ever() {
    let path = Path::new(Spool::in_memory());
    path.sink.always("b", Some(Act::Say(Outcome::Retry { why: "busy".into(), after: None })));
    assert_eq!(away(path.send("r1 a=1 b=1").await), Away::Unknown);
    assert!(path.deliveries.oldest_ms().is_some() && path.admission.memory().used() > 0);
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert!(path.deliveries.oldest_ms().is_none());
    assert_eq!(path.admission.memory().used(), 0);
}

/// A spool on a disk in memory: requests are answered when their frame is kept.
pub(super) fn durable() -> Spool {
    let settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };
    Spool::open(Box::new(FaultyDisk::new(0)), &settings).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_while_everything_is_too_much() {
    for outcome in [Outcome::TooMuch { why: "too large".into(), sure: true }, crate::sink::fake::too_much()] {
        let path = Path::new(Spool::in_memory());
        path.sink.always("a", Some(Act::Say(outcome)));
        let began = tokio::time::Instant::now();
        let (one, other) = (path.send("r1 a=2"), path.send("r2 a=2"));
        assert!(one.await.is_err() && other.await.is_err());
        assert!(began.elapsed() < RULES.deadline + Duration::from_millis(100));
        path.sink.always("a", None);
        // Nothing of it is sent after it was said to be gone, or all of it is stored once.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(path.sink.stored("a").values().all(|rows| *rows == 2));
        path.send("r3 a=1").await.unwrap();
        assert_eq!(path.admission.memory().used(), 0);
    }
}

#[tokio::test]
async fn columns_are_paid_for_as_they_grow_whatever_becomes_of_them() {
    let path = Path::new(Spool::in_memory());
    // 6 MiB of columns: begun again with room for more after the first 4 MiB.
    path.charge("wide a=100").map(drop).unwrap();
    // 19 MiB, of 16 MiB that there may be: each costs 4 and then 16 MiB, of the 256 MiB that a key has at once.
    let mut refused = 0;
    while let Err(Refusal::TooLarge { limit: "request.max_column_bytes", max }) = path.charge("wide a=300").map(drop) {
        assert_eq!(max, REQUEST.max_column_bytes);
        refused += 1;
        assert!(refused < 20, "nothing is paid");
    }
    assert!((12..=14).contains(&refused), "{refused}");
    assert!(matches!(path.charge("small a=1").map(drop), Err(Refusal::OverLimit { limit: "bytes_per_second", .. })));
    assert_eq!((path.lanes.out(), path.admission.memory().used()), (0, 0));
}
