//! Everything of the demonstration, kept in one folder so that later starts take seconds.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use stack::{BEARER, Certificates, ClickHouse, Config, Files, Gateway, Key, PlainCollector, keys_yaml};

use crate::stream::Counts;

/// Port of the listener for people.
const ADMIN: u16 = 9317;

/// Everything that runs.
pub(crate) struct Rig {
    pub(crate) clickhouse: ClickHouse,
    gateway: Gateway,
    _collector: Option<PlainCollector>,
    pub(crate) certificates: Certificates,
    pub(crate) key: String,
    pub(crate) endpoint: String,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl Rig {
    /// Starts what is needed; makes certificate, key and configuration the first time.
    pub(crate) async fn start(folder: &Path, port: u16, collector: Option<&Path>) -> Result<Rig> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        println!("Starting ClickHouse …");
        let data = folder.join("clickhouse");
        let clickhouse = ClickHouse::start_for_people(&data).await?;
        clickhouse.query("CREATE DATABASE IF NOT EXISTS otel", "TabSeparated").await?;
        let certificates = Certificates::in_folder(&folder.join("tls"))?;
        let key = key(&folder).await?;
        let config = Config::new(&folder, "").ports(port, ADMIN).tls(&certificates).spool();
        let mut files = config.clone().store(&clickhouse, "otel").sink("create_schema: true").write()?;
        let mut between = None;
        if let Some(program) = collector {
            apply_schema(&files).await?;
            println!("Starting the collector …");
            let collector = PlainCollector::start(program, &folder, &clickhouse, "otel", &certificates).await?;
            files = config.forward(&collector.endpoint("grpc"), "grpc").token(BEARER, &certificates.ca).write()?;
            between = Some(collector);
        }
        println!("Starting otelgate …");
        let gateway = files.start().await?;
        let endpoint = format!("https://localhost:{port}");
        let Files { config, log, .. } = files;
        Ok(Rig { clickhouse, gateway, _collector: between, certificates, key, endpoint, config, log })
    }

    /// Rows of each signal.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        Ok(Counts {
            spans: self.clickhouse.number("SELECT count() FROM otel.otel_traces").await?,
            logs: self.clickhouse.number("SELECT count() FROM otel.otel_logs").await?,
            points: self
                .clickhouse
                .number("SELECT (SELECT count() FROM otel.otel_metrics_sum) + (SELECT count() FROM otel.otel_metrics_histogram)")
                .await?,
        })
    }

    /// How to point any SDK at the demonstration.
    pub(crate) fn how_to_send(&self) -> String {
        format!(
            "Point any OpenTelemetry SDK at it (gRPC and HTTP on the same port):\n\n  \
             export OTEL_EXPORTER_OTLP_ENDPOINT={}\n  \
             export OTEL_EXPORTER_OTLP_HEADERS=authorization={}\n  \
             export OTEL_EXPORTER_OTLP_CERTIFICATE={}\n\n\
             Health and metrics: {}/readyz and {}/metrics. ClickHouse: {} (user default, no password, this machine only).\n",
            self.endpoint,
            self.key,
            self.certificates.ca.display(),
            self.gateway.admin,
            self.gateway.admin,
            self.clickhouse.url,
        )
    }

    /// Stops otelgate, then ClickHouse.
    pub(crate) async fn stop(mut self) -> Result<()> {
        println!("Stopping otelgate …");
        let status = self.gateway.process.stop(Duration::from_secs(60)).await?;
        println!("otelgate ended: {status}. Stopping ClickHouse …");
        self.clickhouse.stop(false).await
    }
}

/// The demonstration's key: made once, its digest in keys.yaml, the key itself in a file that only its owner reads.
async fn key(folder: &Path) -> Result<String> {
    let (file, keys) = (folder.join("key"), folder.join("keys.yaml"));
    if let (Ok(key), true) = (fs::read_to_string(&file), keys.exists()) {
        return Ok(key.trim().to_owned());
    }
    let new = Key::new("demo").await?;
    fs::write(keys, keys_yaml(std::slice::from_ref(&new)))?;
    fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?
        .write_all(new.key.as_bytes())?;
    Ok(new.key)
}

/// Makes the tables, which a collector in front of them does not.
async fn apply_schema(files: &Files) -> Result<()> {
    let output = files.command()?.args(["schema", "apply", "--config"]).arg(&files.config).output().await?;
    if !output.status.success() {
        bail!("the tables cannot be made: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
