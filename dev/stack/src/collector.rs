//! ClickStack's collector as a process: its own configuration files, then one with addresses of this machine.

use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::{Certificates, ClickHouse};

/// What a client presents to the collector.
pub const COLLECTOR_TOKEN: &str = "collector-token";
/// The same as a bearer token, for those that know the scheme.
pub const BEARER: &str = "Bearer collector-token";

/// How a collector is started.
#[derive(Debug, Clone, Copy)]
pub struct CollectorSetup<'a> {
    /// The program, as `dev/oracle/build-collector.sh` builds it.
    pub program: &'a Path,
    /// Folder of the configuration files that ClickStack ships.
    pub configs: &'a Path,
    /// Folder for the fourth file and the log.
    pub folder: &'a Path,
    /// ClickHouse; it must have a native port.
    pub clickhouse: &'a ClickHouse,
    /// Database to store into.
    pub database: &'a str,
    /// Certificate of the receivers; plaintext when none.
    pub tls: Option<&'a Certificates>,
    /// Variables for ClickStack's configuration files, over those that are set here.
    pub env: &'a [(&'a str, &'a str)],
    /// Where its log goes, as one JSON object a line and none left out; a file of the folder when none.
    pub log: Option<&'a PipeWriter>,
}

/// A running collector; killed when dropped.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    /// Its OTLP/gRPC address.
    pub grpc: String,
    /// Its OTLP/HTTP address.
    pub http: String,
}

impl Collector {
    /// Starts the collector and waits until it accepts.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub async fn start(setup: CollectorSetup<'_>) -> Result<Collector> {
        let [grpc, http, health] = [free_port()?, free_port()?, free_port()?];
        let local = setup.folder.join("collector.yaml");
        std::fs::write(&local, local_file(&setup, grpc, http, health))?;
        let log = setup.folder.join("collector.log");
        let child = command(&setup, &local, &log)?
            .spawn()
            .with_context(|| format!("cannot start {}", setup.program.display()))?;
        let scheme = if setup.tls.is_some() { "https" } else { "http" };
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", http)).await.is_ok() {
                return Ok(Collector {
                    child,
                    grpc: format!("{scheme}://localhost:{grpc}"),
                    http: format!("{scheme}://localhost:{http}"),
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the collector does not listen; its log is {}", log.display())
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the collector has ended")
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn command(setup: &CollectorSetup<'_>, local: &Path, log: &Path) -> Result<Command> {
    let native = setup.clickhouse.native_port().context("ClickHouse has no native port")?;
    let (stdout, stderr): (Stdio, Stdio) = match setup.log {
        Some(pipe) => (pipe.try_clone()?.into(), pipe.try_clone()?.into()),
        None => {
            let file = std::fs::File::create(log)?;
            (file.try_clone()?.into(), file.into())
        }
    };
    let files =
        ["config.yaml", "config.standalone.yaml", "config.standalone.auth.yaml"].map(|name| setup.configs.join(name));
    let mut command = Command::new(setup.program);
    for file in files.iter().map(PathBuf::as_path).chain([local]) {
        command.arg("--config").arg(file);
    }
    command
        .env("OTLP_AUTH_TOKEN", COLLECTOR_TOKEN)
        .env("HYPERDX_OTEL_EXPORTER_CLICKHOUSE_DATABASE", setup.database)
        .env("HYPERDX_LOG_LEVEL", "warn")
        .env("HYPERDX_OTEL_EXPORTER_TIMEOUT", "60s")
        .env(
            "CLICKHOUSE_ENDPOINT",
            format!("tcp://127.0.0.1:{native}?dial_timeout=10s&max_partitions_per_insert_block=0"),
        )
        .env("CLICKHOUSE_USER", &setup.clickhouse.user)
        .env("CLICKHOUSE_PASSWORD", &setup.clickhouse.password)
        .envs(setup.env.iter().copied())
        .stdout(stdout)
        .stderr(stderr)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// The fourth file: where to listen, and with which certificate.
fn local_file(setup: &CollectorSetup<'_>, grpc: u16, http: u16, health: u16) -> String {
    let tls = setup.tls.map_or_else(String::new, |tls| {
        format!(
            "        tls:\n          cert_file: {}\n          key_file: {}\n",
            tls.certificate.display(),
            tls.key.display()
        )
    });
    let logs = if setup.log.is_some() {
        "    logs:\n      encoding: json\n      sampling:\n        enabled: false\n"
    } else {
        ""
    };
    format!(
        "receivers:\n  otlp/hyperdx:\n    protocols:\n      grpc:\n        endpoint: 127.0.0.1:{grpc}\n{tls}      http:\n        endpoint: 127.0.0.1:{http}\n{tls}\
         extensions:\n  health_check:\n    endpoint: 127.0.0.1:{health}\n\
         service:\n  telemetry:\n    metrics:\n      level: none\n      readers: []\n{logs}"
    )
}

/// A port that was free a moment ago, and that no connection is given as its own until it is listened on: systems choose those from 32768 up.
///
/// # Errors
/// None is free.
pub fn free_port() -> Result<u16> {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut some = std::iter::repeat_with(|| rand::random_range(20_000..32_000)).take(1000);
    some.find(is_free).context("no port is free")
}
