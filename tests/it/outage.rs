//! ClickHouse goes away under load and comes back: clients that retry what they were told to retry end with every record
//! stored exactly once, in the base table and in its rollup; meanwhile the answer is 503 with advice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use otelgate::signal::Signal;
use stack::ClickHouse;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{numbered, table};

const WORKERS: u64 = 6;
const RECORDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_across_a_restart_of_clickhouse() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut clickhouse = ClickHouse::start(folder.path(), 0).await.expect("ClickHouse");
    let sections = "batch: { max_age: 200ms, deadline: 50s }\n";
    let edge = Edge::start(&clickhouse, Setup { name: "outage", sections, ..Setup::default() }).await;
    let client = Arc::new(edge.client(true));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS).map(|worker| tokio::spawn(work(client.clone(), worker, stop.clone()))).collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        clickhouse.stop(false).await.expect("ClickHouse stops");
        tokio::time::sleep(Duration::from_secs(2)).await;
        clickhouse.start_again().await.expect("ClickHouse starts again");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Relaxed);
    let mut sent = 0;
    for worker in workers {
        sent += worker.await.expect("a worker");
    }
    assert!(sent > 0);
    for signal in Signal::STABLE {
        let (database, table) = (&edge.database, table(signal));
        let attributes = match signal {
            Signal::Traces => "SpanAttributes",
            Signal::Logs => "LogAttributes",
            Signal::Metrics | Signal::Profiles => "Attributes",
        };
        let rows = format!("SELECT count() FROM {database}.{table}");
        let distinct = format!("SELECT uniqExact(ServiceName, {attributes}['seq']) FROM {database}.{table}");
        assert_eq!(clickhouse.number(&rows).await.expect("rows"), sent, "{signal}: rows");
        assert_eq!(clickhouse.number(&distinct).await.expect("rows"), sent, "{signal}: distinct records");
    }
    for rollup in ["otel_traces_kv_rollup_15m", "otel_logs_kv_rollup_15m"] {
        let counted = format!("SELECT sum(count) FROM {}.{rollup} WHERE Key = 'ServiceName'", edge.database);
        assert_eq!(clickhouse.number(&counted).await.expect("rows"), sent, "{rollup}");
    }
    edge.stop().await;
    clickhouse.stop(false).await.expect("ClickHouse stops");
}

/// Sends batches of all signals until told to stop, each until it is accepted; answers how many records of each signal were.
async fn work(client: Arc<Client>, worker: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut sent = 0;
    while !stop.load(Relaxed) {
        for signal in Signal::STABLE {
            let body = numbered(signal, Protocol::HttpProtobuf, &format!("worker-{worker}"), sent, RECORDS);
            send_until_accepted(&client, signal, body).await;
        }
        sent += RECORDS;
    }
    sent
}

async fn send_until_accepted(client: &Client, signal: Signal, body: Vec<u8>) {
    loop {
        let answer = client.send(Call::export(Protocol::HttpProtobuf, signal, KEY, body.clone())).await;
        match answer.status {
            200 => return,
            429 | 503 => {
                let seconds = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            _ => panic!("not to be retried: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn away_is_503_with_advice_and_readiness_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut clickhouse = ClickHouse::start(folder.path(), 0).await.expect("ClickHouse");
    let sections = "batch: { max_age: 100ms, deadline: 1s }\n";
    let edge = Edge::start(&clickhouse, Setup { name: "away", sections, ..Setup::default() }).await;
    let client = edge.client(true);
    clickhouse.stop(false).await.expect("ClickHouse stops");
    for protocol in Protocol::ALL {
        let answer = client
            .send(Call::export(protocol, Signal::Logs, KEY, numbered(Signal::Logs, protocol, "away", 0, 1)))
            .await;
        if protocol == Protocol::Grpc {
            assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
            assert!(answer.text("grpc-status-details-bin").is_some(), "{answer:?}");
        } else {
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        }
    }
    let ready = crate::support::eventually(503, || crate::support::get(&edge.gateway.admin, "/readyz")).await;
    assert_eq!(ready, 503);
    clickhouse.start_again().await.expect("ClickHouse starts again");
    let ready = crate::support::eventually(200, || crate::support::get(&edge.gateway.admin, "/readyz")).await;
    assert_eq!(ready, 200);
    let answer = client
        .send(Call::export(
            Protocol::HttpJson,
            Signal::Logs,
            KEY,
            numbered(Signal::Logs, Protocol::HttpJson, "back", 0, 1),
        ))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = clickhouse
        .query(&format!("SELECT ServiceName FROM {}.otel_logs", edge.database), "TabSeparated")
        .await
        .expect("rows");
    assert_eq!(stored.trim(), "back", "a refused request left records");
    edge.stop().await;
}
