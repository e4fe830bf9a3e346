//! Tables that change while batches that were encoded for them wait, and servers that lack them.

use std::sync::Arc;
use std::time::Duration;

use otelgate::sink::clickhouse::ClickHouse;
use otelgate::sink::{Look, Outcome, Sink as _};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::{Database, logs};

/// Delivers after a refusal that made the sink read its tables again.
async fn delivered_after_a_change(sink: &ClickHouse, part: &otelgate::sink::PartDelivery) {
    let mut changes = sink.changes();
    let outcome = match sink.deliver(part).await {
        // Views read the table: a look would have found nothing.
        Outcome::Doubtful { or_else } => *or_else,
        outcome => outcome,
    };
    assert!(matches!(&outcome, Outcome::Hold { .. }), "{outcome:?}");
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    assert_eq!(sink.deliver(part).await, Outcome::Delivered);
}

#[tokio::test]
async fn columns_that_went_away_are_left_out() {
    let database = Database::new("gone").await;
    let sink = database.sink().await;
    let part = logs(&sink, "gone", 3, 20);
    assert!(sink.columns_gone(&part).is_empty());
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("ALTER TABLE {db}.otel_logs DROP COLUMN EventName, DROP COLUMN ScopeVersion").await;
    delivered_after_a_change(&sink, &part).await;
    let gone = sink.columns_gone(&part);
    assert_eq!(gone, [Arc::from("ScopeVersion"), Arc::from("EventName")]);
    assert_eq!(database.rows("otel_logs").await, part.rows);
    assert_eq!(sink.look(&part).await, Look::Present, "what is left is looked for");

    let mut piece = logs(&sink, "of a piece", 3, 20);
    assert_eq!(sink.columns_gone(&piece), [] as [Arc<str>; 0], "new batches do not have them");
    piece.columns = part.columns.clone();
    piece.body = part.body.clone();
    piece.only_rows = Some((5, 10));
    assert_eq!(sink.deliver(&piece).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows + 10);
}

#[tokio::test]
async fn a_column_that_the_table_computes_itself_now_is_no_loss() {
    let database = Database::new("computed").await;
    let sink = database.sink().await;
    let part = logs(&sink, "computed", 3, 20);
    database.run("ALTER TABLE {db}.otel_logs MODIFY COLUMN EventName String MATERIALIZED 'computed'").await;
    delivered_after_a_change(&sink, &part).await;
    assert!(sink.columns_gone(&part).is_empty());
    assert_eq!(database.number("SELECT count() FROM {db}.otel_logs WHERE EventName = 'computed'").await, part.rows);
}

#[tokio::test]
async fn a_column_of_another_type_that_holds_the_values_is_written() {
    let database = Database::new("other_type").await;
    let sink = database.sink().await;
    let part = logs(&sink, "other", 3, 20);
    database.run("ALTER TABLE {db}.otel_logs MODIFY COLUMN SeverityNumber Int64").await;
    database.run("ALTER TABLE {db}.otel_logs MODIFY COLUMN ScopeName LowCardinality(String)").await;
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
    assert_eq!(sink.look(&part).await, Look::Present);
}

#[tokio::test]
async fn rows_that_make_no_sense_without_a_column_are_held_with_what_to_add() {
    let database = Database::new("needed").await;
    let sink = database.sink().await;
    let part = logs(&sink, "needed", 3, 20);
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("ALTER TABLE {db}.otel_logs RENAME COLUMN SpanId TO Other").await;
    let mut changes = sink.changes();
    assert!(matches!(sink.deliver(&part).await, Outcome::Hold { .. }));
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    let outcome = sink.deliver(&part).await;
    let add = format!("ALTER TABLE {}.otel_logs ADD COLUMN SpanId String", database.name);
    assert!(matches!(&outcome, Outcome::Hold { why } if why.contains(&add)), "{outcome:?}");
    // Done as told, it goes on at once.
    database.run("ALTER TABLE {db}.otel_logs ADD COLUMN SpanId String").await;
    assert!(matches!(sink.deliver(&part).await, Outcome::Hold { .. }));
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
}

#[tokio::test]
async fn values_that_do_not_fit_a_columns_new_type_are_held_and_not_refused() {
    let database = Database::new("unfit").await;
    let sink = database.sink().await;
    let part = logs(&sink, "unfit", 3, 20);
    database.run("ALTER TABLE {db}.otel_logs MODIFY COLUMN TraceFlags String").await;
    let mut changes = sink.changes();
    // Anything that is held makes the sink read its tables.
    let mut other = part.clone();
    other.name.table = "no_such_table".into();
    assert!(matches!(sink.deliver(&other).await, Outcome::Hold { .. }));
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    let outcome = sink.deliver(&part).await;
    let modify = "MODIFY COLUMN TraceFlags UInt8";
    assert!(matches!(&outcome, Outcome::Hold { why } if why.contains(modify)), "{outcome:?}");
}

#[tokio::test]
async fn a_table_that_is_renamed_and_comes_back_holds_its_own_batches_only() {
    let database = Database::new("renamed").await;
    let sink = database.sink().await;
    let part = logs(&sink, "renamed", 3, 20);
    database.run("RENAME TABLE {db}.otel_logs TO {db}.elsewhere").await;
    let outcome = sink.deliver(&part).await;
    assert!(matches!(&outcome, Outcome::Hold { why } if why.contains("UNKNOWN_TABLE")), "{outcome:?}");
    // The others are still taken up as they are.
    database.run("ALTER TABLE {db}.otel_traces DROP COLUMN StatusMessage").await;
    let mut changes = sink.changes();
    assert!(matches!(sink.deliver(&part).await, Outcome::Hold { .. }));
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    let columns = sink.schema().borrow().tables["otel_traces"].columns.clone();
    assert!(columns.iter().all(|column| column.name != "StatusMessage"));
    database.run("RENAME TABLE {db}.elsewhere TO {db}.otel_logs").await;
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
}

/// An address that reaches the server for as long as the task lives.
async fn door(server: &str, listener: TcpListener) -> tokio::task::JoinHandle<()> {
    let server = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        let mut passing = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            passing.spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    })
}

#[tokio::test]
async fn what_one_server_holds_another_takes() {
    // Another server, which knows neither the database nor our password.
    let folder = tempfile::tempdir().unwrap();
    let mut bare = stack::ClickHouse::start(folder.path(), 0).await.unwrap();
    let database = Database::new("two_servers").await;
    let sink = database.sink().await;
    let known = (**sink.schema().borrow()).clone();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut config = database.config();
    config.create_schema = false;
    config.urls = vec![bare.url.parse().unwrap(), format!("http://{address}").parse().unwrap()];
    let sink = ClickHouse::connect(config, Some(known)).await.unwrap();
    let part = logs(&sink, "held", 3, 20);
    // The first wants to be mended, the second does not answer, and may be back before that.
    let mut outcome = sink.deliver(&part).await;
    if !matches!(&outcome, Outcome::Retry { why, .. } if why.contains("AUTHENTICATION_FAILED")) {
        outcome = sink.deliver(&part).await;
    }
    assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.contains("AUTHENTICATION_FAILED")), "{outcome:?}");
    let mut changes = sink.changes();
    let door = door(&database.server.url, TcpListener::bind(address).await.unwrap()).await;
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
    assert_eq!(sink.deliver(&logs(&sink, "next", 1, 20)).await, Outcome::Delivered);
    database.run("RENAME TABLE {db}.otel_logs TO {db}.elsewhere").await;
    let outcome = sink.deliver(&logs(&sink, "both", 1, 20)).await;
    let both = |why: &str| why.contains("AUTHENTICATION_FAILED") && why.contains("UNKNOWN_TABLE");
    assert!(matches!(&outcome, Outcome::Hold { why } if both(why)), "{outcome:?}");
    door.abort();
    bare.stop(true).await.unwrap();
}

#[tokio::test]
async fn a_server_without_the_table_keeps_no_look_waiting() {
    let database = Database::new("no_table").await;
    let sink = database.sink().await;
    let known = (**sink.schema().borrow()).clone();
    // What an earlier process tried may be on any server; here a second address stands for one that has only the database.
    let folder = tempfile::tempdir().unwrap();
    let mut bare = stack::ClickHouse::start(folder.path(), 0).await.unwrap();
    bare.query(&format!("CREATE DATABASE {}", database.name), "Null").await.unwrap();
    let mut config = database.config();
    config.create_schema = false;
    config.urls = vec![bare.url.parse().unwrap(), database.server.url.parse().unwrap()];
    // It is asked as the administrator, who has no password on either.
    config.user = "default".to_owned();
    config.password = otelgate::config::Secret::new(String::new());
    let both = ClickHouse::connect(config.clone(), Some(known.clone())).await.unwrap();
    let part = logs(&sink, "tried", 3, 20);
    assert_eq!(both.look(&part).await, Look::Absent);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(both.look(&part).await, Look::Present);
    config.urls.pop();
    let alone = ClickHouse::connect(config, Some(known)).await.unwrap();
    assert!(matches!(alone.look(&part).await, Look::Unclear { .. }), "the table may come back");
    bare.stop(true).await.unwrap();
}
