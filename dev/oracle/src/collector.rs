//! ClickStack's collector as a process: its own configuration files, then one with addresses of this machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// The fourth file: where to listen.
const LOCAL: &str = "\
receivers:
  otlp/hyperdx:
    protocols:
      grpc:
        endpoint: 127.0.0.1:${env:ORACLE_GRPC_PORT}
      http:
        endpoint: 127.0.0.1:${env:ORACLE_HTTP_PORT}
extensions:
  health_check:
    endpoint: 127.0.0.1:${env:ORACLE_HEALTH_PORT}
service:
  telemetry:
    metrics:
      level: none
      readers: []
";

/// The token that the collector asks for.
pub(crate) const TOKEN: &str = "oracle-token";

/// A running collector; killed when dropped.
pub(crate) struct Collector {
    _child: Child,
    /// Its OTLP/HTTP address.
    pub(crate) http: String,
}

impl Collector {
    /// Starts the collector so that it fills `database` over ClickHouse's native port, and waits until it accepts.
    pub(crate) async fn start(
        program: &Path,
        configs: &Path,
        folder: &Path,
        native_port: u16,
        password: &str,
        database: &str,
    ) -> Result<Collector> {
        let local = folder.join("collector.yaml");
        std::fs::write(&local, LOCAL)?;
        let [grpc, http, health] = [free_port()?, free_port()?, free_port()?];
        let log = std::fs::File::create(folder.join("collector.log"))?;
        let files =
            ["config.yaml", "config.standalone.yaml", "config.standalone.auth.yaml"].map(|name| configs.join(name));
        let mut command = Command::new(program);
        for file in files.iter().chain([&local]) {
            command.arg("--config").arg(file);
        }
        let child = command
            .env("OTLP_AUTH_TOKEN", TOKEN)
            .env("HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE", database)
            .env("HYPERDX_LOG_LEVEL", "warn")
            .env("CLICKHOUSE_ENDPOINT", format!("tcp://127.0.0.1:{native_port}?dial_timeout=10s"))
            .env("CLICKHOUSE_USER", "hyperdx_ingest")
            .env("CLICKHOUSE_PASSWORD", password)
            .env("ORACLE_GRPC_PORT", grpc.to_string())
            .env("ORACLE_HTTP_PORT", http.to_string())
            .env("ORACLE_HEALTH_PORT", health.to_string())
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", http)).await.is_ok() {
                return Ok(Collector { _child: child, http: format!("http://127.0.0.1:{http}") });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the collector does not listen; its log is {}", folder.join("collector.log").display())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where ClickStack's configuration is, if it is here.
pub(crate) fn configs(folder: &Path) -> Option<PathBuf> {
    let files = folder.join("config.standalone.auth.yaml");
    files.exists().then(|| folder.to_owned())
}
