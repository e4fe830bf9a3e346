//! Skip indexes are left to merges, unless a person wants them in every insert; searches find the same rows before and after.

use otelgate::sink::clickhouse::ClickHouse;
use otelgate::sink::{Outcome, Sink as _};

use super::{Database, logs};

/// As HyperDX searches: a word of the body, an attribute, an id; each served by a text index.
const SEARCHES: [&str; 3] = [
    "hasToken(lower(Body), 'warehouse')",
    "has(LogAttributeItems, 'log.iostream=stderr')",
    "TraceId = (SELECT max(TraceId) FROM {db}.otel_logs)",
];

async fn index_bytes(database: &Database) -> u64 {
    database
        .number(
            "SELECT sum(secondary_indices_compressed_bytes) FROM system.parts \
             WHERE active AND database = '{db}' AND table = 'otel_logs'",
        )
        .await
}

/// How many rows each search finds; the same with indexes and without.
async fn found(database: &Database) -> [u64; 3] {
    let mut counts = [0; 3];
    for (search, count) in SEARCHES.iter().zip(&mut counts) {
        let by = async |used: u8| {
            let sql = format!("SELECT count() FROM {{db}}.otel_logs WHERE {search} SETTINGS use_skip_indexes = {used}");
            database.number(&sql).await
        };
        *count = by(1).await;
        assert_eq!(*count, by(0).await, "{search}");
    }
    counts
}

#[tokio::test]
async fn skip_indexes_come_with_the_merge() {
    let database = Database::new("indexes").await;
    let sink = database.sink().await;
    database.run("SYSTEM STOP MERGES {db}.otel_logs").await;
    for token in ["one", "two", "three"] {
        assert_eq!(sink.deliver(&logs(&sink, token, 4, 100)).await, Outcome::Delivered);
    }
    assert_eq!(index_bytes(&database).await, 0, "an insert builds no index");
    let compact =
        "SELECT countIf(part_type = 'Compact') FROM system.parts WHERE database = '{db}' AND table = 'otel_logs'";
    assert_eq!(database.number(compact).await, 3);
    let before = found(&database).await;
    assert!(before.iter().all(|count| (1..1200).contains(count)), "{before:?}");

    database.run("SYSTEM START MERGES {db}.otel_logs").await;
    database.run("OPTIMIZE TABLE {db}.otel_logs FINAL").await;
    assert!(index_bytes(&database).await > 0, "the merge builds them");
    assert_eq!(found(&database).await, before);
}

#[tokio::test]
async fn skip_indexes_come_with_the_insert_when_asked_for() {
    let database = Database::new("indexes_asked").await;
    let mut config = database.config();
    config.materialize_skip_indexes_on_insert = true;
    let sink = ClickHouse::connect(config, None).await.unwrap();
    assert_eq!(sink.deliver(&logs(&sink, "one", 4, 100)).await, Outcome::Delivered);
    assert!(index_bytes(&database).await > 0);
}
