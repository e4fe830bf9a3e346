//! A materialized view of somebody's own that reads a table and fails: the table's rows are stored once, nothing is divided or repeated for
//! it, and `/status` says that the view fails.

use otelgate::signal::Signal;
use serde_json::Value;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

async fn send(edge: &Edge, service: &str, requests: u64) {
    let client = edge.client(true);
    for number in 0..requests {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, service, number * 2, 2);
        let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

async fn status(edge: &Edge) -> Value {
    serde_json::from_str(&edge.gateway.get("/status").await.expect("status")).expect("JSON")
}

async fn account(edge: &Edge) -> [u64; 3] {
    let status = status(edge).await;
    ["stored", "quarantined", "waiting"].map(|place| status["rows"][place].as_u64().expect("a number"))
}

/// The view's code is one that ClickHouse raises for rows that it refuses, and one that nobody expects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_fails_costs_the_table_nothing() {
    let clickhouse = clickhouse().await;
    for (name, window, view) in [
        ("views_cast", true, "toUInt64(Body)"),
        ("views_cast_no_window", false, "toUInt64(Body)"),
        ("views_throw", true, "throwIf(Body = 'worked')"),
        ("views_throw_no_window", false, "throwIf(Body = 'worked')"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let sections = format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 500ms }}\n", folder.path().display());
        let edge = Edge::start(clickhouse, Setup { name, sections: &sections, ..Setup::default() }).await;
        let database = &edge.database;
        if !window {
            let reset = format!("ALTER TABLE {database}.otel_logs RESET SETTING non_replicated_deduplication_window");
            clickhouse.query(&reset, "Null").await.expect("no window");
        }
        let view = format!(
            "CREATE MATERIALIZED VIEW {database}.mine ENGINE = MergeTree ORDER BY n AS SELECT {view} AS n FROM {database}.otel_logs"
        );
        clickhouse.query(&view, "Null").await.expect("a view");
        let edge = edge.start_again().await;
        let table = format!("{}.otel_logs", edge.database);
        send(&edge, "good", 4).await;
        assert_eq!(eventually([8, 0, 0], || account(&edge)).await, [8, 0, 0], "{name}: {}", edge.logged());
        let number =
            async |what: &str| clickhouse.number(&format!("SELECT {what} FROM {table}")).await.expect("a number");
        assert_eq!(number("count()").await, 8, "{name}: rows are stored once");
        let why = status(&edge).await["tables"]["otel_logs"]["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(why.starts_with("the rows are stored, but") && why.contains("mine"), "{name}: {why}");
        edge.stop().await;
    }
}

/// An exception that otelgate does not know, because of one request's rows: the part is divided within seconds, not after all attempts of an insert.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_that_nobody_knows_costs_the_rows_beside_it_seconds() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sections = format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 3s }}\n", folder.path().display());
    let edge = Edge::start(clickhouse, Setup { name: "views_odd", sections: &sections, ..Setup::default() }).await;
    let table = format!("{}.otel_logs", edge.database);
    let check = format!("ALTER TABLE {table} ADD CONSTRAINT odd CHECK throwIf(ServiceName = 'sour') = 0");
    clickhouse.query(&check, "Null").await.expect("a constraint");
    send(&edge, "good", 900).await;
    send(&edge, "sour", 1).await;
    send(&edge, "better", 100).await;
    let rows = async || {
        let rows = format!("SELECT count() FROM {table}");
        clickhouse.number(&rows).await.expect("a number")
    };
    assert_eq!(eventually(2000, &rows).await, 2000, "{:?} {}", account(&edge).await, edge.logged());
    let drop = format!("ALTER TABLE {table} DROP CONSTRAINT odd");
    clickhouse.query(&drop, "Null").await.expect("no constraint");
    assert_eq!(eventually([2002, 0, 0], || account(&edge)).await, [2002, 0, 0], "{}", edge.logged());
    assert_eq!(rows().await, 2002);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_without_its_target_holds_until_it_is_mended() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sections = format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 500ms }}\n", folder.path().display());
    let edge = Edge::start(clickhouse, Setup { name: "views_target", sections: &sections, ..Setup::default() }).await;
    let run = async |sql: &str| {
        clickhouse.query(&sql.replace("{db}", &edge.database), "Null").await.expect("a statement");
    };
    run("ALTER TABLE {db}.otel_logs RESET SETTING non_replicated_deduplication_window").await;
    run("CREATE TABLE {db}.target (s String) ENGINE = MergeTree ORDER BY s").await;
    run("CREATE MATERIALIZED VIEW {db}.mine TO {db}.target AS SELECT ServiceName AS s FROM {db}.otel_logs").await;
    run("DROP TABLE {db}.target SYNC").await;
    send(&edge, "good", 2).await;
    let held = async || status(&edge).await["tables"]["otel_logs"]["parts_held"].as_u64().expect("a number");
    assert_eq!(eventually(1, held).await, 1, "{}", edge.logged());
    let why = status(&edge).await["tables"]["otel_logs"]["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("mine"), "{why}");
    run("CREATE TABLE {db}.target (s String) ENGINE = MergeTree ORDER BY s").await;
    assert_eq!(eventually([4, 0, 0], || account(&edge)).await, [4, 0, 0], "{}", edge.logged());
    for table in ["otel_logs", "target"] {
        let rows =
            clickhouse.number(&format!("SELECT count() FROM {}.{table}", edge.database)).await.expect("a number");
        assert_eq!(rows, 4, "{table}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_may_be_left_to_themselves() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    // The setting is one of section sink.clickhouse.
    let sections = format!("spool: {{ dir: {} }}\nbatch: {{ max_age: 500ms }}\n", folder.path().display());
    let sink = "ignore_view_errors: true";
    let edge =
        Edge::start(clickhouse, Setup { name: "views_ignored", sections: &sections, sink, ..Setup::default() }).await;
    let run = async |sql: &str| {
        clickhouse.query(&sql.replace("{db}", &edge.database), "Null").await.expect("a statement");
    };
    run("CREATE TABLE {db}.target (s String) ENGINE = MergeTree ORDER BY s").await;
    run("CREATE MATERIALIZED VIEW {db}.mine TO {db}.target AS SELECT ServiceName AS s FROM {db}.otel_logs").await;
    run("DROP TABLE {db}.target SYNC").await;
    let edge = edge.start_again().await;
    send(&edge, "good", 2).await;
    assert_eq!(eventually([4, 0, 0], || account(&edge)).await, [4, 0, 0], "{}", edge.logged());
    let counted = format!("SELECT sum(count) FROM {}.otel_logs_kv_rollup_15m WHERE Key = 'ServiceName'", edge.database);
    assert_eq!(clickhouse.number(&counted).await.expect("a number"), 4, "ClickStack's own view has its rows");
    edge.stop().await;
}
