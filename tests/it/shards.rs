//! Shards, written one by one or read from a cluster, behind a running otelgate: each part goes whole to one of them and stays there, through a shard that is killed, a restart of otelgate and
//! another order in the configuration.

use std::fs;
use std::io;
use std::sync::Arc;

use otelgate::signal::Signal;
use parking_lot::Mutex;
use serde_json::Value;
use stack::ClickHouse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

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

/// What `otelgate doctor` says of the logins: how each stands, and of which servers.
async fn logins(edge: &Edge) -> Vec<(String, String)> {
    let mut command = edge.files.command().expect("built");
    command.args(["doctor", "--json", "--config"]).arg(edge.config()).kill_on_drop(true);
    let found: Vec<Value> = serde_json::from_slice(&command.output().await.expect("runs").stdout).expect("JSON");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let logins = found.iter().filter(|finding| finding["check"] == "login");
    logins.map(|finding| (text(finding, "outcome"), text(finding, "what"))).collect()
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

    let known = logins(&edge).await;
    assert!(known.iter().all(|(outcome, _)| outcome == "ok"), "each server is asked as its own user: {known:?}");

    // What is there and not known to be would count as both.
    assert_eq!(eventually(Some(0), async || status(&edge).await["rows"]["waiting"].as_u64()).await, Some(0));
    let there = of(&second, &database, "count()").await;
    second.stop(true).await.expect("killed");
    let (known, away) = (logins(&edge).await, second.url.trim_start_matches("http://"));
    let wrong: Vec<_> = known.iter().filter(|(outcome, _)| outcome != "ok").collect();
    assert!(wrong.len() == 1 && known.len() == 2 && wrong[0].1.starts_with(away), "{away}: {known:?}");
    send(&edge, 10..40).await;
    // All but the few that were tried at the one that is away.
    let waiting = async || status(&edge).await["rows"]["waiting"].as_u64().unwrap_or_default();
    assert!(eventually(true, async || waiting().await <= 4 * RECORDS).await, "{}", status(&edge).await);
    // What was stored a moment ago counts as waiting a moment longer.
    let known = async || of(first, &database, "count()").await + there + waiting().await;
    assert_eq!(eventually(400, known).await, 400, "{}", status(&edge).await);
    let told = status(&edge).await;
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
    // How much it was nobody can tell: what waited may have been on its way to the other.
    assert!(of(&second, &database, "count()").await >= there + RECORDS, "what was tried there went there");
    let metrics = get_text(&edge.gateway.admin, "/metrics").await.1;
    assert!(metrics.contains("otelgate_shard_insert_rows_total{shard=\"2\"}"), "{metrics}");
    edge.stop().await;
    second.stop(false).await.expect("ClickHouse stops");
}

/// ClickHouse under two addresses that stand for two shards of one port, of which it says what it is told.
#[derive(Default)]
struct Cluster {
    /// What `system.clusters` has.
    shards: &'static str,
    /// Addresses that do not answer.
    away: Vec<&'static str>,
}

const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

impl Cluster {
    /// Its port.
    async fn open(server: &str) -> (Arc<Mutex<Cluster>>, u16) {
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let first = TcpListener::bind((ONE, 0)).await.expect("a port");
        let port = first.local_addr().expect("an address").port();
        let second = TcpListener::bind((OTHER, port)).await.expect("the same port");
        for (address, listener) in [(ONE, first), (OTHER, second)] {
            let (cluster, server) = (cluster.clone(), server.to_owned());
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    if !cluster.lock().away.contains(&address) {
                        tokio::spawn(Cluster::pass(cluster.clone(), server.clone(), client));
                    }
                }
            });
        }
        (cluster, port)
    }

    /// One request a connection.
    async fn pass(cluster: Arc<Mutex<Cluster>>, server: String, mut client: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let mut body = vec![0; length.filter(|length| *length < 4096).unwrap_or(0)];
        client.read_exact(&mut body).await?;
        if String::from_utf8_lossy(&body).contains("system.clusters") {
            let shards = cluster.lock().shards;
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{shards}", shards.len());
            return client.write_all(answer.as_bytes()).await;
        }
        head.truncate(head.len() - 2);
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        let mut server = TcpStream::connect(server).await?;
        server.write_all(&[head, body].concat()).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}

/// What a shard has that leaves the cluster waits for it, through starts while nobody says what the cluster is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_read_at_a_start_and_a_shard_that_left_it_keeps_its_rows_in_the_spool() {
    let (folder, clickhouse) = (tempfile::tempdir().expect("a folder"), clickhouse().await);
    let (cluster, port) = Cluster::open(clickhouse.url.trim_start_matches("http://")).await;
    cluster.lock().shards = "1\t127.0.0.1\n2\t127.0.0.2\n";
    let sections = format!(
        "spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_rows: {RECORDS}, max_chunk_rows: {RECORDS}, max_age: 100ms }}\n",
        folder.path().display()
    );
    let clickhouse_url = Some(format!("http://{ONE}:{port}"));
    let setup =
        Setup { name: "cluster", sections: &sections, clickhouse_url, sink: "cluster: main", ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let servers = async |edge: &Edge| status(edge).await["shards"].as_array().map_or(0, Vec::len);
    assert_eq!(servers(&edge).await, 2);
    send(&edge, 0..10).await;
    let waiting = async |edge: &Edge| {
        let rows = &status(edge).await["rows"];
        Some(rows["waiting"].as_u64()? + rows["held"].as_u64()?)
    };
    assert_eq!(eventually(Some(0), || waiting(&edge)).await, Some(0), "{}", edge.logged());

    // What changes while it runs changes nothing before the next start.
    cluster.lock().shards = "1\t127.0.0.1\n2\t127.0.0.3\n";
    cluster.lock().away = vec![OTHER];
    send(&edge, 10..30).await;
    assert!(eventually(true, async || waiting(&edge).await <= Some(4 * RECORDS)).await, "{}", edge.logged());
    assert_eq!(servers(&edge).await, 2);
    cluster.lock().away = vec![ONE, OTHER];
    let edge = edge.start_again().await;
    assert_eq!(servers(&edge).await, 2, "as it was last: {}", edge.logged());

    *cluster.lock() = Cluster { shards: "1\t127.0.0.1\n", away: Vec::new() };
    let edge = edge.start_again().await;
    assert_eq!(servers(&edge).await, 1);
    let said = async || status(&edge).await["tables"]["otel_logs"]["last_error"].to_string();
    let gone = async || said().await.contains("put that shard back");
    assert!(eventually(true, gone).await, "{} {}", said().await, edge.logged());
    send(&edge, 30..31).await;
    // What was stored a moment ago counts as waiting a moment longer.
    let known = async || of(clickhouse, &edge.database, "count()").await + waiting(&edge).await.unwrap_or_default();
    assert_eq!(eventually(310, known).await, 310, "nothing of it is sent elsewhere, or lost: {}", edge.logged());
    assert!(waiting(&edge).await > Some(0), "some was tried at the one that is away");

    cluster.lock().shards = "1\t127.0.0.2\n5\t127.0.0.1\n";
    let edge = edge.start_again().await;
    assert_eq!(eventually(Some(0), || waiting(&edge)).await, Some(0), "{}", edge.logged());
    for what in ["count()", "uniqExact(LogAttributes['seq'])"] {
        assert_eq!(of(clickhouse, &edge.database, what).await, 310, "{what}");
    }
    edge.stop().await;
}
