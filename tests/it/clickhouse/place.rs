//! What cannot keep rows as they are promised is refused, at the start and later; and what else keeps a start from inserting is said for what it is.

use std::time::Duration;

use otelgate::config::Secret;
use otelgate::sink::clickhouse::{ClickHouse, StartError};
use otelgate::sink::{Condition, Outcome, Sink as _};
use stack::READER;

use super::schema::applied;
use super::tls::terminator;
use super::{Database, logs};

/// Things that stand where `otel_logs` should, and what is said of them.
const PLACES: [(&str, &str); 6] = [
    (
        "CREATE TABLE {db}.otel_logs AS {db}.kept ENGINE = Distributed('here', '{db}', 'kept', rand())",
        "is a Distributed table",
    ),
    (
        "CREATE TABLE {db}.otel_logs AS {db}.kept ENGINE = Buffer('{db}', 'kept', 1, 10, 100, 10000, 1000000, 10000000, 100000000)",
        "is a Buffer",
    ),
    ("CREATE TABLE {db}.otel_logs AS {db}.kept ENGINE = Null", "is a Null table"),
    ("CREATE TABLE {db}.otel_logs AS {db}.kept ENGINE = Memory", "has the engine Memory"),
    ("CREATE VIEW {db}.otel_logs AS SELECT * FROM {db}.kept", "is a view (View)"),
    (
        "CREATE MATERIALIZED VIEW {db}.otel_logs ENGINE = MergeTree ORDER BY () AS SELECT * FROM {db}.kept",
        "is a view (MaterializedView)",
    ),
];

#[tokio::test]
async fn what_keeps_no_parts_is_refused_at_the_start() {
    let database = Database::new("places").await;
    let mut config = database.config();
    applied(&config).await;
    config.create_schema = false;
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("RENAME TABLE {db}.otel_logs TO {db}.kept").await;
    for (definition, said) in PLACES {
        database.run(definition).await;
        let error = ClickHouse::connect(config.clone(), None).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StartError::Schema(_)) && text.contains(&format!("otel_logs {said}")), "{text}");
        database.run("DROP TABLE {db}.otel_logs").await;
    }
    database.run(PLACES[0].0).await;
    let text = ClickHouse::connect(config, None).await.unwrap_err().to_string();
    assert!(text.contains(&format!("let otel_logs be the table behind it ({}.kept)", database.name)), "{text}");
}

#[tokio::test]
async fn a_table_that_becomes_one_is_held_with_the_sentence() {
    let database = Database::new("becomes").await;
    let mut config = database.config();
    (config.schema_max_age, config.answer_max_age) = (Duration::from_millis(1), Duration::from_millis(1));
    let sink = ClickHouse::connect(config.clone(), None).await.unwrap();
    let part = logs(&sink, "before", 1, 20);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("RENAME TABLE {db}.otel_logs TO {db}.kept").await;
    database.run(PLACES[0].0).await;
    let said = |outcome: &Outcome| matches!(outcome, Outcome::Hold { why } if why.contains("is a Distributed table"));
    let later = logs(&sink, "later", 1, 20);
    let outcome = sink.deliver(&later).await;
    assert!(said(&outcome), "{outcome:?}");
    let condition = sink.ready().await;
    assert!(matches!(&condition, Condition::Out(why) if why.contains("is a Distributed table")), "{condition:?}");
    // A process that starts with what this one knew holds it from its first insert on.
    config.create_schema = false;
    let known = (**sink.schema().borrow()).clone();
    let again = ClickHouse::connect(config, Some(known)).await.unwrap();
    let outcome = again.deliver(&later).await;
    assert!(said(&outcome), "{outcome:?}");
    assert_eq!(database.rows("kept").await, 20, "nothing came through it");

    database.run("DROP TABLE {db}.otel_logs").await;
    database.run("RENAME TABLE {db}.kept TO {db}.otel_logs").await;
    assert_eq!(sink.deliver(&later).await, Outcome::Delivered);
    assert_eq!(sink.condition(), Condition::Well);
    assert_eq!(database.rows("otel_logs").await, 40);
}

#[tokio::test]
async fn a_missing_right_and_a_missing_database_are_told_apart() {
    let database = Database::new("rights").await;
    applied(&database.config()).await;
    if database.server.process().is_some() {
        let config = otelgate::config::ClickHouse { user: READER.to_owned(), ..database.config() };
        let error = ClickHouse::connect(config, None).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StartError::Insert(_)) && !error.is_away(), "{text}");
        for part in ["otel_logs: ", "otel_metrics_sum: ", "ACCESS_DENIED (497)", "grant the ingest user its rights"] {
            assert!(text.contains(part), "no {part}: {text}");
        }
    }
    // The rights for one are there, for the other not: neither database is.
    for name in ["otel_test_sink_never_made", "never_made"] {
        for create_schema in [true, false] {
            let config = otelgate::config::ClickHouse { database: name.to_owned(), create_schema, ..database.config() };
            let error = ClickHouse::connect(config, None).await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, StartError::NoDatabase(_)), "{text}");
            assert!(text.contains(&format!("CREATE DATABASE {name}")) && !text.contains("grant"), "{text}");
        }
    }
    let config = otelgate::config::ClickHouse { password: Secret::new("wrong"), ..database.config() };
    let error = ClickHouse::connect(config, None).await.unwrap_err();
    assert!(error.to_string().contains("check user and password") && !error.is_away(), "{error}");
}

#[tokio::test]
async fn tls_where_there_is_none_and_the_reverse_are_mistakes() {
    let database = Database::new("scheme").await;
    let mut config = database.config();
    config.urls = vec![database.server.url.replace("http://", "https://").parse().unwrap()];
    let error = ClickHouse::connect(config.clone(), None).await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("does not speak TLS"), "{error}");

    let (port, _) = terminator(&database.server.url).await;
    config.urls = vec![format!("http://localhost:{port}").parse().unwrap()];
    let error = ClickHouse::connect(config, None).await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("write https://"), "{error}");
}

#[tokio::test]
async fn an_insert_of_nothing_leaves_nothing() {
    let database = Database::new("nothing").await;
    database.sink().await;
    database.sink().await;
    let parts = "SELECT count() FROM system.parts WHERE database = '{db}'";
    assert_eq!(database.number(parts).await, 0);
}
