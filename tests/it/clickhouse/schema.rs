//! The tables are ClickStack's, and what a server lacks or has otherwise is said.

use std::collections::{BTreeMap, BTreeSet};

use otelgate::sink::clickhouse::schema::{Version, statements};
use otelgate::sink::clickhouse::{ClickHouse, Done, StartError, apply_schema};

use super::{Config, Database};

const COLUMNS: &str = include_str!("../../data/clickstack/columns.tsv");
const INDEXES: &str = include_str!("../../data/clickstack/indexes.tsv");
const TABLES: &str = include_str!("../../data/clickstack/tables.tsv");

/// The lines of a file of facts, without its heading.
fn facts(file: &str) -> BTreeSet<&str> {
    file.lines().skip(1).collect()
}

/// What was done on the one server.
pub(super) async fn applied(config: &Config) -> Vec<Done> {
    apply_schema(config).await.unwrap().remove(0).outcome.unwrap()
}

/// A rule about a set of lines: what is missing on either side.
fn same(expected: &BTreeSet<&str>, found: &str) {
    let found: BTreeSet<&str> = found.lines().collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let other: Vec<_> = found.difference(expected).collect();
    assert!(missing.is_empty() && other.is_empty(), "missing: {missing:#?}\nfound instead: {other:#?}");
}

#[tokio::test]
async fn applied_tables_are_clickstacks() {
    let database = Database::new("facts").await;
    let done = applied(&database.config()).await;
    assert_eq!(done.len(), 12);
    assert!(done.iter().all(|done| done.created), "{done:?}");
    let of = |sql: &str| sql.replace("{db}", &database.name);
    let ask = async |sql: &str| database.server.query(&of(sql), "TabSeparated").await.unwrap();

    let columns = ask("SELECT table, position, name, type, default_kind, default_expression, compression_codec \
         FROM system.columns WHERE database = '{db}'");
    same(&facts(COLUMNS), &columns.await);
    let indexes = ask(
        "SELECT table, name, type_full, expr, granularity FROM system.data_skipping_indices WHERE database = '{db}'",
    );
    same(&facts(INDEXES), &indexes.await);
    // What otelgate adds to ClickStack's tables is its own, and nothing else.
    let tables = ask("SELECT name, engine, partition_key, sorting_key, primary_key, engine_full \
         FROM system.tables WHERE database = '{db}' AND engine NOT LIKE '%View'")
    .await
    .replace(", non_replicated_deduplication_window = 10000", "")
    .replace(", fsync_after_insert = 1, fsync_part_directory = 1", "")
    .replace(", min_level_for_wide_part = 1", "");
    same(
        &facts(TABLES).into_iter().map(in_order).collect::<Vec<_>>().iter().map(String::as_str).collect(),
        &all_in_order(&tables),
    );

    let again = applied(&database.config()).await;
    assert!(again.iter().all(|done| !done.created), "{again:?}");
}

/// A table's line with its settings sorted: their order says nothing.
fn in_order(line: &str) -> String {
    let Some((before, settings)) = line.rsplit_once(" SETTINGS ") else { return line.to_owned() };
    let settings: BTreeMap<&str, &str> = settings.split(", ").filter_map(|setting| setting.split_once(" = ")).collect();
    format!("{before} SETTINGS {settings:?}")
}

fn all_in_order(lines: &str) -> String {
    lines.lines().map(|line| in_order(line) + "\n").collect()
}

#[tokio::test]
async fn statements_for_older_servers_run_too() {
    let database = Database::new("older").await;
    for statement in statements(&database.name, &database.config().ttl, Version::new(25, 3)) {
        assert!(!statement.sql.contains("text("), "{}", statement.name);
        database.run(&statement.sql).await;
    }
    database.sink().await;
}

#[tokio::test]
async fn a_time_to_live_of_hours_is_kept() {
    let database = Database::new("ttl").await;
    let mut config = database.config();
    config.ttl.traces = std::time::Duration::from_secs(90 * 60);
    applied(&config).await;
    let found = database
        .number(
            "SELECT count() FROM system.tables WHERE database = '{db}' AND engine_full LIKE '%toIntervalSecond(5400)%'",
        )
        .await;
    assert_eq!(found, 2, "the table and its rollup");
}

#[tokio::test]
async fn missing_tables_and_wrong_columns_are_all_named() {
    let database = Database::new("missing").await;
    let mut config = database.config();
    config.create_schema = false;
    let error = ClickHouse::connect(config.clone(), None).await.unwrap_err();
    assert!(error.to_string().contains("otel_metrics_gauge: no such table"), "{error}");

    applied(&config).await;
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("DROP TABLE {db}.otel_logs").await;
    database
        .run("CREATE TABLE {db}.otel_logs (Timestamp DateTime64(9), Body UInt8) ENGINE = MergeTree ORDER BY ()")
        .await;
    let error = ClickHouse::connect(config, None).await.unwrap_err();
    let StartError::Schema(_) = &error else { panic!("{error}") };
    assert!(error.to_string().contains("otel_logs: column Body has type UInt8"), "{error}");
}

#[tokio::test]
async fn a_start_goes_by_what_was_known_when_clickhouse_is_away() {
    let database = Database::new("known").await;
    let known = (**database.sink().await.schema().borrow()).clone();
    let mut config = database.config();
    config.urls = vec!["http://127.0.0.1:1".parse().unwrap()];
    let error = ClickHouse::connect(config.clone(), None).await.unwrap_err();
    assert!(error.is_away(), "{error}");
    let sink = ClickHouse::connect(config, Some(known.clone())).await.unwrap();
    assert_eq!(**sink.schema().borrow(), known);
}

#[tokio::test]
async fn inserts_at_once_are_as_many_as_the_user_has_cores() {
    let database = Database::new("cores").await;
    let schema = database.sink().await.schema().borrow().clone();
    let cores = database.number("SELECT getSetting('max_threads')").await;
    assert_eq!((schema.threads as u64, schema.inserts_at_once() as u64), (cores, cores.clamp(2, 4)));
}

#[tokio::test]
async fn a_wrong_password_is_said_with_the_remedy() {
    let database = Database::new("password").await;
    let mut config = database.config();
    config.password = otelgate::config::Secret::new("not-the-password");
    let error = ClickHouse::connect(config, None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("AUTHENTICATION_FAILED (516)"), "{text}");
    assert!(text.contains("check user and password"), "{text}");
    assert!(!text.contains("not-the-password"), "{text}");
    assert!(!error.is_away());
}
