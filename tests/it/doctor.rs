//! `otelgate doctor` against a real stand: what is good is ok, and what is then spoiled is named with what mends it.

use std::collections::BTreeMap;

use otelgate::signal::Signal;
use serde_json::Value;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

/// The exit code, and each check's outcome and text; of several of one name the last.
async fn doctor(edge: &Edge, more: &[&str]) -> (Option<i32>, BTreeMap<String, (String, String)>) {
    let mut command = edge.files.command().expect("built");
    command.args(["doctor", "--json", "--config"]).arg(edge.config()).args(more).kill_on_drop(true);
    let output = command.output().await.expect("runs");
    (output.status.code(), found(&output))
}

fn found(output: &std::process::Output) -> BTreeMap<String, (String, String)> {
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let each = found.iter().map(|finding| {
        let all = ["what", "mend"].map(|name| text(finding, name)).join(" → ");
        (text(finding, "check"), (text(finding, "outcome"), all))
    });
    each.collect()
}

/// What is found only when it is asked for: the listener that runs, a Compose file, HyperDX's user, what an administrator may know.
async fn more_is_looked_at(edge: &Edge, clickhouse: &stack::ClickHouse) {
    let compose = edge.files.config.with_extension("compose.yaml");
    let text =
        "services:\n  app: { image: clickhouse/clickstack, ports: ['8080:8080'], environment: { A_TOKEN: abc } }\n";
    std::fs::write(&compose, text).expect("written");
    let config = std::fs::read_to_string(&edge.files.config).expect("read");
    let port = edge.gateway.otlp[0].rsplit(':').next().expect("a port");
    let running = edge.files.config.with_extension("running.yaml");
    std::fs::write(&running, config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1)).expect("written");
    let mut command = edge.files.command().expect("built");
    let (administrator, password) = &clickhouse.admin;
    command
        .args(["doctor", "--json", "--as", administrator, "--administrator", administrator, "--compose"])
        .arg(&compose)
        .arg("--config")
        .arg(&running)
        .env("OTELGATE_AS_PASSWORD", password)
        .env("OTELGATE_ADMINISTRATOR_PASSWORD", password)
        .kill_on_drop(true);
    let found = found(&command.output().await.expect("runs"));
    for (check, outcome) in [
        ("TLS versions", "ok"),
        ("address restriction", "ok"),
        ("quota", "warning"),
        ("settings profile", "ok"),
        ("skip indexes", "ok"),
        ("merges", "ok"),
        ("partitions", "ok"),
        ("HyperDX's rights", "wrong"),
        ("HyperDX's settings", "warning"),
        ("published ports", "wrong"),
        ("session secret", "wrong"),
        ("secrets in the file", "warning"),
    ] {
        // Another server than the engine of development has users of its own.
        if std::env::var_os("CLICKHOUSE_URL").is_none() || check != "quota" {
            assert_eq!(found.get(check).map(|(outcome, _)| outcome.as_str()), Some(outcome), "{check}: {found:?}");
        }
    }
    assert!(found["TLS versions"].1.contains("TLS 1.2, TLS 1.3"), "{found:?}");
}

#[tokio::test]
async fn what_is_spoiled_is_named() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "doctor", ..Setup::default() }).await;
    let (_, found) = doctor(&edge, &[]).await;
    for check in [
        "file modes",
        "memory",
        "transport",
        "login",
        "clock",
        "deduplication",
        "time to live",
        "parts",
        "mutations",
        "replicas",
    ] {
        assert_eq!(found.get(check).map(|(outcome, _)| outcome.as_str()), Some("ok"), "{check}: {found:?}");
    }
    assert_eq!(found["keys"].0, "warning", "a key for ever: {found:?}");
    for change in [
        "MODIFY SETTING non_replicated_deduplication_window = 0",
        "MODIFY TTL toDateTime(Timestamp) + toIntervalDay(1)",
    ] {
        let alter = format!("ALTER TABLE {}.otel_logs {change}", edge.database);
        clickhouse.query(&alter, "TabSeparated").await.expect("altered");
    }
    let (_, found) = doctor(&edge, &["--from-outside", "127.0.0.1"]).await;
    for (check, says) in [
        ("deduplication", "otel_logs MODIFY SETTING non_replicated_deduplication_window = 10000"),
        ("time to live", "otel_logs keeps rows 1 day, the configuration says 7300 days"),
    ] {
        let (outcome, text) = &found[check];
        assert!(outcome == "warning" && text.contains(says), "{check}: {found:?}");
    }
    assert!(found.contains_key("exposure"), "{found:?}");
    // The engine of development lets `default` in without a password.
    if std::env::var_os("CLICKHOUSE_URL").is_none() {
        let (code, found) = doctor(&edge, &[]).await;
        assert_eq!((code, found["default user"].0.as_str()), (Some(1), "wrong"), "{found:?}");
    }
    more_is_looked_at(&edge, clickhouse).await;
    let broken = edge.files.config.with_extension("broken.yaml");
    std::fs::write(&broken, "limit: 1\n").expect("written");
    let mut command = edge.files.command().expect("built");
    let output = command.args(["doctor", "--config"]).arg(&broken).output().await.expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("did you mean `limits`"), "{said}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_process_is_asked() {
    let (clickhouse, folder) = (clickhouse().await, tempfile::tempdir().expect("a folder"));
    let sections =
        format!("admin: {{ socket: {0}/admin.sock }}\nspool: {{ dir: {0}/spool }}\n", folder.path().display());
    let edge = Edge::start(clickhouse, Setup { name: "doctor_running", sections: &sections, ..Setup::default() }).await;
    let checks = ["running process", "sink", "held parts", "tables' errors", "quarantine", "delivery", "spool's fill"];
    let (_, found) = doctor(&edge, &[]).await;
    for check in checks {
        assert_eq!(found.get(check).map(|(outcome, _)| outcome.as_str()), Some("ok"), "{check}: {found:?}");
    }
    clickhouse.query(&format!("DROP TABLE {}.otel_logs", edge.database), "TabSeparated").await.expect("dropped");
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "doctor_running", 0, 3);
    let call = Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body);
    assert_eq!(edge.client(true).send(call).await.status, 200);
    let held = || async { doctor(&edge, &[]).await.1["held parts"].clone() };
    assert_eq!(eventually("wrong".to_owned(), async || held().await.0).await, "wrong", "{}", edge.logged());
    let said = held().await.1;
    assert!(
        said.contains("otel_logs waits for a person, with 3 rows") && said.contains("spool list --config"),
        "{said}"
    );
    // One that does not run is no mistake.
    edge.gateway.process.kill().await.expect("killed");
    let mut command = edge.files.command().expect("built");
    let output = command.args(["doctor", "--json", "--config"]).arg(&edge.files.config).output().await.expect("runs");
    let found = self::found(&output);
    assert_eq!(found["running process"].0, "cannot-tell", "{found:?}");
    assert!(found["running process"].1.contains("nothing listens"), "{found:?}");
    assert!(checks[1..].iter().all(|check| !found.contains_key(*check)), "{found:?}");
}
