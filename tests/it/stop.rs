//! SIGTERM under load: readiness goes off while requests are still taken, what is in flight is answered, open batches are
//! delivered, and what was acknowledged is what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get};

const RECORDS: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_answered_and_what_is_open_is_delivered() {
    let clickhouse = clickhouse().await;
    let sections = "shutdown: { drain_delay: 4s, deadline: 50s }\nlimits: { requests_per_second: 100000 }\n";
    let edge = Edge::start(clickhouse, Setup { name: "stop", sections, ..Setup::default() }).await;
    let (answered, client) = (Arc::new(AtomicU64::new(0)), Arc::new(edge.client(true)));
    let workers: Vec<_> = Protocol::ALL
        .into_iter()
        .cycle()
        .take(12)
        .map(|protocol| tokio::spawn(work(client.clone(), protocol, answered.clone())))
        .collect();
    let some = eventually(true, async || answered.load(Relaxed) > 20).await;
    assert!(some, "nothing is answered: {}", edge.logged());

    assert_eq!(eventually(200, || get(&edge.gateway.admin, "/readyz")).await, 200);
    edge.gateway.process.signal(ProcessSignal::TERM).expect("running");
    let before = answered.load(Relaxed);
    assert_eq!(eventually(503, || get(&edge.gateway.admin, "/readyz")).await, 503, "readiness goes off first");
    let database = edge.database.clone();
    let status = edge.gateway.process.wait(Duration::from_secs(60)).await.expect("ends in time");
    assert_eq!(status.code(), Some(0));
    let mut acknowledged = 0;
    for worker in workers {
        acknowledged += worker.await.expect("a worker");
    }
    assert!(answered.load(Relaxed) > before, "requests are answered after SIGTERM");
    let rows = clickhouse.number(&format!("SELECT count() FROM {database}.otel_logs")).await.expect("a number");
    assert_eq!(rows, acknowledged * RECORDS);
}

/// Sends until it is no longer answered; how many requests were accepted.
async fn work(client: Arc<Client>, protocol: Protocol, answered: Arc<AtomicU64>) -> u64 {
    let mut accepted = 0;
    loop {
        let body = numbered(Signal::Logs, protocol, "stop", accepted, RECORDS);
        match client.try_send(Call::export(protocol, Signal::Logs, KEY, body)).await {
            Ok(answer) if answer.accepted(protocol) => accepted += 1,
            Ok(answer) => assert!(answer.status == 503 || answer.grpc_status() == Some(14), "{answer:?}"),
            Err(_) => return accepted,
        }
        answered.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_says_so() {
    let clickhouse = clickhouse().await;
    let sections = "shutdown: { drain_delay: 100s, deadline: 200s }\n";
    let edge = Edge::start(clickhouse, Setup { name: "stop_twice", sections, ..Setup::default() }).await;
    edge.gateway.process.signal(ProcessSignal::TERM).expect("running");
    assert_eq!(eventually(503, || get(&edge.gateway.admin, "/readyz")).await, 503);
    let status = edge.gateway.process.stop(Duration::from_secs(60)).await.expect("ends long before its time");
    assert_eq!(status.code(), Some(1));
}
