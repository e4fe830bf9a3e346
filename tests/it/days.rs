//! An insert touches one partition, whatever timestamps clients send: ClickHouse then takes all of it or nothing.

use opentelemetry_proto::tonic::trace::v1::Span;
use otelgate::signal::Signal;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{MOMENT, traces};
use crate::support::{clickhouse, eventually};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

#[tokio::test]
async fn one_insert_one_partition() {
    let clickhouse = clickhouse().await;
    let ttl = "{ logs: 0s, traces: 0s, metrics: 0s, sessions: 0s }";
    let edge = Edge::start(clickhouse, Setup { name: "days", ttl, ..Setup::default() }).await;
    let client = edge.client(true);
    // The epoch, long ago, both sides of midnight, years ahead, and the largest that a column holds.
    let midnight = MOMENT - MOMENT % DAY;
    let moments = [0, 1, DAY - 1, 400 * DAY, midnight - 1, midnight, MOMENT, MOMENT + 1000 * DAY, i64::MAX as u64];
    let spans = spans(&moments);
    let sent = u64::try_from(spans.len()).expect("small");
    let body = traces("days", spans);
    let calls = (0..2).map(|_| client.send(Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body.clone())));
    let answers: Vec<_> = {
        let mut calls = calls;
        let both = tokio::join!(calls.next().expect("a call"), calls.next().expect("a call"));
        vec![both.0, both.1]
    };
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body.is_empty()), "{answers:?}");

    let parts =
        format!("FROM system.part_log WHERE event_type = 'NewPart' AND error = 0 AND database = '{}'", edge.database);
    let rows = format!("SELECT sum(rows) {parts} AND table = 'otel_traces'");
    let stored = eventually(2 * sent, async || {
        clickhouse.query("SYSTEM FLUSH LOGS", "TabSeparated").await.expect("flushed");
        clickhouse.number(&rows).await.expect("a number")
    });
    assert_eq!(stored.await, 2 * sent, "every record is inserted, whatever its time");
    let most = "max(partitions)";
    let each =
        format!("SELECT query_id, table, uniqExact(partition_id) AS partitions {parts} GROUP BY query_id, table");
    let most = clickhouse.number(&format!("SELECT {most} FROM ({each})")).await.expect("a number");
    assert_eq!(most, 1, "an insert made parts in several partitions of a table");
    let days = clickhouse.number(&format!("SELECT uniqExact(partition_id) {parts} AND table = 'otel_traces'")).await;
    assert!(days.expect("a number") >= 5, "the moments are of different days");
    edge.stop().await;
}

/// A request that brings more than two months back is one request, whose every day is an insert.
#[tokio::test]
async fn a_backfill_of_65_days_is_stored() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "backfill", ..Setup::default() }).await;
    let moments: Vec<u64> = (0..65).map(|day| MOMENT - day * DAY).collect();
    let body = traces("backfill", spans(&moments));
    let answer = edge.client(true).send(Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body)).await;
    assert!(answer.status == 200 && answer.body.is_empty(), "{answer:?}");
    let days = format!("SELECT uniqExact(toDate(Timestamp)) FROM {}.otel_traces", edge.database);
    assert_eq!(eventually(65, async || clickhouse.number(&days).await.expect("a number")).await, 65);
    edge.stop().await;
}

fn spans(moments: &[u64]) -> Vec<Span> {
    (1..)
        .zip(moments)
        .map(|(number, moment): (u64, &u64)| Span {
            trace_id: u128::from(number).to_be_bytes().to_vec(),
            span_id: number.to_be_bytes().to_vec(),
            name: "work".to_owned(),
            start_time_unix_nano: *moment,
            end_time_unix_nano: moment.saturating_add(SECOND),
            ..Default::default()
        })
        .collect()
}
