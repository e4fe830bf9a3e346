//! What every scenario stands on: ClickHouse with ClickStack's tables, certificates, and an otelgate configured for the scenario.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stack::{Certificates, ClickHouse, Config, Files, Gateway, Key, binary, free_port};
use tokio::process::Command;

/// How long otelgate may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an otelgate says in its log that waits for the ports of another one.
const WAITS: &str = "waiting until it stops and hands it over";
const DATABASE: &str = "otel_test_clients";

/// What lasts for the whole run.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) folder: PathBuf,
    pub(crate) clickhouse: ClickHouse,
    pub(crate) database: &'static str,
    pub(crate) certificates: Certificates,
}

impl Rig {
    /// Starts ClickHouse in `folder`.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(folder: &Path) -> Result<Rig> {
        let clickhouse = ClickHouse::start(&folder.join("clickhouse"), 0).await?;
        clickhouse.query(&format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"), "TabSeparated").await?;
        let certificates = Certificates::in_folder(&folder.join("tls"))?;
        Ok(Rig { folder: folder.to_owned(), clickhouse, database: DATABASE, certificates })
    }

    /// An otelgate with these keys, and what `more` adds to its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn gateway(
        &self,
        name: &str,
        keys: &[Key],
        supervised: bool,
        more: impl FnOnce(Config) -> Config,
    ) -> Result<Edge> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let (port, admin) = (free_port()?, free_port()?);
        let config = Config::new(&folder, "").ports(port, admin).tls(&self.certificates).max_failures(1000);
        let config = keys.iter().fold(config, Config::key).store(&self.clickhouse, self.database).spool().section(
            "batch: { max_age: 200ms }\nlog: { level: \"info,otelgate=debug\" }\nshutdown: { drain_delay: 0s }",
        );
        let files = more(config).write()?;
        let socket = supervised.then(|| std::net::TcpListener::bind(("127.0.0.1", port))).transpose()?;
        let mut edge = Edge { files, port, socket, running: None };
        edge.launch().await?;
        Ok(edge)
    }
}

/// An otelgate that may be replaced while clients send to it.
#[derive(Debug)]
pub(crate) struct Edge {
    files: Files,
    port: u16,
    /// What a supervisor keeps for it.
    socket: Option<std::net::TcpListener>,
    running: Option<Gateway>,
}

impl Edge {
    /// Where clients send to.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    async fn launch(&mut self) -> Result<()> {
        self.running = Some(match &self.socket {
            None => self.files.start().await?,
            Some(socket) => activate(&self.files, socket).await?,
        });
        Ok(())
    }

    /// Starts the next one, and stops the one that runs with SIGTERM.
    ///
    /// # Errors
    /// The next one does not start, or the other one does not end in order.
    pub(crate) async fn take_over(&mut self) -> Result<()> {
        let old = self.running.take().context("otelgate does not run")?;
        let waits = || std::fs::read_to_string(&self.files.log).unwrap_or_default().matches(WAITS).count();
        let before = waits();
        let (next, ended) = tokio::join!(self.files.start(), async {
            let waiting = async {
                while waits() == before {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(PATIENCE, waiting).await.context("the next otelgate does not ask for the ports")?;
            old.process.stop(PATIENCE).await
        });
        let status = ended?;
        if !status.success() {
            bail!("otelgate ended with {status}; its log is {}", self.files.log.display());
        }
        self.running = Some(next?);
        Ok(())
    }

    /// SIGKILL, and another start by what supervises it.
    ///
    /// # Errors
    /// It does not start again.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let old = self.running.take().context("otelgate does not run")?;
        old.process.kill().await?;
        // systemd's default for RestartSec.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.launch().await
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let running = self.running.context("otelgate does not run")?;
        let status = running.process.stop(PATIENCE).await?;
        if !status.success() {
            bail!("otelgate ended with {status}; its log is {}", self.files.log.display());
        }
        Ok(())
    }
}

/// Starts otelgate with a socket, as systemd passes it (sd_listen_fds(3)): descriptor 3, and its own process id in `LISTEN_PID`.
async fn activate(files: &Files, socket: &std::net::TcpListener) -> Result<Gateway> {
    use std::os::fd::AsRawFd;
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("exec 3<&{}; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", socket.as_raw_fd()), "bash"])
        .arg(binary("otelgate")?)
        .arg("serve")
        .arg("--config")
        .arg(&files.config)
        .env("CLICKHOUSE_PASSWORD", &files.password);
    Gateway::launch(&mut command, Some(&files.log)).await
}
