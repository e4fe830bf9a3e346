//! One run: a fresh database, a gateway, the load, and what both processes spent until ClickHouse's merges have settled, less what ClickHouse takes while
//! nothing comes: that is nobody's share, and in a run of few records much of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use stack::cost::{cpu_seconds, forget_peak_memory, peak_memory};
use stack::{Certificates, ClickHouse, free_port};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::Args;
use crate::gateways::{Kind, Running};

/// ClickHouse is asked how far it is at this pace in all of a run, and while its idle share is taken: so what asking costs it is in that share.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked for its idle share.
const IDLE_QUESTIONS: u32 = 30;

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
    /// Without the next.
    pub(crate) clickhouse_cpu_per_million: f64,
    /// What ClickHouse takes in as long a time while nothing comes.
    pub(crate) clickhouse_idle_per_million: f64,
    /// What of ClickHouse's its logs have for inserts, the views behind them too, and for merges, in CPU seconds.
    pub(crate) inserts_per_million: f64,
    pub(crate) merges_per_million: f64,
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
    /// CPU seconds a second that ClickHouse takes while nothing comes.
    idle: f64,
}

impl<'a> Bench<'a> {
    /// Starts ClickHouse.
    pub(crate) async fn start(args: &'a Args) -> Result<Bench<'a>> {
        let folder = tempfile::tempdir()?;
        let clickhouse = ClickHouse::start_with_native_port(&folder.path().join("clickhouse"), free_port()?).await?;
        ensure!(clickhouse.process().is_some(), "the bench measures the embedded ClickHouse: unset CLICKHOUSE_URL");
        Ok(Bench { args, clickhouse, folder, idle: 0.0 })
    }

    /// Takes what ClickHouse spends in front of an idle gateway, with its tables there, in cores; every run is charged without it from then on.
    pub(crate) async fn take_idle_share(&mut self) -> Result<f64> {
        let database = "otel_test_idle";
        self.clickhouse.query(&format!("CREATE DATABASE {database}"), "TabSeparated").await?;
        let kind = Kind::Otelgate { spool: true };
        let running = Running::start(kind, self.args, self.folder.path(), &self.clickhouse, database).await?;
        self.settle(database, "metrics", 0).await?;
        let (began, before) = (Instant::now(), self.clickhouse_cpu()?);
        for _ in 0..IDLE_QUESTIONS {
            self.look(database, "metrics").await?;
        }
        self.idle = (self.clickhouse_cpu()? - before) / began.elapsed().as_secs_f64();
        running.stop().await?;
        self.clickhouse.query(&format!("DROP DATABASE {database} SYNC"), "TabSeparated").await?;
        Ok(self.idle)
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
        let began = Instant::now();
        let load = tokio::select! {
            load = self.load(&running, signal, rate, None) => load?,
            failed = self.look_on(&database, signal) => return Err(failed),
        };
        let acknowledged = load["records_accepted"].as_u64().unwrap_or(0);
        let stored = self.settle(&database, signal, acknowledged).await?;
        let idle = began.elapsed().as_secs_f64() * self.idle;
        // Before the logs are asked, which is nobody's either.
        let (gateway_spent, clickhouse_spent) =
            (cpu_seconds(pid)? - gateway_before, self.clickhouse_cpu()? - clickhouse_before);
        let (gateway_peak, clickhouse_peak) = (peak_memory(pid)?, peak_memory(self.clickhouse_pid()?)?);
        let (parts, inserts, merges) = self.logged(&database).await?;
        let per_million = |seconds: f64| seconds * 1e6 / acknowledged.max(1) as f64;
        let run = Run {
            gateway: kind.name(self.args),
            signal: signal.to_owned(),
            rate,
            acknowledged,
            stored,
            void: acknowledged == 0 || (stored != acknowledged && kind != Kind::Rotel),
            gateway_cpu_per_million: per_million(gateway_spent),
            clickhouse_cpu_per_million: per_million(clickhouse_spent - idle),
            clickhouse_idle_per_million: per_million(idle),
            inserts_per_million: per_million(inserts),
            merges_per_million: per_million(merges),
            gateway_peak_mib: mib(gateway_peak),
            clickhouse_peak_mib: mib(clickhouse_peak),
            parts,
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
        // The last batch is sealed when all before it are stored: on a machine that is busy with merges no row comes for a minute.
        let (mut stored, mut unchanged, mut quiet) = (0, 0, 0);
        while quiet < 3 {
            let (now, merges) = self.look(database, signal).await?;
            unchanged = if now == stored { unchanged + 1 } else { 0 };
            stored = now;
            let all_came = stored >= acknowledged || unchanged >= 60;
            quiet = if all_came && merges == 0 { quiet + 1 } else { 0 };
        }
        Ok(stored)
    }

    /// Looks until that fails.
    async fn look_on(&self, database: &str, signal: &str) -> anyhow::Error {
        loop {
            if let Err(error) = self.look(database, signal).await {
                return error;
            }
        }
    }

    /// After a while, the rows stored and the merges under way.
    async fn look(&self, database: &str, signal: &str) -> Result<(u64, u64)> {
        sleep(ASKED_EVERY).await;
        let rows = rows(database, signal);
        let both = format!("SELECT {rows}, (SELECT count() FROM system.merges WHERE database = '{database}')");
        let answer = self.clickhouse.query(&both, "TabSeparated").await?;
        let (rows, merges) = answer.trim().split_once('\t').context("not two numbers")?;
        Ok((rows.parse()?, merges.parse()?))
    }

    /// How many parts were inserted, and the CPU seconds of inserts and of merges.
    async fn logged(&self, database: &str) -> Result<(u64, f64, f64)> {
        self.clickhouse.query("SYSTEM FLUSH LOGS", "TabSeparated").await?;
        let spent = "sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds'])";
        let parts = format!("FROM system.part_log WHERE database = '{database}' AND event_type =");
        let inserts = format!(
            "FROM system.query_log WHERE has(databases, '{database}') AND type = 'QueryFinish' AND query_kind IN ('Insert', 'AsyncInsertFlush')"
        );
        let number = |sql: String| async move { self.clickhouse.number(&sql).await };
        let count = number(format!("SELECT count() {parts} 'NewPart'")).await?;
        let inserts = number(format!("SELECT {spent} {inserts}")).await?;
        let merges = number(format!("SELECT {spent} {parts} 'MergeParts'")).await?;
        Ok((count, inserts as f64 / 1e6, merges as f64 / 1e6))
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
    counts.join(" + ")
}
