//! Rotel as a process: OTLP in plaintext without a key, which is all that it offers, and its ClickHouse exporter into ClickStack's tables.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stack::{ClickHouse, free_port};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running Rotel; killed when dropped.
pub(crate) struct Rotel {
    child: Child,
    /// Its OTLP/gRPC address.
    pub(crate) endpoint: String,
}

impl Rotel {
    /// Starts `program` and waits until it accepts. What it says goes to `rotel.log` in `folder`.
    pub(crate) async fn start(program: &Path, folder: &Path, clickhouse: &ClickHouse, database: &str) -> Result<Rotel> {
        let (grpc, http) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        let log = OpenOptions::new().create(true).append(true).open(folder.join("rotel.log"))?;
        let child = Command::new(program)
            .args(["start", "--exporter", "clickhouse", "--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
            .args(["--clickhouse-exporter-endpoint", &clickhouse.url, "--clickhouse-exporter-database", database])
            .env("ROTEL_CLICKHOUSE_EXPORTER_USER", &clickhouse.user)
            .env("ROTEL_CLICKHOUSE_EXPORTER_PASSWORD", &clickhouse.password)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        for _ in 0..300 {
            if TcpStream::connect(&grpc).await.is_ok() {
                return Ok(Rotel { child, endpoint: format!("http://{grpc}") });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("Rotel does not listen; its log is rotel.log")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("Rotel has ended")
    }

    /// SIGKILL: everything that it was going to store is stored by then, or lost.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
