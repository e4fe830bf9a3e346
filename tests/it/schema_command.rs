//! `otelgate schema diff` and `schema apply --ttl` against real tables: what is otelgate's own differs in nothing, what somebody changed is named, and the time to
//! live is brought back by who may.

use std::process::Output;

use serde_json::Value;

use crate::support::clickhouse;
use crate::support::edge::{Edge, Setup};

async fn schema(edge: &Edge, arguments: &[&str]) -> Output {
    let mut command = edge.files.command().expect("built");
    command.arg("schema").args(arguments).arg("--config").arg(edge.config()).kill_on_drop(true);
    command.output().await.expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn what_differs_is_named_and_the_time_to_live_is_mended_by_who_may() {
    const TTL: &str = "{ logs: 30d, traces: 36h, metrics: 0s, sessions: 30d }";
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "schema_diff", ttl: TTL, ..Setup::default() }).await;
    let same = schema(&edge, &["diff"]).await;
    assert_eq!((same.status.code(), text(&same.stdout).as_str()), (Some(0), "0 differences\n"), "{same:?}");
    let nothing = schema(&edge, &["apply", "--ttl"]).await;
    assert!(nothing.status.success() && text(&nothing.stdout).contains("every table keeps"), "{nothing:?}");
    for (table, change) in [
        ("otel_logs", "MODIFY TTL toDateTime(Timestamp) + toIntervalDay(1)"),
        ("otel_logs", "ADD COLUMN Mine String"),
        ("otel_logs", "MODIFY COLUMN Body String CODEC(ZSTD(3))"),
        ("otel_logs", "DROP INDEX idx_trace_id"),
        ("otel_traces", "REMOVE TTL"),
        ("otel_traces", "MODIFY SETTING fsync_after_insert = 0"),
        ("otel_metrics_sum", "MODIFY TTL toDateTime(TimeUnix) + toIntervalDay(7)"),
    ] {
        clickhouse
            .query(&format!("ALTER TABLE {}.{table} {change}", edge.database), "TabSeparated")
            .await
            .expect("altered");
    }
    let drop = format!("DROP TABLE {}.otel_logs_attr_kv_rollup_15m_mv SYNC", edge.database);
    clickhouse.query(&drop, "TabSeparated").await.expect("dropped");
    let differs = schema(&edge, &["diff"]).await;
    let said = text(&differs.stdout);
    for line in [
        "otel_logs: TTL: is toDateTime(Timestamp) + toIntervalDay(1), would be toDateTime(Timestamp) + toIntervalDay(30)",
        "otel_logs: column Mine: is String, otelgate has none",
        "otel_logs: column Body: is String CODEC(ZSTD(3)), would be String CODEC(ZSTD(1))",
        "otel_logs: index idx_trace_id: is missing",
        "otel_logs_attr_kv_rollup_15m_mv: view: is missing",
        "otel_traces: TTL: is missing, would be toDateTime(Timestamp) + toIntervalSecond(129600)",
        "otel_traces: setting fsync_after_insert: is 0, would be 1",
        "otel_metrics_sum: TTL: is toDateTime(TimeUnix) + toIntervalDay(7), otelgate has none",
        "8 differences",
    ] {
        assert!(said.lines().any(|said| said.starts_with(line)), "no {line} in {said}");
    }
    assert_eq!(differs.status.code(), Some(1), "{said}");
    let json = schema(&edge, &["diff", "--json"]).await;
    let json: Vec<Value> = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json.len() == 8 && json.iter().all(|one| one["table"].is_string() && one["what"].is_string()), "{json:?}");

    // The ingest user may alter nothing: it is shown what an administrator runs.
    let refused = schema(&edge, &["apply", "--ttl"]).await;
    let (shown, why) = (text(&refused.stdout), text(&refused.stderr));
    assert!(refused.status.code() == Some(1) && why.contains("an administrator"), "{shown} {why}");
    let database = &edge.database;
    let statements = [
        format!("ALTER TABLE {database}.otel_logs MODIFY TTL toDateTime(Timestamp) + toIntervalDay(30);"),
        format!("ALTER TABLE {database}.otel_traces MODIFY TTL toDateTime(Timestamp) + toIntervalSecond(129600);"),
        format!("ALTER TABLE {database}.otel_metrics_sum REMOVE TTL;"),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), statements);

    // One who may does it, by the same configuration but for its user.
    let (name, password) = &clickhouse.admin;
    let config = std::fs::read_to_string(edge.config()).expect("written");
    let config = config.replace(&format!("user: {}", clickhouse.user), &format!("user: {name}"));
    let config = config.replace("${env:CLICKHOUSE_PASSWORD}", password);
    let file = edge.config().with_extension("admin.yaml");
    std::fs::write(&file, config).expect("written");
    let mut command = edge.files.command().expect("built");
    command.args(["schema", "apply", "--ttl", "--config"]).arg(&file).kill_on_drop(true);
    let done = command.output().await.expect("runs");
    assert!(done.status.success() && text(&done.stdout).ends_with("3 tables altered\n"), "{done:?}");
    let left = text(&schema(&edge, &["diff"]).await.stdout);
    assert!(left.contains("5 differences") && !left.contains("TTL"), "{left}");
    edge.stop().await;
}
