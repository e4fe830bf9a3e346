//! Readiness says what is so, and nobody asks ClickHouse anything while nobody needs an answer.

use std::time::Duration;

use otelgate::signal::Signal;
use stack::ClickHouse;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{eventually, get_text, otelgate};

async fn send(client: &Client, service: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, service, 0, 1);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await.status
}

/// Waits until `/readyz` has this status and says this; the last answer when it does not.
async fn says(edge: &Edge, status: u16, words: &str) -> (u16, String) {
    let expected = true;
    let ask = async || {
        let (found, text) = get_text(&edge.gateway.admin, "/readyz").await;
        found == status && text.contains(words)
    };
    let said = eventually(expected, ask).await;
    let last = get_text(&edge.gateway.admin, "/readyz").await;
    assert!(said, "not {status} {words}: {last:?}");
    last
}

#[tokio::test]
async fn with_a_spool_a_sink_that_is_gone_is_information() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut clickhouse = ClickHouse::start(folder.path(), 0).await.expect("ClickHouse");
    let sections = format!("spool: {{ dir: {} }}\n", folder.path().join("spool").display());
    let edge = Edge::start(&clickhouse, Setup { name: "ready_spool", sections: &sections, ..Setup::default() }).await;
    says(&edge, 200, "ok sink").await;
    clickhouse.stop(true).await.expect("gone");
    // Nobody sends anything; who asks is told all the same.
    says(&edge, 200, "degraded sink: ").await;
    assert_eq!(send(&edge.client(true), "spooled").await, 200);
    clickhouse.start_again().await.expect("back");
    says(&edge, 200, "ok sink").await;
    edge.stop().await;
}

#[tokio::test]
async fn without_a_spool_readiness_follows_what_deliveries_meet() {
    let folder = tempfile::tempdir().expect("a folder");
    let clickhouse = ClickHouse::start(folder.path(), 0).await.expect("ClickHouse");
    let socket = folder.path().join("admin.sock");
    let sections = format!("batch: {{ max_age: 100ms, deadline: 1s }}\nadmin: {{ socket: '{}' }}\n", socket.display());
    let edge = Edge::start(&clickhouse, Setup { name: "ready_hold", sections: &sections, ..Setup::default() }).await;
    let client = edge.client(true);
    assert_eq!(send(&client, "stored").await, 200);
    says(&edge, 200, "ok sink").await;
    // The same through the command that a container's health check runs.
    let config = edge.config().display().to_string();
    let health = async || {
        let asked = otelgate(&["health", "--config", &config]).await;
        (asked.status.code(), String::from_utf8_lossy(&asked.stdout).into_owned())
    };
    let (code, said) = health().await;
    assert!(code == Some(0) && said.contains("ok sink"), "{code:?} {said}");
    let run = async |sql: &str| {
        clickhouse.query(&sql.replace("{db}", &edge.database), "Null").await.expect("run");
    };
    run("RENAME TABLE {db}.otel_logs TO {db}.elsewhere").await;
    assert_eq!(send(&client, "refused").await, 503);
    let (_, text) = says(&edge, 503, "no sink: otel_logs: ").await;
    assert!(text.contains("UNKNOWN_TABLE") && text.contains("schema apply"), "{text}");
    let (code, said) = health().await;
    assert!(code == Some(1) && said.contains("no sink: otel_logs: "), "{code:?} {said}");
    // It is seen to be mended though nobody sends anything to a gateway that is not ready.
    run("RENAME TABLE {db}.elsewhere TO {db}.otel_logs").await;
    says(&edge, 200, "ok sink").await;
    assert_eq!(send(&client, "again").await, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_idle_gateway_asks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let clickhouse = ClickHouse::start(folder.path(), 0).await.expect("ClickHouse");
    let spool = format!("spool: {{ dir: {} }}\n", folder.path().join("spool").display());
    for (name, sections, expected) in [
        ("idle_spool", format!("    schema_max_age: 1s\n    answer_max_age: 1s\n{spool}"), false),
        ("idle_direct", String::new(), false),
        // Somebody needs the answer, and what was heard is too old.
        ("idle_asked", "    answer_max_age: 1s\n".to_owned(), true),
    ] {
        let edge = Edge::start(&clickhouse, Setup { name, sections: &sections, ..Setup::default() }).await;
        says(&edge, 200, "ok sink").await;
        let count = async || {
            clickhouse.query("SYSTEM FLUSH LOGS", "Null").await.expect("flushed");
            let queries = format!(
                "SELECT count() FROM system.query_log WHERE type = 'QueryStart' AND user = '{}'",
                clickhouse.user
            );
            clickhouse.number(&queries).await.expect("a number")
        };
        let before = count().await;
        for _ in 0..12 {
            assert_eq!(get_text(&edge.gateway.admin, "/readyz").await.0, 200);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let asked = count().await - before;
        assert_eq!(asked > 0, expected, "{name}: {asked} queries in 12 s");
        assert!(asked <= 12, "{name}: {asked} queries in 12 s");
        edge.stop().await;
    }
}
