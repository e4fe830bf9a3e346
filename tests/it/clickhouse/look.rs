//! Witnesses are found when their part is in, and only then.

use std::time::{Duration, Instant};

use otelgate::signal::Signal;
use otelgate::sink::{AfterUnknown, Look, Outcome, PartDelivery, Sink as _};
use stack::Samples;

use super::{Database, batch, logs, noon};

#[tokio::test]
async fn parts_of_every_signal_are_absent_before_and_present_after() {
    let database = Database::new("look").await;
    let sink = database.sink().await;
    let mut samples = Samples::new(5).at(noon());
    for (signal, requests) in [
        (Signal::Traces, [samples.traces_bytes(100), samples.traces_bytes(50)]),
        (Signal::Logs, [samples.logs_bytes(100), samples.logs_bytes(50)]),
        (Signal::Metrics, [samples.metrics_bytes(100), samples.metrics_bytes(50)]),
    ] {
        for part in batch(&sink, signal, signal.name(), &requests) {
            assert!(!part.witnesses.is_empty());
            assert_eq!(sink.look(&part).await, Look::Absent, "{:?}", part.name);
            assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
            assert_eq!(sink.look(&part).await, Look::Present, "{:?}", part.name);
        }
    }
}

#[tokio::test]
async fn one_missing_witness_means_absent() {
    let database = Database::new("one_missing").await;
    let sink = database.sink().await;
    let part = logs(&sink, "whole", 4, 10);
    let mut three = part.clone();
    three.body.pop();
    assert_eq!(sink.deliver(&three).await, Outcome::Delivered);
    assert_eq!(sink.look(&part).await, Look::Absent);
    three.witnesses.pop();
    assert_eq!(sink.look(&three).await, Look::Present);
}

#[tokio::test]
async fn rows_of_a_frame_are_looked_for_by_themselves() {
    let database = Database::new("look_rows").await;
    let sink = database.sink().await;
    let whole = logs(&sink, "rows", 1, 300);
    let piece = |name: &str, only_rows| PartDelivery {
        token: format!("{}-{name}", whole.token),
        witnesses: Vec::new(),
        only_rows: Some(only_rows),
        ..whole.clone()
    };
    let (few, many, rest) = (piece("few", (3, 2)), piece("many", (5, 200)), piece("rest", (205, 95)));
    assert_eq!(sink.look(&few).await, Look::Absent);
    assert_eq!(sink.deliver(&few).await, Outcome::Delivered);
    assert_eq!(sink.look(&few).await, Look::Present);
    assert_eq!(sink.look(&many).await, Look::Absent);
    assert_eq!(sink.deliver(&many).await, Outcome::Delivered);
    assert_eq!(sink.look(&many).await, Look::Present);
    assert_eq!(sink.look(&rest).await, Look::Absent);
    assert_eq!(sink.look(&piece("across", (100, 150))).await, Look::Absent);
}

#[tokio::test]
async fn a_row_that_differs_in_one_value_is_another_row() {
    let database = Database::new("differs").await;
    let sink = database.sink().await;
    let part = logs(&sink, "rows", 2, 10);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    database
        .run(
            "ALTER TABLE {db}.otel_logs UPDATE LogAttributes = mapUpdate(LogAttributes, map('x', 'y')) WHERE 1 \
              SETTINGS mutations_sync = 1",
        )
        .await;
    assert_eq!(sink.look(&part).await, Look::Absent);
}

#[tokio::test]
async fn not_a_number_is_found_again() {
    let database = Database::new("nan").await;
    let sink = database.sink().await;
    let mut request = Samples::new(9).at(noon()).metrics(40);
    let mut set = 0;
    for metric in request.resource_metrics.iter_mut().flat_map(|r| &mut r.scope_metrics).flat_map(|s| &mut s.metrics) {
        use opentelemetry_proto::tonic::metrics::v1::metric::Data;
        use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
        if let Some(Data::Gauge(gauge)) = &mut metric.data {
            for (at, point) in gauge.data_points.iter_mut().enumerate() {
                point.value = Some(Value::AsDouble([f64::NAN, f64::NEG_INFINITY, -0.0][at % 3]));
                set += 1;
            }
        }
    }
    assert!(set > 0);
    let request = prost::Message::encode_to_vec(&request);
    for part in batch(&sink, Signal::Metrics, "nan", &[request]) {
        assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
        assert_eq!(sink.look(&part).await, Look::Present, "{:?}", part.name);
    }
}

#[tokio::test]
async fn a_look_waits_for_the_old_attempt() {
    let database = Database::new("running").await;
    let sink = database.sink().await;
    let part = logs(&sink, "running", 1, 10);
    let url = format!("{}/?query_id=otelgate-{}-0-00000000", database.server.url, part.token);
    let (user, password) = (database.server.user.clone(), database.server.password.clone());
    let begun = Instant::now();
    let attempt = tokio::spawn(async move {
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let request = http::Request::post(url)
            .header("x-clickhouse-user", user)
            .header("x-clickhouse-key", password)
            .body("SELECT sleep(3)".to_owned())
            .unwrap();
        client.request(request).await.unwrap().status()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sink.look(&part).await, Look::Absent);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(attempt.await.unwrap(), 200);
}

#[tokio::test]
async fn what_settles_doubt_follows_the_table() {
    let database = Database::new("windows").await;
    let sink = database.sink().await;
    assert_eq!(sink.after_unknown("otel_logs", None, Duration::ZERO), AfterUnknown::RepeatThenLook);
    assert_eq!(sink.after_unknown("otel_logs", None, Duration::MAX), AfterUnknown::Look);
    assert_eq!(sink.after_unknown("no such table", None, Duration::MAX), AfterUnknown::Look);

    let clickstacks = Database::new("no_windows").await;
    clickstacks.sink().await;
    clickstacks.run("ALTER TABLE {db}.otel_logs RESET SETTING non_replicated_deduplication_window").await;
    let sink = clickstacks.sink().await;
    assert_eq!(sink.after_unknown("otel_logs", None, Duration::ZERO), AfterUnknown::Look);
}

#[tokio::test]
async fn tables_made_otherwise_are_looked_at_too() {
    let database = Database::new("otherwise").await;
    let mut config = database.config();
    super::schema::applied(&config).await;
    database.run("DROP TABLE {db}.otel_logs_attr_kv_rollup_15m_mv").await;
    database.run("DROP TABLE {db}.otel_logs").await;
    database
        .run(
            "CREATE TABLE {db}.otel_logs (Timestamp DateTime64(9, 'America/New_York'), TimestampTime DateTime DEFAULT \
             toDateTime(Timestamp), Minute UInt32 MATERIALIZED toUnixTimestamp(TimestampTime) / 60, TraceId String, \
             SpanId String, TraceFlags UInt32, SeverityText LowCardinality(String), SeverityNumber Int32, \
             ServiceName LowCardinality(String), Body String, ResourceAttributes JSON, LogAttributes JSON) \
             ENGINE = MergeTree PARTITION BY toDate(TimestampTime) ORDER BY (Minute, ServiceName)",
        )
        .await;
    config.create_schema = false;
    let sink = otelgate::sink::clickhouse::ClickHouse::connect(config, None).await.unwrap();
    assert_eq!(sink.after_unknown("otel_logs", None, Duration::ZERO), AfterUnknown::Look);
    let part = logs(&sink, "otherwise", 3, 20);
    assert_eq!(sink.look(&part).await, Look::Absent);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(sink.look(&part).await, Look::Present);
}
