//! A collector with this project's own configuration (`docs/examples/collector.yaml`), for forwarding to.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::collector::free_port;
use crate::{COLLECTOR_TOKEN, Certificates, ClickHouse};

/// The collector's configuration.
const CONFIG: &str = include_str!("../../../docs/examples/collector.yaml");

/// The collector's program, where `dev/oracle/build-collector.sh` has built it; says aloud that it has not.
pub fn built_collector() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/build-collector.sh");
    let output = std::process::Command::new(script).arg("--if-built").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let built = output.status.success().then(|| PathBuf::from(path.trim()));
    if built.is_none() {
        #[allow(clippy::print_stderr, reason = "a skipped test is said aloud")]
        {
            eprintln!("SKIPPED: the collector has not been built; dev/oracle/build-collector.sh builds it");
        }
    }
    built
}

/// A collector that stores what it accepts; killed when dropped.
#[derive(Debug)]
pub struct PlainCollector {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    config: PathBuf,
    log: PathBuf,
    child: Child,
    ports: [u16; 2],
}

impl PlainCollector {
    /// Starts `program` and waits until it accepts; `database` must have its tables. It inserts over HTTP: the embedded engine ends now and
    /// then when a client of its native protocol is killed in the midst of an insert.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub async fn start(
        program: &Path,
        folder: &Path,
        clickhouse: &ClickHouse,
        database: &str,
        tls: &Certificates,
    ) -> Result<PlainCollector> {
        let to = [
            ("CLICKHOUSE_ENDPOINT", format!("{}?dial_timeout=10s", clickhouse.url)),
            ("CLICKHOUSE_DATABASE", database.to_owned()),
            ("CLICKHOUSE_USER", clickhouse.user.clone()),
            ("CLICKHOUSE_PASSWORD", clickhouse.password.clone()),
        ];
        Self::start_as(program, folder, tls, to, "").await
    }

    /// Starts one that exports to an OTLP/HTTP endpoint instead of ClickHouse.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub async fn start_before(
        program: &Path,
        folder: &Path,
        endpoint: &str,
        tls: &Certificates,
    ) -> Result<PlainCollector> {
        let nowhere = ["CLICKHOUSE_ENDPOINT", "CLICKHOUSE_DATABASE", "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"]
            .map(|name| (name, "tcp://127.0.0.1:9".to_owned()));
        let pipelines: String =
            ["traces", "logs", "metrics"].map(|signal| format!("    {signal}: {{ exporters: [otlphttp] }}\n")).concat();
        let more = format!(
            "exporters:\n  otlphttp: {{ endpoint: \"{endpoint}\", compression: none, sending_queue: {{ enabled: false }}, \
             retry_on_failure: {{ enabled: false }} }}\nservice:\n  pipelines:\n{pipelines}"
        );
        Self::start_as(program, folder, tls, nowhere, &more).await
    }

    async fn start_as(
        program: &Path,
        folder: &Path,
        tls: &Certificates,
        to: [(&'static str, String); 4],
        more: &str,
    ) -> Result<PlainCollector> {
        let ports = [free_port()?, free_port()?];
        let mut environment = vec![
            ("COLLECTOR_TOKEN", COLLECTOR_TOKEN.to_owned()),
            ("COLLECTOR_GRPC", format!("127.0.0.1:{}", ports[0])),
            ("COLLECTOR_HTTP", format!("127.0.0.1:{}", ports[1])),
            ("COLLECTOR_CERT", tls.certificate.display().to_string()),
            ("COLLECTOR_KEY", tls.key.display().to_string()),
        ];
        environment.extend(to);
        let (config, log) = (folder.join("collector.yaml"), folder.join("collector.log"));
        std::fs::write(&config, CONFIG)?;
        std::fs::write(config.with_extension("more.yaml"), more)?;
        let child = spawn(program, &config, &environment, &log)?;
        let collector = PlainCollector { program: program.to_owned(), environment, config, log, child, ports };
        collector.accepts().await?;
        Ok(collector)
    }

    /// Its OTLP address for `grpc` or `http`.
    pub fn endpoint(&self, protocol: &str) -> String {
        format!("https://localhost:{}", self.port(protocol))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its OTLP port for `grpc` or `http`.
    pub fn port(&self, protocol: &str) -> u16 {
        let [grpc, http] = self.ports;
        if protocol == "grpc" { grpc } else { http }
    }

    /// Kills it and starts it again with `more` merged into its configuration (which loses what was merged before).
    ///
    /// # Errors
    /// As [`PlainCollector::start`].
    pub async fn restart_with(&mut self, more: &str) -> Result<()> {
        std::fs::write(self.config.with_extension("more.yaml"), more)?;
        self.kill().await?;
        self.start_again().await
    }

    /// Starts it again on the same ports.
    ///
    /// # Errors
    /// As [`PlainCollector::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.config, &self.environment, &self.log)?;
        self.accepts().await
    }

    async fn accepts(&self) -> Result<()> {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.ports[1])).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the collector does not listen; its log is {}", self.log.display())
    }
}

fn spawn(program: &Path, config: &Path, environment: &[(&'static str, String)], log: &Path) -> Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config).envs(environment.iter().cloned());
    let more = config.with_extension("more.yaml");
    if std::fs::metadata(&more).is_ok_and(|more| more.len() > 0) {
        command.arg("--config").arg(more);
    }
    command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}
