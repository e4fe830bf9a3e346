//! An otelgate that is sent nothing.

use std::time::Duration;

use otelgate::signal::Signal;
use stack::cost::wake_ups;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

/// What is left of a request, and of the start: connections to ClickHouse, threads that end, memory that is given back.
const SETTLES: Duration = Duration::from_secs(75);
const WATCHED: Duration = Duration::from_secs(20);
/// In a second, as benches/README.md has it.
const MOST: f64 = 2.0;

/// With everything that looks after itself: certificates, keys, a spool, ClickHouse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`make test-changes`: it counts what a machine without other work does in a minute and a half"]
#[allow(clippy::print_stderr, reason = "the figure is what it is run for")]
async fn it_wakes_up_twice_a_second_at_most() {
    let folder = tempfile::tempdir().expect("a folder");
    let sections = format!("spool: {{ dir: {}, min_free_bytes: 0B }}\n", folder.path().display());
    let edge = Edge::start(clickhouse().await, Setup { name: "idle", sections: &sections, ..Setup::default() }).await;
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "idle", 0, 5);
    let answer = edge.client(true).send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let nothing_waits = async || get_text(&edge.gateway.admin, "/status").await.1.contains("\"waiting\":0");
    assert!(eventually(true, nothing_waits).await, "{}", edge.logged());

    tokio::time::sleep(SETTLES).await;
    let pid = edge.gateway.process.pid().expect("running");
    let before = wake_ups(pid).expect("running");
    tokio::time::sleep(WATCHED).await;
    let mut woke = wake_ups(pid).expect("running");
    woke.iter_mut().for_each(|(thread, count)| *count = count.saturating_sub(before.get(thread).copied().unwrap_or(0)));
    woke.retain(|_, count| *count > 0);
    let a_second = woke.values().sum::<u64>() as f64 / WATCHED.as_secs_f64();
    eprintln!("{a_second:.2} wake-ups a second: {woke:?}");
    assert!(a_second <= MOST, "{a_second} wake-ups a second: {woke:?}");
    edge.stop().await;
}
