//! Makes the folders of `tests/data/spools`: a spool with every kind of file, record and note, left by a clean stop and by a SIGKILL.
//!
//! Run it once when the layout on disk has changed, with the first version that writes the new one, and commit what it leaves:
//!
//!     OTELGATE_SPOOLS=tests/data/spools/VERSION cargo test --test it upgrade::make -- --ignored

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otelgate::signal::Signal;
use parking_lot::Mutex;
use serde_json::json;
use stack::ClickHouse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{copy, status};
use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, logs, numbered};
use crate::support::{clickhouse, eventually, otelgate};

/// Records that the old version answered with 200.
pub(super) const ACCEPTED: u64 = 5 + (3 + 2) + (4 + 2) + (3 + 2) + 6 + 9 + 7 + 8;

type Tokens = Arc<Mutex<BTreeSet<String>>>;

/// What the way to ClickHouse does.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Open,
    /// Connections end where an insert would begin.
    LosesInserts,
    Closed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes tests/data/spools"]
async fn spools_of_this_version() {
    let to = std::env::var("OTELGATE_SPOOLS").expect("OTELGATE_SPOOLS names what the folders are called");
    for stop in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        make(clickhouse().await, folder.path(), stop).await;
        let ending = if stop { "stopped" } else { "killed" };
        copy(folder.path(), Path::new(&format!("{to}-{ending}")));
    }
}

async fn make(clickhouse: &ClickHouse, spool: &Path, stop: bool) {
    let port = clickhouse.url.rsplit_once(':').expect("a port").1.parse().expect("a port");
    let (url, way, tokens) = proxy(port).await;
    let sections = format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 1s }}", spool.display());
    let name = if stop { "spools_stopped" } else { "spools_killed" };
    let setup = || Setup { name, sections: &sections, clickhouse_url: Some(url.clone()), ..Setup::default() };
    // It creates the tables; in that of the spans a look comes before the repeat.
    let edge = Edge::start(clickhouse, setup()).await;
    let database = edge.database.clone();
    edge.stop().await;
    for change in [
        "otel_traces MODIFY SETTING non_replicated_deduplication_window = 0",
        "otel_logs ADD CONSTRAINT nothing_is_refused CHECK Body != 'refused'",
    ] {
        clickhouse.query(&format!("ALTER TABLE {database}.{change}"), "TabSeparated").await.expect("altered");
    }
    let edge = Edge::start(clickhouse, setup()).await;
    let away = format!("RENAME TABLE {database}.otel_metrics_sum TO {database}.otel_metrics_sum_away");
    clickhouse.query(&away, "TabSeparated").await.expect("renamed");
    let client = edge.client(true);
    send(&client, Signal::Traces, numbered(Signal::Traces, Protocol::HttpProtobuf, "stored", 0, 5)).await;
    for (round, count) in [(1, 3), (2, 4)] {
        let refused = send(&client, Signal::Logs, refused(round, count));
        let beside = numbered(Signal::Logs, Protocol::HttpProtobuf, &format!("beside-{round}"), 0, 2);
        tokio::join!(refused, send(&client, Signal::Logs, beside));
        wait_for(&edge, "quarantined", if round == 1 { 3 } else { 7 }).await;
    }
    let answer = client.send(Call::export(Protocol::HttpJson, Signal::Metrics, KEY, gauge_and_sum())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_for(&edge, "held", 2).await;
    // Rows that are in count as waiting until their batch is finished.
    wait_for(&edge, "waiting", 3).await;

    *way.lock() = Way::LosesInserts;
    tokens.lock().clear();
    send(&client, Signal::Traces, numbered(Signal::Traces, Protocol::HttpProtobuf, "lost", 0, 6)).await;
    assert!(eventually(true, async || tokens.lock().len() >= 3).await, "the insert goes again under new tokens");

    *way.lock() = Way::Closed;
    retry_the_first(&edge, spool).await;
    send(&client, Signal::Metrics, numbered(Signal::Metrics, Protocol::HttpProtobuf, "sealed", 0, 8)).await;
    send(&client, Signal::Logs, numbered(Signal::Logs, Protocol::HttpProtobuf, "open", 0, 7)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    send(&client, Signal::Traces, numbered(Signal::Traces, Protocol::HttpProtobuf, "open", 0, 9)).await;
    // Its connection ends at once: the answer may not have arrived.
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    if stop {
        edge.stop().await;
    } else {
        edge.gateway.process.kill().await.expect("killed");
    }
    remove_what_every_start_makes(spool);
}

async fn send(client: &Client, signal: Signal, body: Vec<u8>) {
    let answer = client.send(Call::export(Protocol::HttpProtobuf, signal, KEY, body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn wait_for(edge: &Edge, place: &str, expected: u64) {
    let found = eventually(Some(expected), async || status(edge).await["rows"][place].as_u64()).await;
    assert_eq!(found, Some(expected), "{place}: {}\n{}", status(edge).await, edge.logged());
}

fn refused(round: u64, count: u64) -> Vec<u8> {
    let body = crate::support::requests::text("refused");
    let record = |number| opentelemetry_proto::tonic::logs::v1::LogRecord {
        time_unix_nano: MOMENT + number,
        body: Some(body.clone()),
        ..Default::default()
    };
    logs(&format!("refused-{round}"), (0..count).map(record).collect())
}

/// Three points of a gauge and two of a sum, which go to two tables.
fn gauge_and_sum() -> Vec<u8> {
    let points = |count: u64| -> Vec<_> {
        (0..count).map(|number| json!({"timeUnixNano": (MOMENT + number).to_string(), "asDouble": 2.5})).collect()
    };
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "half"}}]});
    let metrics = json!([
        {"name": "load", "gauge": {"dataPoints": points(3)}},
        {"name": "work", "sum": {"dataPoints": points(2), "aggregationTemporality": 2, "isMonotonic": true}},
    ]);
    let scopes = json!([{"scope": {"name": "tests"}, "metrics": metrics}]);
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}).to_string().into_bytes()
}

async fn retry_the_first(edge: &Edge, spool: &Path) {
    let quarantine = std::fs::read_dir(spool.join("quarantine")).expect("quarantine");
    let names = quarantine.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".batch")?.parse().ok());
    let first: u64 = names.min().expect("a batch in quarantine");
    let config = edge.keys_file().with_file_name("for-people.yaml");
    let written = std::fs::read_to_string(config.with_file_name("otelgate.yaml")).expect("the configuration");
    let admin = edge.gateway.admin.trim_start_matches("http://");
    let written = written.replace("admin: \"127.0.0.1:0\"", &format!("admin: \"{admin}\""));
    std::fs::write(&config, written).expect("written");
    let output = otelgate(&["spool", "retry", &first.to_string(), "--config", &config.to_string_lossy()]).await;
    assert!(output.status.success(), "{output:?}");
}

/// The reserve is 4 MiB of nothing.
fn remove_what_every_start_makes(spool: &Path) {
    for name in ["reserve", "lock"] {
        std::fs::remove_file(spool.join(name)).expect("removed");
    }
}

/// Its address, what it does, and the tokens of the inserts that it saw.
async fn proxy(to: u16) -> (String, Arc<Mutex<Way>>, Tokens) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (way, tokens) = (Arc::new(Mutex::new(Way::Open)), Tokens::default());
    let (its_way, its_tokens) = (way.clone(), tokens.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, to, its_way.clone(), its_tokens.clone()));
        }
    });
    (url, way, tokens)
}

async fn pass(mut client: TcpStream, to: u16, way: Arc<Mutex<Way>>, tokens: Tokens) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let bytes = &from_client[..read?];
                let text = String::from_utf8_lossy(bytes);
                let token = text.split_once("insert_deduplication_token=").and_then(|(_, rest)| rest.split(['&', ' ']).next());
                tokens.lock().extend(token.map(str::to_owned));
                let way = *way.lock();
                if bytes.is_empty() || way == Way::Closed || (way == Way::LosesInserts && token.is_some()) {
                    return Ok(());
                }
                server.write_all(bytes).await?;
            }
            read = server.read(&mut from_server) => {
                let bytes = &from_server[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
