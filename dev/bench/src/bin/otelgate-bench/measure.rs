//! One run: a fresh database, a gateway, the load, and what both processes spent until ClickHouse's merges have settled.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use stack::cost::{cpu_seconds, forget_peak_memory, peak_memory};
use stack::{Certificates, ClickHouse, free_port};
use tempfile::TempDir;

use crate::Args;
use crate::gateways::{Kind, Running};

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) gateway: String,
    pub(crate) signal: String,
    pub(crate) rate: u64,
    pub(crate) acknowledged: u64,
    pub(crate) stored: u64,
    pub(crate) void: bool,
    pub(crate) gateway_cpu_per_million: f64,
    pub(crate) clickhouse_cpu_per_million: f64,
    pub(crate) gateway_peak_mib: f64,
    pub(crate) clickhouse_peak_mib: f64,
    pub(crate) parts: u64,
    pub(crate) load: Value,
}

/// ClickHouse, and what a run needs.
pub(crate) struct Bench<'a> {
    pub(crate) args: &'a Args,
    pub(crate) clickhouse: ClickHouse,
    pub(crate) folder: TempDir,
}

impl<'a> Bench<'a> {
    /// Starts ClickHouse.
    pub(crate) async fn start(args: &'a Args) -> Result<Bench<'a>> {
        let folder = tempfile::tempdir()?;
        let clickhouse = ClickHouse::start_with_native_port(&folder.path().join("clickhouse"), free_port()?).await?;
        ensure!(clickhouse.process().is_some(), "the bench measures the embedded ClickHouse: unset CLICKHOUSE_URL");
        Ok(Bench { args, clickhouse, folder })
    }

    fn clickhouse_pid(&self) -> Result<u32> {
        match self.clickhouse.process() {
            Some(process) => process.pid(),
            None => bail!("no embedded ClickHouse"),
        }
    }

    fn clickhouse_cpu(&self) -> Result<f64> {
        cpu_seconds(self.clickhouse_pid()?)
    }

    /// One run of one gateway.
    pub(crate) async fn run(&self, kind: Kind, signal: &str, rate: u64, number: usize) -> Result<Run> {
        let database = format!("otel_test_{number}");
        self.clickhouse.query(&format!("CREATE DATABASE {database}"), "TabSeparated").await?;
        let running = Running::start(kind, self.args, self.folder.path(), &self.clickhouse, &database).await?;
        let pid = running.pid()?;
        forget_peak_memory(self.clickhouse_pid()?)?;
        let (gateway_before, clickhouse_before) = (cpu_seconds(pid)?, self.clickhouse_cpu()?);
        let load = self.load(&running, signal, rate, None).await?;
        let acknowledged = load["records_accepted"].as_u64().unwrap_or(0);
        let stored = self.settle(&database, signal, acknowledged).await?;
        let per_million = |seconds: f64| seconds * 1e6 / acknowledged.max(1) as f64;
        let run = Run {
            gateway: kind.name(self.args),
            signal: signal.to_owned(),
            rate,
            acknowledged,
            stored,
            void: acknowledged == 0 || (stored != acknowledged && kind != Kind::Rotel),
            gateway_cpu_per_million: per_million(cpu_seconds(pid)? - gateway_before),
            clickhouse_cpu_per_million: per_million(self.clickhouse_cpu()? - clickhouse_before),
            gateway_peak_mib: mib(peak_memory(pid)?),
            clickhouse_peak_mib: mib(peak_memory(self.clickhouse_pid()?)?),
            parts: self.parts(&database).await?,
            load,
        };
        running.stop().await?;
        self.clickhouse.query(&format!("DROP DATABASE {database} SYNC"), "TabSeparated").await?;
        Ok(run)
    }

    /// Sends the load of the arguments, or for another `duration`; answers otelgate-load's report.
    pub(crate) async fn load(
        &self,
        running: &Running,
        signal: &str,
        rate: u64,
        duration: Option<Duration>,
    ) -> Result<Value> {
        let duration =
            duration.map_or_else(|| self.args.duration.clone(), |duration| format!("{}s", duration.as_secs()));
        let ca = Certificates::in_folder(&self.folder.path().join("tls"))?.ca;
        let (records, rate) = (self.args.records.to_string(), rate.to_string());
        let mut arguments = vec!["--signal", signal, "--duration", &duration, "--records", &records];
        if rate != "0" {
            arguments.extend(["--rate", &rate]);
        }
        bench::load(&running.endpoint(), &ca, running.key(), &arguments).await
    }

    /// Waits until everything acknowledged is stored and no merge has run for three seconds; answers the rows stored.
    pub(crate) async fn settle(&self, database: &str, signal: &str, acknowledged: u64) -> Result<u64> {
        let rows = rows(database, signal);
        // The last batch is sealed when all before it are stored: on a machine that is busy with merges no row comes for a minute.
        let (mut stored, mut unchanged) = (0, 0);
        while stored < acknowledged && unchanged < 120 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.clickhouse.number(&rows).await?;
            unchanged = if now == stored { unchanged + 1 } else { 0 };
            stored = now;
        }
        let merges = format!("SELECT count() FROM system.merges WHERE database = '{database}'");
        let mut quiet = 0;
        while quiet < 3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            quiet = if self.clickhouse.number(&merges).await? == 0 { quiet + 1 } else { 0 };
        }
        self.clickhouse.number(&rows).await
    }

    async fn parts(&self, database: &str) -> Result<u64> {
        self.clickhouse.query("SYSTEM FLUSH LOGS", "TabSeparated").await?;
        let parts =
            format!("SELECT count() FROM system.part_log WHERE database = '{database}' AND event_type = 'NewPart'");
        self.clickhouse.number(&parts).await
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn rows(database: &str, signal: &str) -> String {
    let tables: &[&str] = match signal {
        "traces" => &["otel_traces"],
        "logs" => &["otel_logs", "hyperdx_sessions"],
        _ => &[
            "otel_metrics_gauge",
            "otel_metrics_sum",
            "otel_metrics_histogram",
            "otel_metrics_exponential_histogram",
            "otel_metrics_summary",
        ],
    };
    let counts: Vec<_> = tables.iter().map(|table| format!("(SELECT count() FROM {database}.{table})")).collect();
    format!("SELECT {}", counts.join(" + "))
}
