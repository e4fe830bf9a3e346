//! A spool that an older version left is delivered by this one: `tests/data/spools` keeps folders that each released layout wrote, made by
//! the version that wrote it first ([`make`]).

mod make;

use std::fs;
use std::path::{Path, PathBuf};

use otelgate::signal::Signal;
use serde_json::Value;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{numbered, table};
use crate::support::{clickhouse, eventually, get_text, otelgate};

/// What is in every folder: service, signal, and how many of its rows are neither in ClickHouse nor refused by it.
const WAITING: [(&str, Signal, u64); 6] = [
    // Delivered by the old version.
    ("stored", Signal::Traces, 0),
    // Lost on the way to ClickHouse, under more than one token.
    ("lost", Signal::Traces, 6),
    ("open", Signal::Traces, 9),
    ("open", Signal::Logs, 7),
    ("sealed", Signal::Metrics, 8),
    // The gauge of a batch whose sum was held.
    ("half", Signal::Metrics, 0),
];

/// The folders of `tests/data/spools`.
fn kept() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spools");
    let folders = fs::read_dir(data).expect("tests/data/spools").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_older_version_left_is_delivered_once() {
    let folders = kept();
    assert!(folders.len() >= 2, "the kept spools are missing");
    for folder in folders {
        let name = folder.file_name().expect("a name").to_string_lossy().replace('-', "_");
        deliver(&name, &folder).await;
    }
}

async fn deliver(name: &str, kept: &Path) {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    copy(kept, folder.path());
    // The digests in it are as old as the folder.
    let sections =
        format!("spool: {{ dir: {}, digest_ttl: 7300d }}\nbatch: {{ max_age: 200ms }}", folder.path().display());
    let edge =
        Edge::start(clickhouse, Setup { name: &format!("upgrade_{name}"), sections: &sections, ..Setup::default() })
            .await;
    nothing_waits(&edge, name).await;
    for (service, signal, expected) in WAITING {
        assert_eq!(rows(&edge, table(signal), service).await, expected, "{name}: {service}, {signal}");
    }
    assert_eq!(rows(&edge, "otel_metrics_sum", "half").await, 2, "{name}: what was held");
    // A person had asked for the first quarantined batch again, and not for the second; what stood beside the refused rows was in.
    assert_eq!(rows(&edge, "otel_logs", "refused-1").await, 3, "{name}");
    assert_eq!(rows(&edge, "otel_logs", "refused-2").await, 0, "{name}");
    assert_eq!(rows(&edge, "otel_logs", "beside-1").await + rows(&edge, "otel_logs", "beside-2").await, 0, "{name}");

    // The client that never had its answer repeats its request.
    let body = numbered(Signal::Traces, Protocol::HttpProtobuf, "open", 0, 9);
    let answer = edge.client(true).send(Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    retry_what_is_in_quarantine(&edge, folder.path()).await;
    let refused = eventually(4, async || rows(&edge, "otel_logs", "refused-2").await).await;
    assert_eq!(refused, 4, "{name}: from quarantine");
    assert_eq!(rows(&edge, "otel_traces", "open").await, 9, "{name}: the repeat is recognised");
    nothing_waits(&edge, name).await;
    check_the_account(&status(&edge).await, name);
    edge.stop().await;
}

async fn nothing_waits(edge: &Edge, name: &str) {
    let waiting = eventually(Some(0), async || status(edge).await["rows"]["waiting"].as_u64()).await;
    assert_eq!(waiting, Some(0), "{name}: {}", edge.logged());
}

async fn retry_what_is_in_quarantine(edge: &Edge, spool: &Path) {
    let config = edge.keys_file().with_file_name("for-people.yaml");
    let written = fs::read_to_string(config.with_file_name("otelgate.yaml")).expect("the configuration");
    let admin = edge.gateway.admin.trim_start_matches("http://");
    fs::write(&config, written.replace("admin: \"127.0.0.1:0\"", &format!("admin: \"{admin}\""))).expect("written");
    let quarantine = fs::read_dir(spool.join("quarantine")).expect("quarantine");
    let sequences: Vec<u64> =
        quarantine.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".batch")?.parse().ok()).collect();
    assert_eq!(sequences.len(), 1, "one batch is in quarantine");
    let output = otelgate(&["spool", "retry", &sequences[0].to_string(), "--config", &config.to_string_lossy()]).await;
    assert!(output.status.success(), "{output:?}");
}

/// Nothing was lost over the two versions' lives, and nothing counted twice.
fn check_the_account(status: &Value, name: &str) {
    let rows = &status["rows"];
    let of = |place: &str| rows[place].as_u64().expect("a number");
    let places = ["stored", "waiting", "held", "quarantined", "lost", "dropped"];
    assert_eq!(of("accepted"), places.map(of).iter().sum::<u64>(), "{name}: {rows}");
    assert_eq!((of("accepted"), of("stored"), of("lost")), (make::ACCEPTED, make::ACCEPTED, 0), "{name}: {rows}");
}

async fn rows(edge: &Edge, table: &str, service: &str) -> u64 {
    let count = format!("SELECT count() FROM {}.{table} WHERE ServiceName = '{service}'", edge.database);
    clickhouse().await.number(&count).await.expect("a number")
}

async fn status(edge: &Edge) -> Value {
    serde_json::from_str(&get_text(&edge.gateway.admin, "/status").await.1).expect("/status is JSON")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a copy");
        }
    }
}
