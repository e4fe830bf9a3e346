//! The two sides: otelgate and the collector, each with a database of one ClickHouse.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_stack::{COLLECTOR_TOKEN, Certificates, ClickHouse, Collector, CollectorSetup, Gateway, free_port};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::compare::{Rows, compare, not_default};
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

const OURS: &str = "otel_test_otelgate";
const THEIRS: &str = "otel_test_collector";
const KEY: &str = "oracle-key";

/// Both sides, running.
pub(crate) struct Sides {
    clickhouse: ClickHouse,
    gateway: Gateway,
    collector: Collector,
    /// The collector behind otelgate, when it forwards.
    _behind: Option<Collector>,
    _folder: TempDir,
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
        let theirs = gateway(&folder, THEIRS, &storing(&clickhouse, THEIRS), &clickhouse.password).await?;
        theirs.process.stop(Duration::from_secs(30)).await?;
        let mut gateway = gateway(&folder, OURS, &storing(&clickhouse, OURS), &clickhouse.password).await?;
        let setup = CollectorSetup {
            program,
            configs,
            folder: folder.path(),
            clickhouse: &clickhouse,
            database: THEIRS,
            tls: None,
        };
        let collector = Collector::start(setup).await?;
        let mut behind = None;
        if let Some(how) = forward {
            // The requests' times are of any year, and what is compared waits for two collectors.
            clickhouse.query("SYSTEM STOP TTL MERGES", "TabSeparated").await?;
            gateway.process.stop(Duration::from_secs(30)).await?;
            (gateway, behind) =
                forwarding(setup, &folder, how).await.map(|(gateway, behind)| (gateway, Some(behind)))?;
        }
        Ok(Sides { clickhouse, gateway, collector, _behind: behind, _folder: folder })
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

    /// Sends the same bodies to both.
    pub(crate) async fn send(&self, path: &str, bodies: &[Vec<u8>]) -> Result<()> {
        let (ours, theirs) = tokio::join!(
            send_all(&self.gateway.otlp[0], path, KEY, bodies),
            send_all(&self.collector.http, path, COLLECTOR_TOKEN, bodies)
        );
        ours.and(theirs)
    }

    /// Compares a table, prints what it found, and says whether both agree and every column held something.
    pub(crate) async fn compare(&self, table: &str, show: usize) -> Result<bool> {
        let ours = self.rows(OURS, table).await?;
        let theirs = self.rows_once_arrived(table, ours.rows.len()).await?;
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
        Ok(comparison.agrees() && always_default.is_empty())
    }

    /// Severity text and number and the body of each log of otelgate.
    pub(crate) async fn logs(&self) -> Result<Vec<(String, u8)>> {
        let sql = format!("SELECT SeverityText, SeverityNumber FROM {OURS}.otel_logs");
        let rows = Rows::parse(self.clickhouse.query_bytes(&sql, "TabSeparatedWithNames").await?.as_ref());
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Ok(rows.rows.iter().map(|row| (text(&row[0]), text(&row[1]).parse().unwrap_or(0))).collect())
    }

    /// The collector stores when its batch is full or 5 s old.
    async fn rows_once_arrived(&self, table: &str, expected: usize) -> Result<Rows> {
        let mut rows = self.rows(THEIRS, table).await?;
        for _ in 0..100 {
            if rows.rows.len() >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            rows = self.rows(THEIRS, table).await?;
        }
        Ok(rows)
    }

    async fn rows(&self, database: &str, table: &str) -> Result<Rows> {
        // The collector parses JSON bodies into Go maps, whose order is random: log attributes are compared sorted by key.
        let columns = match table {
            "otel_logs" => "* REPLACE (mapSort(LogAttributes) AS LogAttributes)",
            _ if table.ends_with("rollup_15m") => "Timestamp, ColumnIdentifier, Key, Value, sum(count) AS count",
            _ => "*",
        };
        let group = if table.ends_with("rollup_15m") { "GROUP BY ALL" } else { "" };
        let sql = format!("SELECT {columns} FROM {database}.{table} {group}");
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
    let collector = Collector::start(CollectorSetup { folder: &behind, database: OURS, tls, ..setup }).await?;
    let endpoint = if protocol == "grpc" { &collector.grpc } else { &collector.http };
    let sink = format!(
        "  forward:\n    endpoint: \"{endpoint}\"\n    protocol: {protocol}\n    compression: {compression}\n    \
         token: {COLLECTOR_TOKEN}\n    ca_file: {}\n",
        certificates.ca.display()
    );
    Ok((gateway(folder, OURS, &sink, "").await?, collector))
}

/// Section `sink` of a gateway that stores.
fn storing(clickhouse: &ClickHouse, database: &str) -> String {
    format!(
        "  clickhouse:\n    url: \"{}\"\n    database: {database}\n    user: {}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    \
         ttl: {{ logs: 7300d, traces: 7300d, metrics: 7300d, sessions: 7300d }}\n",
        clickhouse.url, clickhouse.user
    )
}

/// otelgate in plaintext on loopback, with one key that has no limits to speak of.
async fn gateway(folder: &TempDir, name: &str, sink: &str, password: &str) -> Result<Gateway> {
    let path = |file: &str| folder.path().join(format!("{name}-{file}"));
    let digest: String = Sha256::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let limits = "limits: { requests_per_second: 100000, bytes_per_second: 1GiB, records_per_second: 10000000 }";
    std::fs::write(path("keys.yaml"), format!("keys:\n  - name: oracle\n    sha256: \"{digest}\"\n    {limits}\n"))?;
    let config = format!(
        "listen:\n  otlp: [\"127.0.0.1:0\"]\n  admin: \"127.0.0.1:0\"\ntls: {{ plaintext: true }}\nkeys:\n  file: {}\n\
         sink:\n{sink}",
        path("keys.yaml").display()
    );
    std::fs::write(path("otelgate.yaml"), config)?;
    let log = path("otelgate.log");
    match Gateway::start(&path("otelgate.yaml"), &[("CLICKHOUSE_PASSWORD", password)], Some(&log)).await {
        Ok(gateway) => Ok(gateway),
        Err(error) => bail!("{error:#}\n{}", std::fs::read_to_string(log).unwrap_or_default()),
    }
}
