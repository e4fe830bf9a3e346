//! A ClickHouse that wakes up from its sleep, as a service in the Cloud does: what is sent to it arrives when it is awake, also what its sender has given up.

use std::path::Path;

use otelgate::signal::Signal;
use stack::{Passage, Tunnel};

use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

const RECORDS: u64 = 5;
const SHORT: &str = "insert_timeout: 2s, max_execution_time: 1s";
/// As docs/clickhouse.md has them.
const LONG: &str = "insert_timeout: 90s, max_execution_time: 80s";

/// An edge whose ClickHouse is behind this tunnel.
async fn edge(tunnel: &Tunnel, name: &str, timeouts: &str, sections: &str) -> Edge {
    let clickhouse_url = Some(format!("http://127.0.0.1:{}", tunnel.port));
    let sink = timeouts.replace(", ", "\n    ");
    let setup = Setup { name, sink: &sink, sections, clickhouse_url, ..Setup::default() };
    Edge::start(clickhouse().await, setup).await
}

async fn send(client: Client) -> Answer {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "wakes", 0, RECORDS);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await
}

async fn rows(edge: &Edge) -> u64 {
    let sql = format!("SELECT count() FROM {}.otel_logs", edge.database);
    clickhouse().await.number(&sql).await.unwrap_or_default()
}

/// With a spool nobody notices; without one a short deadline is a refusal, and one that is longer than the sleep is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_clickhouse_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = clickhouse().await.url.rsplit_once(':').expect("a port").1.parse().expect("a port");
    let (tunnel, of_kept) =
        (Tunnel::start(port).await.expect("a tunnel"), Tunnel::start(port).await.expect("a tunnel"));
    let spool =
        |dir: &Path| format!("spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_age: 100ms }}\n", dir.display());
    let kept = edge(&of_kept, "wakes_spool", SHORT, &spool(folder.path())).await;
    let short = edge(&tunnel, "wakes_short", SHORT, "batch: { max_age: 100ms, deadline: 3s }\n").await;
    let long =
        edge(&tunnel, "wakes_long", LONG, "batch: { max_age: 100ms, deadline: 100s }\nrequest: { timeout: 2m }\n")
            .await;

    let set = |passage| [&tunnel, &of_kept].into_iter().for_each(|tunnel| tunnel.set(passage));
    set(Passage::Held);
    let waits = tokio::spawn(send(long.client(true)));
    let answer = send(kept.client(true)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = send(short.client(true)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    // Each is a connection: the spool's insert was given up, and something was tried after it.
    assert!(eventually(true, async || of_kept.waiting() >= 2).await, "{}: {}", of_kept.waiting(), kept.logged());
    assert!(!waits.is_finished(), "it waits for as long as its deadline lets it");

    set(Passage::Open);
    let answer = waits.await.expect("sent");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(rows(&long).await, RECORDS);
    assert_eq!(eventually(RECORDS, || rows(&kept)).await, RECORDS, "{}", kept.logged());
    let status = async || crate::support::get_text(&kept.gateway.admin, "/status").await.1;
    let nothing_waits = async || status().await.contains("\"waiting\":0");
    assert!(eventually(true, nothing_waits).await, "{}", status().await);
    assert_eq!(rows(&kept).await, RECORDS, "what was given up arrived too: {}", kept.logged());
    for edge in [kept, short, long] {
        edge.stop().await;
    }
}
