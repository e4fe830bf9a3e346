//! One part, one insert, one token; and what failures mean.

use otelgate::signal::Signal;
use otelgate::sink::{Look, Outcome, Sink as _};
use stack::Samples;

use super::{Database, batch, logs, noon};

/// What a failure means once a look has found nothing: views read the table.
fn meant(outcome: Outcome) -> Outcome {
    let Outcome::Doubtful { or_else } = outcome else { panic!("{outcome:?}") };
    *or_else
}

#[tokio::test]
async fn many_frames_become_one_part_under_one_token() {
    let database = Database::new("token").await;
    let sink = database.sink().await;
    let mut part = logs(&sink, "first", 50, 40);
    assert_eq!(part.body.len(), 50);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
    let parts = "SELECT count() FROM system.parts WHERE database = '{db}' AND table = 'otel_logs'";
    assert_eq!(database.number(parts).await, 1);
    let counted = "SELECT sum(count) FROM {db}.otel_logs_kv_rollup_15m WHERE Key = 'ServiceName'";
    assert_eq!(database.number(counted).await, part.rows);

    part.attempt = 1;
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows, "the same token inserts nothing");
    assert_eq!(database.number(counted).await, part.rows, "nor in the rollup");

    part.token = "second".to_owned();
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, 2 * part.rows);
    assert_eq!(database.number(counted).await, 2 * part.rows);
}

#[tokio::test]
async fn the_largest_batch_is_one_part_too() {
    let database = Database::new("largest").await;
    let sink = database.sink().await;
    let mut part = logs(&sink, "largest", 4, 5000);
    part.body = part.body.iter().cycle().take(30).cloned().collect();
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows / 4 * 30);
    let parts = "SELECT count() FROM system.parts WHERE database = '{db}' AND table = 'otel_logs'";
    assert_eq!(database.number(parts).await, 1);
}

#[tokio::test]
async fn every_signal_and_its_rollup_arrive() {
    let database = Database::new("signals").await;
    let sink = database.sink().await;
    let mut samples = Samples::new(3).at(noon());
    for (signal, request) in [
        (Signal::Traces, samples.traces_bytes(300)),
        (Signal::Logs, samples.logs_bytes(300)),
        (Signal::Metrics, samples.metrics_bytes(300)),
    ] {
        for part in batch(&sink, signal, signal.name(), &[request]) {
            assert_eq!(sink.deliver(&part).await, Outcome::Delivered, "{:?}", part.name);
        }
    }
    assert_eq!(database.rows("otel_traces").await, 300);
    assert_eq!(database.rows("otel_logs").await, 300);
    let metrics = "SELECT count() FROM merge('{db}', '^otel_metrics_')";
    assert_eq!(database.number(metrics).await, 300);
    let pairs = "SELECT sum(count) FROM {db}.otel_traces_kv_rollup_15m";
    assert_eq!(database.number(pairs).await, 6 * 300, "a row a listed column");
    let pairs = "SELECT sum(count) FROM {db}.otel_logs_kv_rollup_15m";
    assert_eq!(database.number(pairs).await, 14 * 300);
}

#[tokio::test]
async fn single_rows_of_a_part_are_cut_out_by_the_server() {
    let database = Database::new("only_rows").await;
    let sink = database.sink().await;
    let mut part = logs(&sink, "whole", 5, 20);
    part.token = "piece".to_owned();
    part.only_rows = Some((15, 30));
    for _ in 0..2 {
        assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
        assert_eq!(database.rows("otel_logs").await, 30);
    }
    part.token = "rest".to_owned();
    part.only_rows = Some((0, 15));
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    part.token = "end".to_owned();
    part.only_rows = Some((45, part.rows - 45));
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
    assert_eq!(database.number("SELECT uniqExact(tuple(*)) FROM {db}.otel_logs").await, part.rows);
}

#[tokio::test]
async fn spoilt_bytes_are_refused_and_leave_nothing() {
    let database = Database::new("spoilt").await;
    let sink = database.sink().await;
    let mut part = logs(&sink, "spoilt", 3, 20);
    let mut bytes = part.body[2].to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    part.body[2] = bytes.into();
    let outcome = meant(sink.deliver(&part).await);
    assert!(matches!(&outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(sink.look(&part).await, Look::Absent);
    assert_eq!(database.rows("otel_logs").await, 0);
}

#[tokio::test]
async fn a_missing_table_holds_until_it_is_back() {
    let database = Database::new("dropped").await;
    let sink = database.sink().await;
    let part = logs(&sink, "held", 1, 20);
    database.run("RENAME TABLE {db}.otel_logs TO {db}.elsewhere").await;
    let outcome = sink.deliver(&part).await;
    let Outcome::Hold { why } = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("UNKNOWN_TABLE (60)") && why.contains("schema apply"), "{why}");
    database.run("RENAME TABLE {db}.elsewhere TO {db}.otel_logs").await;
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
}

#[tokio::test]
async fn a_table_that_changed_is_written_as_it_is_now() {
    let database = Database::new("changed").await;
    let sink = database.sink().await;
    let mut schema = sink.schema();
    schema.mark_unchanged();
    let old = logs(&sink, "old", 1, 20);
    database.run("ALTER TABLE {db}.otel_logs DROP COLUMN EventName").await;
    let outcome = meant(sink.deliver(&old).await);
    assert!(matches!(&outcome, Outcome::Hold { .. }), "{outcome:?}");
    tokio::time::timeout(std::time::Duration::from_secs(30), schema.changed()).await.unwrap().unwrap();
    let new = logs(&sink, "new", 1, 20);
    assert!(!new.columns.iter().any(|column| &**column == "EventName"));
    assert_eq!(sink.deliver(&new).await, Outcome::Delivered);
}
