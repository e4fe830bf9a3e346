//! The spool's folder under a running program, and under people who look into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use otelgate::signal::Signal;
use stack::ClickHouse;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, otelgate};

const RECORDS: u64 = 10;

async fn send(edge: &Edge, request: u64) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "spool", request * RECORDS, RECORDS);
    edge.client(true).send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await.status
}

fn batches(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).expect("the spool").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "batch")).collect();
    files.sort();
    files
}

async fn status(edge: &Edge) -> serde_json::Value {
    serde_json::from_str(&get_text(&edge.gateway.admin, "/status").await.1).expect("JSON")
}

async fn rows(edge: &Edge, state: &str) -> u64 {
    status(edge).await["rows"][state].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_vanishes_costs_its_rows_and_no_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut clickhouse = ClickHouse::start(&folder.path().join("clickhouse"), 0).await.expect("ClickHouse");
    let dir = folder.path().join("spool");
    // Each request is a batch of its own.
    let sections = format!(
        "spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_rows: {RECORDS}, max_chunk_rows: {RECORDS}, max_age: 100ms }}\n",
        dir.display()
    );
    let edge = Edge::start(&clickhouse, Setup { name: "vanish", sections: &sections, ..Setup::default() }).await;
    let cores = clickhouse.number("SELECT getSetting('max_threads')").await.expect("a number");
    clickhouse.stop(false).await.expect("ClickHouse stops");
    for request in 0..6 {
        assert_eq!(send(&edge, request).await, 200, "the spool takes it");
    }
    let under_way = async || {
        let table = &status(&edge).await["tables"]["otel_logs"];
        ["inserting", "parts_waiting"].map(|what| table[what].as_u64().unwrap_or_default())
    };
    // As many as there are cores for; they have read the first ones already, the last ones only lie there.
    let at_once = cores.clamp(2, 4);
    assert_eq!(eventually([at_once, 6 - at_once], under_way).await, [at_once, 6 - at_once]);
    let files = batches(&dir);
    assert_eq!(files.len(), 6, "{files:?}");
    fs::remove_file(&files[5]).expect("removed");
    clickhouse.start_again().await.expect("ClickHouse starts again");
    let count = format!("SELECT uniqExact(LogAttributes['seq']) FROM {}.otel_logs", edge.database);
    let stored = eventually(5 * RECORDS, async || clickhouse.number(&count).await.unwrap_or_default()).await;
    assert_eq!(stored, 5 * RECORDS, "{}", edge.logged());
    assert_eq!(eventually(RECORDS, || rows(&edge, "lost")).await, RECORDS);
    assert_eq!(eventually(5 * RECORDS, || rows(&edge, "stored")).await, 5 * RECORDS);
    let told = async || get_text(&edge.gateway.admin, "/readyz").await;
    let degraded = async || told().await.1.contains("degraded spool: 10 rows of 1 files are lost");
    assert!(eventually(true, degraded).await, "{:?}", told().await);
    assert_eq!(told().await.0, 200, "requests are kept all the same");
    assert_eq!(edge.logged().matches("has vanished").count(), 1, "said once");
    assert_eq!(send(&edge, 6).await, 200);
    edge.stop().await;
    clickhouse.stop(false).await.expect("ClickHouse stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_goes_away_is_told_by_readiness_and_comes_back_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, elsewhere) = (folder.path().join("spool"), folder.path().join("elsewhere"));
    let sections = format!("spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_age: 100ms }}\n", dir.display());
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "spool_away", sections: &sections, ..Setup::default() }).await;
    let readiness = async || get_text(&edge.gateway.admin, "/readyz").await.0;
    assert_eq!(eventually(200, readiness).await, 200);
    assert_eq!(send(&edge, 0).await, 200);
    fs::rename(&dir, &elsewhere).expect("moved");
    assert_eq!(eventually(503, readiness).await, 503);
    assert!(get_text(&edge.gateway.admin, "/readyz").await.1.contains("put it back"));
    assert_eq!(send(&edge, 1).await, 503);
    fs::rename(&elsewhere, &dir).expect("moved back");
    assert_eq!(eventually(200, readiness).await, 200);
    assert_eq!(eventually(200, || send(&edge, 2)).await, 200);
    assert_eq!(eventually(2 * RECORDS, || rows(&edge, "stored")).await, 2 * RECORDS);
    assert_eq!(rows(&edge, "lost").await, 0);
    edge.stop().await;
}

/// Every file with its bytes and times.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("a file").path();
        let changed = path.metadata().expect("there").modified().expect("a time");
        if path.is_dir() {
            found.extend(everything(&path));
        }
        found.insert(path.clone(), (fs::read(&path).unwrap_or_default(), changed));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_into_a_stopped_spool_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("spool");
    // What is open at the stop waits for the next start.
    let sections = format!("spool: {{ dir: {}, min_free_bytes: 0B }}\nbatch: {{ max_age: 5m }}\n", dir.display());
    let edge = Edge::start(clickhouse().await, Setup { name: "look", sections: &sections, ..Setup::default() }).await;
    assert_eq!(send(&edge, 0).await, 200);
    let killed = edge.gateway.process.pid().expect("running");
    assert!(killed > 0);
    edge.gateway.process.signal(rustix::process::Signal::KILL).expect("killed");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = everything(&dir);
    // Who may read the configuration and the spool needs no password and no certificate's key.
    let config = fs::read_to_string(edge.config()).expect("the configuration");
    let file = folder.path().join("look.yaml");
    let ask = async |config: String, order: &[&str]| {
        fs::write(&file, config).expect("written");
        let asked = otelgate(&[&["spool"], order, &["--config", file.to_str().expect("UTF-8")]].concat()).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (asked.status.code(), text(&asked.stdout), text(&asked.stderr))
    };
    let certificates = config.replace("server.key", "nobody-may-read-this.key");
    let (code, list, said) = ask(certificates.clone(), &["list"]).await;
    assert!(code == Some(0) && list.contains("otel_logs") && list.contains("10"), "{list}{said}");
    let (code, shown, said) = ask(certificates, &["show", "0"]).await;
    assert!(code == Some(0) && shown.contains("\"sequence\": 0"), "{shown}{said}");
    assert_eq!(everything(&dir), before);

    let mistyped = folder.path().join("spol");
    let wrong = config.replace(&dir.display().to_string(), &mistyped.display().to_string());
    for order in [&["list"][..], &["show", "0"], &["drop", "0"], &["retry", "0"]] {
        let (code, _, said) = ask(wrong.clone(), order).await;
        assert_eq!(code, Some(1), "{order:?}: {said}");
        assert_eq!(said.matches("spol").count(), 1, "{order:?}: {said}");
    }
    assert!(!mistyped.exists(), "nothing is made");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_ends_the_start_with_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("otelgate.yaml");
    fs::write(folder.path().join("keys.yaml"), "keys: []\n").expect("written");
    let config = "listen: { otlp: ['127.0.0.1:0'], admin: '127.0.0.1:0' }\ntls: { plaintext: true }\nstate_dir: /dev/null/otelgate\n\
                  sink: { forward: { endpoint: 'http://127.0.0.1:9' } }\n";
    fs::write(&file, config).expect("written");
    let ended = otelgate(&["serve", "--config", file.to_str().expect("UTF-8")]).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("/dev/null/otelgate/spool: Not a directory") && said.contains("`spool: none`"), "{said}");
    assert_eq!(said.matches("Not a directory").count(), 1, "{said}");
}
