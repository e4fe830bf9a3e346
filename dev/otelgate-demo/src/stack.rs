//! The stack of the demonstration, kept in one folder so that later starts take seconds.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use local_stack::{COLLECTOR_TOKEN, Certificates, ClickHouse, Gateway, PlainCollector, binary, free_port, new_key};
use tokio::process::Command;

use crate::stream::Counts;

/// Everything that runs.
pub(crate) struct Stack {
    pub(crate) clickhouse: ClickHouse,
    gateway: Gateway,
    _collector: Option<PlainCollector>,
    pub(crate) certificates: Certificates,
    pub(crate) key: String,
    pub(crate) endpoint: String,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl Stack {
    /// Starts what is needed; makes certificate, key and configuration the first time.
    pub(crate) async fn start(folder: &Path, port: u16, collector: Option<&Path>) -> Result<Stack> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        println!("Starting ClickHouse …");
        let data = folder.join("clickhouse");
        let native = collector.map(|_| free_port()).transpose()?;
        let clickhouse = ClickHouse::start_for_people(&data, native).await?;
        clickhouse.query("CREATE DATABASE IF NOT EXISTS otel", "TabSeparated").await?;
        let certificates = Certificates::in_folder(&folder.join("tls"))?;
        let key = key(&folder).await?;
        let config = folder.join("otelgate.yaml");
        fs::write(&config, configuration(&folder, &certificates, port, &storing(&clickhouse)))?;
        let collector = match collector {
            None => None,
            Some(program) => Some(between(program, &folder, &clickhouse, &certificates, &config, port).await?),
        };
        let log = folder.join("otelgate.log");
        println!("Starting otelgate …");
        let gateway = Gateway::start(&config, &[("CLICKHOUSE_PASSWORD", &clickhouse.password)], Some(&log))
            .await
            .with_context(|| format!("its log is {}", log.display()))?;
        let endpoint = format!("https://localhost:{port}");
        Ok(Stack { clickhouse, gateway, _collector: collector, certificates, key, endpoint, config, log })
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
    let new = new_key("demo").await?;
    fs::write(keys, format!("keys:\n{}", new.entry))?;
    fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?
        .write_all(new.key.as_bytes())?;
    Ok(new.key)
}

/// Makes the tables, starts a collector in front of them, and writes the configuration that forwards to it.
async fn between(
    program: &Path,
    folder: &Path,
    clickhouse: &ClickHouse,
    certificates: &Certificates,
    config: &Path,
    port: u16,
) -> Result<PlainCollector> {
    let mut schema = Command::new(binary("otelgate")?);
    schema.args(["schema", "apply", "--config"]).arg(config).env("CLICKHOUSE_PASSWORD", &clickhouse.password);
    let output = schema.output().await?;
    if !output.status.success() {
        bail!("the tables cannot be made: {}", String::from_utf8_lossy(&output.stderr));
    }
    println!("Starting the collector …");
    let collector = PlainCollector::start(program, folder, clickhouse, "otel", certificates).await?;
    let sink = format!(
        "  forward:\n    endpoint: \"{}\"\n    token: \"Bearer {COLLECTOR_TOKEN}\"\n    ca_file: {}\n",
        collector.endpoint("grpc"),
        certificates.ca.display()
    );
    fs::write(config, configuration(folder, certificates, port, &sink))?;
    Ok(collector)
}

fn storing(clickhouse: &ClickHouse) -> String {
    format!(
        "  clickhouse:\n    url: \"{}\"\n    database: otel\n    user: {}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    create_schema: true\n",
        clickhouse.url, clickhouse.user,
    )
}

fn configuration(folder: &Path, certificates: &Certificates, port: u16, sink: &str) -> String {
    format!(
        "listen:\n  otlp: [\"127.0.0.1:{port}\"]\n  admin: \"127.0.0.1:9317\"\n\
         tls:\n  cert_file: {}\n  key_file: {}\n\
         keys:\n  file: {}\n\
         sink:\n{sink}",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.join("keys.yaml").display(),
    )
}
