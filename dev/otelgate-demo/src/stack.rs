//! The stack of the demonstration, kept in one folder so that later starts take seconds.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use local_stack::{Certificates, ClickHouse, Gateway, new_key};

use crate::stream::Counts;

/// Everything that runs.
pub(crate) struct Stack {
    pub(crate) clickhouse: ClickHouse,
    gateway: Gateway,
    pub(crate) certificates: Certificates,
    pub(crate) key: String,
    pub(crate) endpoint: String,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl Stack {
    /// Starts what is needed; makes certificate, key and configuration the first time.
    pub(crate) async fn start(folder: &Path, port: u16) -> Result<Stack> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        println!("Starting ClickHouse …");
        let clickhouse = ClickHouse::start(&folder.join("clickhouse"), 0).await?;
        clickhouse.query("CREATE DATABASE IF NOT EXISTS otel", "TabSeparated").await?;
        let certificates = Certificates::in_folder(&folder.join("tls"))?;
        let key = key(&folder).await?;
        let config = folder.join("otelgate.yaml");
        fs::write(&config, configuration(&folder, &certificates, &clickhouse, port))?;
        let log = folder.join("otelgate.log");
        println!("Starting otelgate …");
        let gateway = Gateway::start(&config, &[("CLICKHOUSE_PASSWORD", &clickhouse.password)], Some(&log))
            .await
            .with_context(|| format!("its log is {}", log.display()))?;
        let endpoint = format!("https://localhost:{port}");
        Ok(Stack { clickhouse, gateway, certificates, key, endpoint, config, log })
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

fn configuration(folder: &Path, certificates: &Certificates, clickhouse: &ClickHouse, port: u16) -> String {
    format!(
        "listen:\n  otlp: [\"127.0.0.1:{port}\"]\n  admin: \"127.0.0.1:9317\"\n\
         tls:\n  cert_file: {}\n  key_file: {}\n\
         keys:\n  file: {}\n\
         sink:\n  clickhouse:\n    url: \"{}\"\n    database: otel\n    user: {}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    create_schema: true\n",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.join("keys.yaml").display(),
        clickhouse.url,
        clickhouse.user,
    )
}
