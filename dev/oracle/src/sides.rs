//! The two sides: otelgate and the collector, each with a database of one ClickHouse.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use otlp_client::Signal;
use stack::{COLLECTOR_TOKEN, Certificates, ClickHouse, Collector, CollectorSetup, Config, Gateway, Key, free_port};
use tempfile::TempDir;

use crate::branches::Branches;
use crate::compare::{Rows, blind, compare, not_default};
use crate::send::send_all;

/// The tables that are compared, rollups included.
pub(crate) const TABLES: [&str; 10] = [
    "otel_traces",
    "otel_logs",
    "hyperdx_sessions",
    "otel_metrics_gauge",
    "otel_metrics_sum",
    "otel_metrics_histogram",
    "otel_metrics_exponential_histogram",
    "otel_metrics_summary",
    "otel_traces_kv_rollup_15m",
    "otel_logs_kv_rollup_15m",
];

/// Rows of 1970 stay as long as those of today.
const FOR_EVER: &str = "ttl: { logs: 0s, traces: 0s, metrics: 0s, sessions: 0s }";
const OURS: &str = "otel_test_otelgate";
const THEIRS: &str = "otel_test_collector";
const KEY: &str = "oracle-key";

/// How the collector runs here: it must not give up on a busy machine, must not be waited for, and says what its transforms do.
const COLLECTOR_ENV: [(&str, &str); 3] =
    [("HYPERDX_OTEL_EXPORTER_TIMEOUT", "120s"), ("HYPERDX_OTEL_BATCH_TIMEOUT", "1s"), ("HYPERDX_LOG_LEVEL", "debug")];

/// Columns that ClickHouse computes are compared too.
const SETTINGS: &str = "asterisk_include_materialized_columns = 1, asterisk_include_alias_columns = 1";

/// The collector's log, without what its transforms say.
const LOG: &str = "collector-kept.log";

/// How long nothing may arrive from the collector before what is missing is taken for lost.
const QUIET: Duration = Duration::from_secs(20);

/// Both sides, running.
pub(crate) struct Sides {
    clickhouse: ClickHouse,
    gateway: Gateway,
    collector: Collector,
    /// The collector behind otelgate, when it forwards.
    _behind: Option<Collector>,
    branches: JoinHandle<Result<Branches>>,
    folder: TempDir,
}

impl Sides {
    /// Starts ClickHouse, makes the tables of both databases, and starts both sides.
    pub(crate) async fn start(program: &Path, configs: &Path, forward: Option<&str>) -> Result<Sides> {
        let folder = tempfile::tempdir()?;
        let native_port = free_port()?;
        let clickhouse = ClickHouse::start_with_native_port(&folder.path().join("clickhouse"), native_port).await?;
        for database in [OURS, THEIRS] {
            clickhouse.query(&format!("CREATE DATABASE IF NOT EXISTS {database}"), "TabSeparated").await?;
        }
        // A gateway that creates the collector's tables and ends: both databases have the same schema.
        let theirs = config(&folder, THEIRS).store(&clickhouse, THEIRS).sink(FOR_EVER).start().await?;
        theirs.process.stop(Duration::from_secs(30)).await?;
        let mut gateway = config(&folder, OURS).store(&clickhouse, OURS).sink(FOR_EVER).start().await?;
        let (log, pipe) = std::io::pipe()?;
        let kept = folder.path().join(LOG);
        let branches = std::thread::spawn(move || Branches::read(log, &kept));
        let setup = CollectorSetup {
            program,
            configs,
            folder: folder.path(),
            clickhouse: &clickhouse,
            database: THEIRS,
            tls: None,
            env: &COLLECTOR_ENV,
            log: Some(&pipe),
        };
        let collector = Collector::start(setup).await?;
        let mut behind = None;
        if let Some(how) = forward {
            gateway.process.stop(Duration::from_secs(30)).await?;
            (gateway, behind) =
                forwarding(setup, &folder, how).await.map(|(gateway, behind)| (gateway, Some(behind)))?;
        }
        Ok(Sides { clickhouse, gateway, collector, _behind: behind, branches, folder })
    }

    /// Waits until no more rows arrive in either database.
    pub(crate) async fn settle(&self) -> Result<()> {
        // A collector stores what is 5 s old.
        const QUIET: Duration = Duration::from_secs(12);
        let (mut last, began) = ((String::new(), Instant::now()), Instant::now());
        while last.1.elapsed() < QUIET || (last.0.starts_with('0') && began.elapsed() < 10 * QUIET) {
            let sql = "SELECT sum(rows), count() FROM system.parts WHERE active AND startsWith(database, 'otel_test_')";
            let now = self.clickhouse.query(sql, "TabSeparated").await?;
            if now != last.0 {
                last = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Sends each side its bodies.
    pub(crate) async fn send(&self, signal: Signal, ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Result<()> {
        let (ours, theirs) = tokio::join!(
            send_all(&self.gateway.otlp[0], signal, KEY, ours),
            send_all(&self.collector.http, signal, COLLECTOR_TOKEN, theirs)
        );
        ours.and(theirs)
    }

    /// Compares a table, prints what it found, and says whether both agree and every column held something.
    pub(crate) async fn compare(&self, table: &str, show: usize) -> Result<bool> {
        let ours = self.rows(OURS, table).await?;
        let theirs = self.rows(THEIRS, table).await?;
        let comparison = compare(table, &ours, &theirs);
        println!(
            "\n{table}: {} rows of otelgate, {} of the collector, {} equal",
            ours.rows.len(),
            theirs.rows.len(),
            comparison.equal
        );
        for difference in comparison.differences.iter().take(show) {
            println!("  {}\n    otelgate  {}\n    collector {}", difference.column, difference.ours, difference.theirs);
        }
        if !comparison.agrees() {
            println!(
                "  {} columns differ, {} rows only of otelgate, {} only of the collector",
                comparison.differences.len(),
                comparison.only_ours,
                comparison.only_theirs
            );
        }
        for (known, count) in &comparison.known {
            println!("  known difference {known:?}: {count} times");
        }
        let counts = not_default(&ours);
        println!(
            "  not default: {}",
            counts.iter().map(|(column, count)| format!("{column} {count}")).collect::<Vec<_>>().join(", ")
        );
        let always_default: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).map(|(column, _)| column).collect();
        if !always_default.is_empty() {
            println!("  nothing was compared in {always_default:?}");
        }
        let blind = blind(table, &ours);
        println!(
            "  corrupting one column of one row was noticed in {} of {} columns",
            counts.len() - blind.len(),
            counts.len()
        );
        Ok(comparison.agrees() && always_default.is_empty() && blind.is_empty())
    }

    /// Waits until the collector, which answers before it stores, has as many rows in each table as otelgate.
    pub(crate) async fn arrived(&self) -> Result<()> {
        let ours = self.counts(OURS).await?;
        let (mut theirs, mut last) = (Vec::new(), Instant::now());
        while last.elapsed() < QUIET {
            let now = self.counts(THEIRS).await?;
            if now.iter().zip(&ours).all(|(theirs, ours)| theirs >= ours) {
                return Ok(());
            }
            if now != theirs {
                (theirs, last) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// How many rows each table has; in a rollup, how many were counted.
    async fn counts(&self, database: &str) -> Result<Vec<u64>> {
        let mut counts = Vec::new();
        for table in TABLES {
            let what = if table.ends_with("rollup_15m") { "sum(count)" } else { "count()" };
            counts.push(self.clickhouse.number(&format!("SELECT {what} FROM {database}.{table}")).await?);
        }
        Ok(counts)
    }

    /// Ends the collector; answers what its transforms did, and what else it logged.
    pub(crate) async fn end(self) -> Result<(Branches, String)> {
        self.collector.kill().await?;
        let branches = tokio::task::spawn_blocking(|| self.branches.join()).await?;
        let branches = branches.map_err(|_| anyhow::anyhow!("the log's reader panicked"))??;
        let log = std::fs::read(self.folder.path().join(LOG)).context("the collector's log")?;
        let log: Vec<_> = log.split(|byte| *byte == b'\n').filter(|line| tells(line)).take(20).collect();
        Ok((branches, String::from_utf8_lossy(&log.join(&b'\n')).into_owned()))
    }

    async fn rows(&self, database: &str, table: &str) -> Result<Rows> {
        let columns = match table {
            "otel_logs_kv_rollup_15m" => {
                "Timestamp, ColumnIdentifier, Key, \
                 if(Key = 'clash.a', replaceRegexpOne(Value, '^(flat|nested) ', ''), Value) AS Value, sum(count) AS count"
            }
            _ if table.ends_with("rollup_15m") => "Timestamp, ColumnIdentifier, Key, Value, sum(count) AS count",
            _ => "*",
        };
        let group = if table.ends_with("rollup_15m") { "GROUP BY ALL" } else { "" };
        let sql = format!("SELECT {columns} FROM {database}.{table} {group} SETTINGS {SETTINGS}");
        let text = self.clickhouse.query_bytes(&sql, "TabSeparatedWithNames").await?;
        Ok(Rows::parse(text.as_ref()))
    }
}

/// otelgate in front of a collector of its own, which takes TLS and a token.
async fn forwarding(setup: CollectorSetup<'_>, folder: &TempDir, how: &str) -> Result<(Gateway, Collector)> {
    let (protocol, compression) = how.split_once('-').context("--forward takes for example grpc-zstd")?;
    let behind = folder.path().join("behind");
    std::fs::create_dir(&behind)?;
    let certificates = Certificates::in_folder(&behind)?;
    let tls = Some(&certificates);
    let collector =
        Collector::start(CollectorSetup { folder: &behind, database: OURS, tls, env: &[], log: None, ..setup }).await?;
    let endpoint = if protocol == "grpc" { &collector.grpc } else { &collector.http };
    let config = config(folder, OURS).forward(endpoint, protocol).token(COLLECTOR_TOKEN, &certificates.ca);
    Ok((config.sink(&format!("compression: {compression}")).start().await?, collector))
}

/// otelgate in plain text on loopback, with one key that has no limits to speak of.
fn config(folder: &TempDir, name: &str) -> Config {
    Config::new(folder.path(), &format!("{name}-")).key(&Key::known("oracle", KEY).unlimited())
}

/// Whether a line of the collector's log may explain what is missing.
fn tells(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let about_transforms = line.contains("\"statement\":");
    !about_transforms && (!line.starts_with("{\"level\":") || line.contains("\"error\":"))
}
