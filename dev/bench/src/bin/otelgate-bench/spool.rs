//! What the spool is worth: acknowledgements while ClickHouse is up and away, how fast a backlog drains, and how many inserts
//! a quiet gateway makes. Every scenario ends with the check that rows stored = records acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use crate::gateways::{Kind, Running};
use crate::measure::Bench;

/// Rate at which the backlog grows, and at which new records arrive while it drains.
const BACKLOG_RATE: u64 = 20_000;
/// How long ClickHouse is away while the backlog grows.
const AWAY: Duration = Duration::from_secs(30);

/// Runs all scenarios and prints a line each.
pub(crate) async fn scenarios(bench: &mut Bench<'_>) -> Result<()> {
    let highest = highest_rate(bench).await?;
    let rate = highest * 8 / 10;
    println!("highest rate with spool: {highest} records/s; 80 % of it: {rate}");
    up_and_away(bench, rate).await?;
    drain(bench).await?;
    quiet(bench).await
}

async fn highest_rate(bench: &mut Bench<'_>) -> Result<u64> {
    let run = bench.run(Kind::Otelgate { spool: true }, "traces", 0, 900).await?;
    println!("full rate: {}", crate::report::line(&run));
    Ok(run.load["records_per_second"].as_f64().unwrap_or(0.0) as u64)
}

async fn up_and_away(bench: &mut Bench<'_>, rate: u64) -> Result<()> {
    for (number, away) in [(901, false), (902, true)] {
        let (running, database) = begin(bench, number).await?;
        if away {
            bench.clickhouse.stop(false).await?;
        }
        let load = bench.load(&running, "traces", rate, None).await?;
        if away {
            bench.clickhouse.start_again().await?;
        }
        let latency = &load["latency_ms"];
        println!(
            "ClickHouse {}: {} records at {rate}/s, p50 {} ms, p99 {} ms",
            if away { "away" } else { "up" },
            load["records_accepted"],
            latency["p50"],
            latency["p99"]
        );
        end(bench, running, &database, &load).await?;
    }
    Ok(())
}

/// A backlog grows while ClickHouse is away; then it drains while as many new records arrive.
async fn drain(bench: &mut Bench<'_>) -> Result<()> {
    let (running, database) = begin(bench, 903).await?;
    bench.clickhouse.stop(false).await?;
    let first = bench.load(&running, "traces", BACKLOG_RATE, Some(AWAY)).await?;
    bench.clickhouse.start_again().await?;
    let backlog = accepted(&first);
    let began = Instant::now();
    let second = bench.load(&running, "traces", BACKLOG_RATE, Some(AWAY));
    let drained = async {
        // What arrives meanwhile is stored too: the backlog is drained when all but a batch of everything is stored.
        loop {
            sleep(Duration::from_millis(500)).await;
            let stored = bench.clickhouse.number(&format!("SELECT count() FROM {database}.otel_traces")).await?;
            let arrived = backlog + (began.elapsed().as_secs_f64() * BACKLOG_RATE as f64) as u64;
            if stored + 200_000 >= arrived.min(2 * backlog) {
                return anyhow::Ok((stored, began.elapsed()));
            }
        }
    };
    let (second, drained) = tokio::join!(second, drained);
    let (second, (stored, took)) = (second?, drained?);
    println!(
        "backlog of {backlog} records: {stored} stored {:.1} s after ClickHouse was back, {:.0} records/s, with {BACKLOG_RATE} new ones a second",
        took.as_secs_f64(),
        stored as f64 / took.as_secs_f64()
    );
    let both = serde_json::json!({ "records_accepted": backlog + accepted(&second) });
    end(bench, running, &database, &both).await
}

/// One small request a second for a minute.
async fn quiet(bench: &mut Bench<'_>) -> Result<()> {
    let (running, database) = begin(bench, 904).await?;
    let rate = u64::from(bench.args.records);
    let load = bench.load(&running, "traces", rate, Some(Duration::from_secs(60))).await?;
    bench.clickhouse.query("SYSTEM FLUSH LOGS", "TabSeparated").await?;
    // All of the minute lies in one day, so that an insert makes one part.
    let inserts = format!(
        "SELECT count() FROM system.part_log WHERE database = '{database}' AND table = 'otel_traces' AND event_type = 'NewPart'"
    );
    println!("quiet gateway (one request a second): {} inserts in a minute", bench.clickhouse.number(&inserts).await?);
    end(bench, running, &database, &load).await
}

async fn begin(bench: &Bench<'_>, number: usize) -> Result<(Running, String)> {
    let database = format!("otel_test_{number}");
    bench.clickhouse.query(&format!("CREATE DATABASE {database}"), "TabSeparated").await?;
    let kind = Kind::Otelgate { spool: true };
    let running = Running::start(kind, bench.args, bench.folder.path(), &bench.clickhouse, &database).await?;
    Ok((running, database))
}

async fn end(bench: &Bench<'_>, running: Running, database: &str, load: &Value) -> Result<()> {
    let stored = bench.settle(database, "traces", accepted(load)).await?;
    ensure!(stored == accepted(load), "void: {} acknowledged, {stored} stored", accepted(load));
    running.stop().await?;
    bench.clickhouse.query(&format!("DROP DATABASE {database} SYNC"), "TabSeparated").await?;
    Ok(())
}

fn accepted(load: &Value) -> u64 {
    load["records_accepted"].as_u64().unwrap_or(0)
}
