//! The log cannot be written: its reader ended, or sleeps, or its disk is full. What otelgate does goes on.

use std::process::Stdio;

use otelgate::signal::Signal;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

const REQUESTS: u64 = 60;
const RECORDS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_of_the_log_ended() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    everything_is_stored("unheard_ended", writer.into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_of_the_log_sleeps() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    everything_is_stored("unheard_sleeps", writer.into()).await;
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_log_is_full() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is full");
    everything_is_stored("unheard_full", full.into()).await;
}

/// Requests are answered and delivered, the lines that nobody got are counted, and SIGTERM ends it in order.
async fn everything_is_stored(name: &str, stderr: Stdio) {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sections = format!(
        "spool: {{ dir: {} }}\nbatch: {{ max_age: 100ms }}\nlog: {{ level: trace }}\nshutdown: {{ drain_delay: 0s }}\n",
        folder.path().join("spool").display()
    );
    let edge =
        Edge::start(clickhouse, Setup { name, sections: &sections, stderr: Some(stderr), ..Setup::default() }).await;
    let client = edge.client(true);
    for request in 0..REQUESTS {
        let protocol = Protocol::ALL[request as usize % 3];
        let body = numbered(Signal::Logs, protocol, name, request * RECORDS, RECORDS);
        let answer = client.send(Call::export(protocol, Signal::Logs, KEY, body)).await;
        assert!(answer.accepted(protocol), "{answer:?}");
    }
    let rows = format!("SELECT uniqExact(LogAttributes['seq']) FROM {}.otel_logs", edge.database);
    let all = REQUESTS * RECORDS;
    assert_eq!(eventually(all, async || clickhouse.number(&rows).await.expect("a number")).await, all);
    let metrics = get_text(&edge.gateway.admin, "/metrics").await.1;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("otelgate_log_lines_dropped_total "));
    // What a pipe holds, and what waits to be written to it, is not dropped yet.
    assert!(name == "unheard_sleeps" || dropped.expect("the metric").parse::<u64>().expect("a number") > 0);
    edge.stop().await;
}
