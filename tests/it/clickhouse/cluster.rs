//! Tables of several servers, and of one that does not let everything be chosen.

use otelgate::config::{Layout, Replicated};
use otelgate::sink::clickhouse::schema::{Definitions, Target, Version, identifier, literal, statements_for};
use otelgate::sink::clickhouse::{ClickHouse, apply_schema};
use otelgate::sink::{Outcome, Sink as _};
use stack::{Cluster, Tunnel};

use super::schema::applied;
use super::tls::terminator;
use super::{Config, Database, logs};
use crate::support::eventually;

fn replicated() -> Replicated {
    let path = "/clickhouse/tables/{shard}/{database}/{table}".to_owned();
    Replicated { path, replica: "{replica}".to_owned() }
}

fn over(cluster: &str) -> Layout {
    Layout { replicated: None, cluster: Some(cluster.to_owned()), suffix: "_local".to_owned(), distributed: true }
}

#[tokio::test]
async fn the_engine_reads_every_statement_for_a_cluster() {
    let database = Database::new("cluster_text").await;
    for (replicated, definitions, on_cluster) in [
        (Some(replicated()), Definitions::Own, true),
        (Some(replicated()), Definitions::Own, false),
        (None, Definitions::Own, true),
        (Some(replicated()), Definitions::Replicated, false),
        (None, Definitions::Shared, false),
    ] {
        let config = Config { schema: Box::new(Layout { replicated, ..over("a-cluster") }), ..database.config() };
        let target = Target { definitions, on_cluster, ..Target::of(Version::NEWEST) };
        let all = statements_for(&config, &target);
        assert_eq!(all.len(), 12 + 10, "each table that holds rows has one over it");
        for statement in all {
            let sql = &statement.sql;
            let read = database.server.query(&format!("SELECT formatQuery({})", literal(sql)), "TabSeparated").await;
            read.unwrap_or_else(|error| panic!("{error:#}: {sql}"));
            assert_eq!(sql.contains(" ON CLUSTER `a-cluster`"), on_cluster, "{sql}");
            let is_replicated = sql.contains("ENGINE = Replicated");
            assert_eq!(sql.contains(" replicated_deduplication_window_seconds = "), is_replicated, "{sql}");
            assert!(!is_replicated || !sql.contains("non_replicated"), "{sql}");
        }
    }
}

#[tokio::test]
async fn rows_lie_in_local_tables_and_are_read_through_those_over_them() {
    let database = Database::new("cluster_local").await;
    let config = Config { schema: Box::new(over("here")), ..database.config() };
    // Who makes tables of this engine needs a right that the ingest user of the tests has not.
    let (user, password) = database.server.admin.clone();
    let admin = Config { user, password: otelgate::config::Secret::new(password), ..config.clone() };
    assert_eq!(applied(&admin).await.len(), 22);
    assert!(applied(&admin).await.iter().all(|done| !done.created));

    let sink = ClickHouse::connect(Config { create_schema: false, ..config }, None).await.unwrap();
    let part = logs(&sink, "local", 3, 20);
    for attempt in 0..2 {
        let part = otelgate::sink::PartDelivery { attempt, ..part.clone() };
        assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    }
    assert_eq!(database.rows("otel_logs_local").await, part.rows, "and once: the window is the local table's");
    assert_eq!(sink.look(&part).await, otelgate::sink::Look::Present);
    let columns = |table: &str| {
        let sql = format!(
            "SELECT name, type, default_kind FROM system.columns WHERE database = '{}' AND table = '{table}' ORDER BY position",
            database.name
        );
        async move { database.server.query(&sql, "TabSeparated").await.unwrap() }
    };
    for table in ["otel_logs", "otel_traces", "otel_metrics_sum", "otel_logs_kv_rollup_15m"] {
        assert_eq!(columns(table).await, columns(&format!("{table}_local")).await, "{table}");
    }
    let engine = "SELECT count() FROM system.tables WHERE database = '{db}' AND engine = 'Distributed'";
    assert_eq!(database.number(engine).await, 10);
    assert!(database.rows("otel_logs_kv_rollup_15m_local").await > 0, "the view is local to local");
}

/// As ClickHouse Cloud: TLS, one address whose connections end, a user who may not choose every setting.
#[tokio::test]
async fn settings_that_may_not_be_chosen_are_left_out() {
    let database = Database::new("limited").await;
    let (port, certificate) = terminator(&database.server.url).await;
    let (tunnel, folder) = (Tunnel::start(port).await.unwrap(), tempfile::tempdir().unwrap());
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate).unwrap();
    let config = Config {
        urls: vec![format!("https://localhost:{}", tunnel.port).parse().unwrap()],
        ca_file: Some(ca_file),
        user: "hyperdx_limited".to_owned(),
        ..database.config()
    };
    let sink = ClickHouse::connect(config, None).await.unwrap();
    let definition = "SELECT engine_full FROM system.tables WHERE database = '{db}' AND name = 'otel_logs'";
    let made = database.server.query(&definition.replace("{db}", &database.name), "TabSeparated").await.unwrap();
    for left_out in ["fsync_after_insert", "fsync_part_directory", "non_replicated_deduplication_window"] {
        assert!(!made.contains(left_out), "{made}");
    }
    assert!(made.contains("ttl_only_drop_parts = 1, enable_block_number_column = 1"), "{made}");
    let mut rows = 0;
    for token in ["one", "two", "three"] {
        let part = logs(&sink, token, 1, 20);
        assert_eq!(eventually(Outcome::Delivered, || sink.deliver(&part)).await, Outcome::Delivered);
        rows += part.rows;
        tunnel.cut();
    }
    assert_eq!(database.rows("otel_logs").await, rows);
}

/// Two replicas beside a ZooKeeper, and a third address where nobody is.
#[tokio::test]
#[ignore = "takes a ZooKeeper; make test-cluster"]
async fn replicated_tables_keep_what_either_replica_takes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cluster) = Cluster::start(folder.path()).await.unwrap() else { return };
    let name = "otel_test_replicated";
    cluster.query(&format!("CREATE DATABASE IF NOT EXISTS {}", identifier(name))).await.unwrap();
    let first = &cluster.replicas[0];
    let mut urls: Vec<http::Uri> = cluster.replicas.iter().map(|replica| replica.url.parse().unwrap()).collect();
    urls.insert(0, "http://127.0.0.1:1".parse().unwrap());
    let (user, password) = first.admin.clone();
    let config = Config {
        urls,
        user,
        password: otelgate::config::Secret::new(password),
        schema: Box::new(Layout { replicated: Some(replicated()), ..over("replicas") }),
        ..Database::of(name).await.config()
    };
    let all = apply_schema(&config).await.unwrap();
    assert!(all[0].outcome.is_err(), "nobody is there");
    for applied in &all[1..] {
        let done = applied.outcome.as_ref().unwrap_or_else(|error| panic!("{}: {error}", applied.server));
        assert!(done.len() == 22 && done.iter().all(|done| done.created), "{done:?}");
    }
    let sink = ClickHouse::connect(config, None).await.unwrap();
    let mut rows = 0;
    for token in ["one", "two", "two"] {
        let part = logs(&sink, token, 2, 20);
        assert_eq!(eventually(Outcome::Delivered, || sink.deliver(&part)).await, Outcome::Delivered);
        rows += if token == "one" || rows == part.rows { part.rows } else { 0 };
    }
    for replica in &cluster.replicas {
        for sql in [
            format!("SELECT count() FROM {name}.otel_logs_local"),
            format!("SELECT count() FROM {name}.otel_logs"),
            format!("SELECT sum(count) FROM {name}.otel_logs_kv_rollup_15m_local WHERE Key = 'ServiceName'"),
        ] {
            let found = eventually(rows, async || replica.number(&sql).await.unwrap_or_default()).await;
            assert_eq!(found, rows, "{}: {sql}", replica.url);
        }
    }
    cluster.stop().await.unwrap();
}
