//! Two shards behind a running otelgate: each part goes whole to one of them and stays there, through a shard that is killed, a restart of otelgate and
//! another order in the configuration.

use std::fs;

use otelgate::signal::Signal;
use serde_json::Value;
use stack::ClickHouse;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

const RECORDS: u64 = 10;

async fn send(edge: &Edge, requests: std::ops::Range<u64>) {
    let client = edge.client(true);
    for request in requests {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "shards", request * RECORDS, RECORDS);
        let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

async fn status(edge: &Edge) -> Value {
    serde_json::from_str(&get_text(&edge.gateway.admin, "/status").await.1).unwrap_or_default()
}

async fn of(clickhouse: &ClickHouse, database: &str, what: &str) -> u64 {
    clickhouse.number(&format!("SELECT {what} FROM {database}.otel_logs")).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_tried_at_a_shard_stays_there_and_everything_else_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = clickhouse().await;
    let mut second = ClickHouse::start(&folder.path().join("clickhouse"), 0).await.expect("ClickHouse");
    let name = "shards";
    second.query(&format!("CREATE DATABASE otel_test_{name}"), "TabSeparated").await.expect("a database");
    let own = format!("{{ url: \"{}\", user: {}, password: \"{}\" }}", second.url, second.user, second.password);
    let (one, other) = (format!("[\"{}\"]", first.url), format!("[{own}]"));
    // Each request is a batch of its own.
    let sections = format!(
        "spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_rows: {RECORDS}, max_chunk_rows: {RECORDS}, max_age: 100ms }}\n",
        folder.path().join("spool").display()
    );
    let (shards, turned) = (format!("[{one}, {other}]"), format!("[{other}, {one}]"));
    let edge = Edge::start(first, Setup { name, sections: &sections, shards: &shards, ..Setup::default() }).await;
    let database = edge.database.clone();
    send(&edge, 0..10).await;
    let all =
        async |second: &ClickHouse| of(first, &database, "count()").await + of(second, &database, "count()").await;
    assert_eq!(eventually(100, async || all(&second).await).await, 100, "{}", edge.logged());
    assert!(of(first, &database, "count()").await > 0 && of(&second, &database, "count()").await > 0);

    // What is there and not known to be would count as both.
    assert_eq!(eventually(Some(0), async || status(&edge).await["rows"]["waiting"].as_u64()).await, Some(0));
    let there = of(&second, &database, "count()").await;
    second.stop(true).await.expect("killed");
    send(&edge, 10..40).await;
    // All but the few that were tried at the one that is away.
    let waiting = async || status(&edge).await["rows"]["waiting"].as_u64().unwrap_or_default();
    assert!(eventually(true, async || waiting().await <= 4 * RECORDS).await, "{}", status(&edge).await);
    // What was stored a moment ago counts as waiting a moment longer.
    let known = async || of(first, &database, "count()").await + there + waiting().await;
    assert_eq!(eventually(400, known).await, 400, "{}", status(&edge).await);
    let (stuck, told) = (waiting().await, status(&edge).await);
    assert_eq!((&told["shards"][0]["last_error"], told["sink"]["state"].as_str()), (&Value::Null, Some("impaired")));
    assert!(told["shards"][1]["last_error"].is_string(), "{told}");

    let written = fs::read_to_string(edge.config()).expect("the configuration");
    assert!(written.contains(&shards));
    fs::write(edge.config(), written.replace(&shards, &turned)).expect("written");
    let edge = edge.start_again().await;
    send(&edge, 40..50).await;
    second.start_again().await.expect("ClickHouse starts again");
    assert_eq!(eventually(500, async || all(&second).await).await, 500, "{}", edge.logged());
    let different = async |clickhouse| of(clickhouse, &database, "uniqExact(LogAttributes['seq'])").await;
    assert_eq!(different(first).await + different(&second).await, 500);
    assert_eq!(eventually(Some(0), async || status(&edge).await["rows"]["waiting"].as_u64()).await, Some(0));
    assert!(of(&second, &database, "count()").await >= there + stuck, "what was tried there went there");
    let metrics = get_text(&edge.gateway.admin, "/metrics").await.1;
    assert!(metrics.contains("otelgate_shard_insert_rows_total{shard=\"2\"}"), "{metrics}");
    edge.stop().await;
    second.stop(false).await.expect("ClickHouse stops");
}
