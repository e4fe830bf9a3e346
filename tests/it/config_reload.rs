//! The configuration and its files change in every way in which files change, while otelgate runs.

mod under_load;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use stack::{Passage, Tunnel};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

fn call(key: &str) -> Call {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "config_reload", 0, 1);
    Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)
}

async fn status(client: &Client, key: &str) -> u16 {
    client.send(call(key)).await.status
}

/// Puts a text in the place of a file's, in one of the ways in which editors, people and Kubernetes do.
fn put(path: &Path, text: &str, number: usize) {
    let name = path.file_name().expect("a file").display().to_string();
    let beside = |what: &str| path.with_file_name(format!("{name}.{what}-{number}"));
    match number % 3 {
        0 => {
            fs::write(beside("new"), text).expect("written");
            fs::rename(beside("new"), path).expect("renamed");
        }
        1 => fs::write(path, text).expect("written"),
        // As a ConfigMap: the file is a link, and another link takes its place.
        _ => {
            fs::create_dir(beside("data")).expect("a folder");
            let target = beside("data").join("file");
            fs::write(&target, text).expect("written");
            symlink(&target, beside("link")).expect("a link");
            fs::rename(beside("link"), path).expect("renamed");
        }
    }
}

async fn may_ask(client: &Client, origin: &str) -> u16 {
    let mut call = call("").header("origin", origin).header("access-control-request-method", "POST");
    call.method = http::Method::OPTIONS;
    call.body.clear();
    client.send(call).await.status
}

async fn shown(edge: &Edge) -> serde_json::Value {
    let (_, text) = get_text(&edge.gateway.admin, "/status").await;
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["configuration"].clone()
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_what_waits_for_a_restart_is_named() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "config_refused", ..Setup::default() }).await;
    let client = edge.client(true);
    let config = edge.config();
    let text = fs::read_to_string(&config).expect("there");
    let cors = "cors: { allowed_origins: [\"https://shop.example\"] }\n";
    let page = "https://evil.example";
    // One good change and one mistake: neither counts.
    fs::write(&config, format!("{text}{cors}limits: {{ burst: 0s }}\n")).expect("written");
    // It may have been read before all of it was written.
    let burst = "limits.burst: `0s` must be longer than zero";
    let said = eventually(true, async || edge.logged().contains(burst)).await;
    assert!(said && edge.logged().contains("the configuration stays as it was"), "{}", edge.logged());
    assert_eq!((may_ask(&client, page).await, status(&client, KEY).await), (204, 200));
    let status_shown = shown(&edge).await;
    assert!(status_shown["mistakes"][0].as_str().is_some_and(|line| line.contains("limits.burst")), "{status_shown}");
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_config_refused 1\n"), "{metrics}");
    assert!(metrics.contains("otelgate_config_reloads_total{outcome=\"refused\"} "), "{metrics}");

    // Mended, it counts, but for what needs a restart; and whole: keys.yaml, which is read by its rules, has to be good too.
    fs::write(edge.keys_file(), "keys: [{ name: broken }]\n").expect("written");
    fs::write(
        &config,
        format!("{text}{cors}log: {{ level: debug }}\nshutdown: {{ drain_delay: 1s }}\n")
            .replace("spool: none", "spool: { dir: elsewhere }"),
    )
    .expect("written");
    let refused = |logged: &str| logged.matches("the configuration stays as it was").count();
    assert!(eventually(true, async || refused(&edge.logged()) >= 2).await, "{}", edge.logged());
    fs::write(edge.keys_file(), keys_yaml(&[])).expect("written");
    assert_eq!(eventually(403, || may_ask(&client, page)).await, 403, "{}", edge.logged());
    let waits = |logged: &str| logged.contains("wait for a restart") && logged.contains("spool.dir, shutdown");
    assert!(eventually(true, async || waits(&edge.logged())).await, "{}", edge.logged());
    let status_shown = shown(&edge).await;
    assert_eq!(
        (&status_shown["mistakes"], &status_shown["waiting_for_restart"][1]),
        (&serde_json::json!([]), &"spool.dir".into())
    );
    let debug = |logged: &str| logged.contains("\"level\":\"DEBUG\"");
    assert!(eventually(true, async || status(&client, KEY).await == 200 && debug(&edge.logged())).await);
    edge.stop().await;
}

#[tokio::test]
async fn the_sinks_password_changes_without_a_restart() {
    let clickhouse = clickhouse().await;
    let sections = "batch: { max_age: 50ms, deadline: 2s }\n";
    let edge = Edge::start(clickhouse, Setup { name: "rotated", sections, ..Setup::default() }).await;
    let client = edge.client(true);
    assert_eq!(status(&client, KEY).await, 200);
    // From a variable to a file, and from then on in the file.
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    fs::write(&password, &clickhouse.password).expect("written");
    let text = fs::read_to_string(edge.config()).expect("there");
    let text = text.replace("${env:CLICKHOUSE_PASSWORD}", &format!("${{file:{}}}", password.display()));
    fs::write(edge.config(), text).expect("written");
    edge.gateway.process.signal(ProcessSignal::HUP).expect("running");
    assert!(eventually(true, async || edge.logged().contains("configuration read again")).await, "{}", edge.logged());
    // One that ClickHouse does not know is used too, and what it held up is taken as soon as it is mended.
    put(&password, "second-password\n", 2);
    assert_eq!(eventually(503, || status(&client, KEY)).await, 503, "{}", edge.logged());
    put(&password, &clickhouse.password, 0);
    assert_eq!(eventually(200, || status(&client, KEY)).await, 200, "{}", edge.logged());
    let logged = edge.logged();
    assert!(logged.contains("sink.clickhouse.password"), "{logged}");
    assert!(!logged.contains("second-password") && !logged.contains(&clickhouse.password), "{logged}");
    edge.stop().await;
}

/// ClickHouse is away when the period changes, and has lost a table when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_ttl_counts_for_tables_that_are_created_from_then_on() {
    let clickhouse = clickhouse().await;
    let port = clickhouse.url.rsplit(':').next().expect("a port").parse().expect("a number");
    let way = Tunnel::start(port).await.expect("a tunnel");
    let spool = tempfile::tempdir().expect("a folder");
    let sections = format!("spool: {{ dir: {} }}\n", spool.path().display());
    let url = Some(format!("http://127.0.0.1:{}", way.port));
    let setup = Setup { name: "config_ttl", sections: &sections, clickhouse_url: url, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    // What it knows of the tables is kept soon after the start.
    let known = spool.path().join("schema.json");
    assert!(eventually(true, async || known.exists()).await, "{}", edge.logged());
    way.set(Passage::Closed);
    for table in ["otel_logs_kv_rollup_15m_mv", "otel_logs_attr_kv_rollup_15m_mv", "otel_logs"] {
        let sql = format!("DROP TABLE IF EXISTS {}.{table}", edge.database);
        clickhouse.query(&sql, "TabSeparated").await.expect("dropped");
    }
    let edge = edge.start_again().await;
    let text = fs::read_to_string(edge.config()).expect("there");
    fs::write(edge.config(), text.replace("logs: 7300d", "logs: 77d")).expect("written");
    let said = "sink.clickhouse.ttl counts for tables that are created from now on; `otelgate schema apply --ttl`";
    assert!(eventually(true, async || edge.logged().contains(said)).await, "{}", edge.logged());
    assert_eq!(shown(&edge).await["waiting_for_restart"], serde_json::json!([]));
    way.set(Passage::Open);
    let kept = async |table: &str, days: u32| {
        let sql = format!(
            "SELECT count() FROM system.tables WHERE database = '{}' AND name = '{table}' AND engine_full LIKE '%toIntervalDay({days})%'",
            edge.database
        );
        clickhouse.number(&sql).await.expect("a number") == 1
    };
    assert!(eventually(true, || kept("otel_logs", 77)).await, "{}", edge.logged());
    assert!(kept("otel_traces", 7300).await);
    edge.stop().await;
}
