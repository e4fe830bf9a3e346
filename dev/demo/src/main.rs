//! `otelgate-demo`, behind `make run`: ClickHouse, otelgate and real OpenTelemetry exporters on one machine, so that a person
//! sees telemetry arrive and can point an SDK of their own at it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a demonstration on a terminal")]

mod rig;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use rig::Rig;

/// Starts ClickHouse and otelgate (and a collector between them), sends all three signals through, shows what arrived, and keeps running.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Folder for data, certificate, key and configuration; kept between runs.
    #[arg(long, default_value = "run")]
    data: PathBuf,
    /// Port of the OTLP listener.
    #[arg(long, default_value_t = 4317)]
    port: u16,
    /// Program of a collector, as `dev/oracle/build-collector.sh` builds it: otelgate forwards to it, and it stores.
    #[arg(long)]
    collector: Option<PathBuf>,
    /// End after the demonstration instead of running until Ctrl-C.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let rig = tokio::select! {
        rig = demonstrate(&args) => rig?,
        _ = interrupted.recv() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    };
    if !args.once {
        println!(
            "Running until Ctrl-C. The configuration is {}; its log is {}.",
            rig.config.display(),
            rig.log.display()
        );
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        println!();
    }
    rig.stop().await
}

async fn demonstrate(args: &Args) -> Result<Rig> {
    let rig = Rig::start(&args.data, args.port, args.collector.as_deref()).await?;
    println!(
        "Sending traces, logs and metrics through the OpenTelemetry SDK's exporters (OTLP/gRPC over TLS, with the key) …"
    );
    let before = rig.counts().await?;
    let sent = stream::send(&rig.endpoint, &rig.certificates.ca, &rig.key).await?;
    await_arrival(&rig, before, sent).await?;
    println!("\nWhat arrived, asked with SQL:\n");
    for question in SHOWN {
        println!("{question}\n{}", rig.clickhouse.query(question, "PrettyCompact").await?);
    }
    println!("{}", rig.how_to_send());
    Ok(rig)
}

const SHOWN: [&str; 4] = [
    "SELECT table, total_rows AS rows FROM system.tables WHERE database = 'otel' AND total_rows > 0 ORDER BY table",
    "SELECT Timestamp, ServiceName, SpanName, SpanKind, intDiv(Duration, 1000) AS us FROM otel.otel_traces \
     ORDER BY Timestamp DESC LIMIT 5",
    "SELECT Timestamp, SeverityText, Body, LogAttributes['order.id'] AS order FROM otel.otel_logs \
     ORDER BY Timestamp DESC LIMIT 5",
    "SELECT TimeUnix, MetricName, Value, Attributes FROM otel.otel_metrics_sum ORDER BY TimeUnix DESC LIMIT 5",
];

/// Waits until ClickHouse holds what was sent on top of what it held before.
async fn await_arrival(rig: &Rig, before: stream::Counts, sent: stream::Counts) -> Result<()> {
    for _ in 0..120 {
        let now = rig.counts().await?;
        if now.spans >= before.spans + sent.spans
            && now.logs >= before.logs + sent.logs
            && now.points >= before.points + sent.points
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!("not everything arrived within 30 s: sent {sent:?}, see {}", rig.log.display())
}
