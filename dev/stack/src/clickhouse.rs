//! ClickHouse: the embedded one of `clickhouse-dev`, or the server that `CLICKHOUSE_URL` names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Command;

use crate::process::{Process, binary};

/// How long ClickHouse may take to start; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A ClickHouse to store into and to look at.
#[derive(Debug)]
pub struct ClickHouse {
    /// Its HTTP address.
    pub url: String,
    /// The ingest user.
    pub user: String,
    /// The ingest user's password.
    pub password: String,
    /// Name and password of the user that looks.
    pub admin: (String, String),
    data: PathBuf,
    serving: Serving,
    process: Option<Process>,
}

/// The embedded server's ports, and whom it serves.
#[derive(Debug, Clone)]
struct Serving {
    http: u16,
    native: Option<u16>,
    /// Databases for which the ingest user has rights.
    databases: &'static [&'static str],
    replica: Option<Replica>,
    /// A further user, as `clickhouse-dev --user` takes it.
    user: Option<String>,
}

/// What makes an embedded server a replica.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// Port of the ZooKeeper.
    pub(crate) zookeeper: u16,
    /// Port where other replicas fetch parts.
    pub(crate) interserver: u16,
    /// Native ports of all replicas.
    pub(crate) cluster: [u16; 2],
}

/// Each test has a database of its own.
const OF_TESTS: &[&str] = &["otel", "otel_test_*"];

/// A user of the embedded server who may do what the ingest user may in the tests' databases, but for inserting; with the same password.
pub const READER: &str = "otelgate_reader";

impl ClickHouse {
    /// Starts `clickhouse-dev` on `data`, or uses `CLICKHOUSE_URL` with `CLICKHOUSE_USER` (default `hyperdx_ingest`) and `CLICKHOUSE_PASSWORD`
    /// for ingestion, `CLICKHOUSE_ADMIN_USER` (default `default`) and `CLICKHOUSE_ADMIN_PASSWORD` for looking.
    ///
    /// # Errors
    /// It does not start; the message says what is missing.
    pub async fn start(data: &Path, port: u16) -> Result<ClickHouse> {
        Self::start_on(data, Serving { http: port, native: None, databases: OF_TESTS, replica: None, user: None }).await
    }

    /// As [`ClickHouse::start`], with a port for ClickHouse's native protocol too.
    ///
    /// # Errors
    /// As [`ClickHouse::start`].
    pub async fn start_with_native_port(data: &Path, native: u16) -> Result<ClickHouse> {
        Self::start_on(data, Serving { http: 0, native: Some(native), databases: OF_TESTS, replica: None, user: None })
            .await
    }

    /// As [`ClickHouse::start`], where the ingest user has exactly the rights that otelgate asks for, on the database `otel`.
    ///
    /// # Errors
    /// As [`ClickHouse::start`].
    pub async fn start_for_people(data: &Path) -> Result<ClickHouse> {
        Self::start_on(data, Serving { http: 0, native: None, databases: &["otel"], replica: None, user: None }).await
    }

    /// An embedded server with a database `otel` and a user of this name who has these rights and no more (`SELECT ON a.b`), with the ingest
    /// user's password.
    ///
    /// # Errors
    /// As [`ClickHouse::start`].
    pub async fn start_with_user(data: &Path, name: &str, rights: &[String]) -> Result<ClickHouse> {
        let user = Some(format!("{name}={}", rights.join("; ")));
        Self::embedded(data, Serving { http: 0, native: None, databases: &["otel"], replica: None, user }).await
    }

    /// Starts a replica, whose native port is one of the cluster's.
    pub(crate) async fn start_replica(data: &Path, native: u16, replica: Replica) -> Result<ClickHouse> {
        Self::embedded(
            data,
            Serving { http: 0, native: Some(native), databases: OF_TESTS, replica: Some(replica), user: None },
        )
        .await
    }

    /// A server that runs already, with the users that the environment names.
    pub(crate) fn at(url: &str, data: &Path) -> ClickHouse {
        let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        ClickHouse {
            url: url.to_owned(),
            user: variable("CLICKHOUSE_USER", "hyperdx_ingest"),
            password: variable("CLICKHOUSE_PASSWORD", ""),
            admin: (variable("CLICKHOUSE_ADMIN_USER", "default"), variable("CLICKHOUSE_ADMIN_PASSWORD", "")),
            data: data.to_owned(),
            serving: Serving { http: 0, native: None, databases: OF_TESTS, replica: None, user: None },
            process: None,
        }
    }

    async fn start_on(data: &Path, serving: Serving) -> Result<ClickHouse> {
        match std::env::var("CLICKHOUSE_URL") {
            Ok(url) => Ok(ClickHouse { serving, ..Self::at(&url, data) }),
            Err(_) => Self::embedded(data, serving).await,
        }
    }

    async fn embedded(data: &Path, serving: Serving) -> Result<ClickHouse> {
        let (process, url) = Self::launch(data, &serving).await?;
        let password =
            std::fs::read_to_string(data.join("ingest.password")).context("clickhouse-dev left no ingest.password")?;
        let http = url.rsplit_once(':').context("no port in the ready line")?.1.parse()?;
        Ok(ClickHouse {
            url,
            user: "hyperdx_ingest".to_owned(),
            password: password.trim().to_owned(),
            admin: ("default".to_owned(), String::new()),
            data: data.to_owned(),
            serving: Serving { http, ..serving },
            process: Some(process),
        })
    }

    async fn launch(data: &Path, serving: &Serving) -> Result<(Process, String)> {
        std::fs::create_dir_all(data)?;
        let mut command = Command::new(binary("clickhouse-dev")?);
        command
            .arg("--data")
            .arg(data)
            .arg("--http-port")
            .arg(serving.http.to_string())
            .args(serving.databases.iter().flat_map(|database| ["--database", database]))
            .args(["--user", &format!("{READER}=SELECT, CREATE TABLE, CREATE VIEW ON otel_test_*.*")])
            .arg("--until-stdin-closes")
            .env_remove("CLICKHOUSE_PASSWORD");
        if let Some(native) = serving.native {
            command.arg("--tcp-port").arg(native.to_string());
        }
        if let Some(user) = &serving.user {
            command.args(["--user", user]);
        }
        if let Some(Replica { name, zookeeper, interserver, cluster }) = &serving.replica {
            command.args(["--replica", name, "--zookeeper", &format!("127.0.0.1:{zookeeper}")]);
            command.args(["--interserver-port", &interserver.to_string()]);
            for port in cluster {
                command.args(["--cluster-port", &port.to_string()]);
            }
        }
        Process::start(&mut command, Some(&data.join("clickhouse-dev.log")), PATIENCE).await
    }

    /// The embedded server's native port, when it was asked for one.
    pub fn native_port(&self) -> Option<u16> {
        self.serving.native
    }

    /// The embedded server's process; none when `CLICKHOUSE_URL` named a server.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Ends the embedded server: SIGTERM, or SIGKILL when `hard`.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&mut self, hard: bool) -> Result<()> {
        match self.process.take() {
            Some(process) if hard => process.kill().await,
            Some(process) => process.stop(PATIENCE).await.map(drop),
            None => Ok(()),
        }
    }

    /// SIGSTOP of the embedded server, or SIGCONT.
    ///
    /// # Errors
    /// It does not run, or is none.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let process = self.process.as_ref().context("no embedded server runs")?;
        process.signal(if frozen { Signal::STOP } else { Signal::CONT })
    }

    /// Starts the embedded server again, on the same data and port.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let (process, _) = Self::launch(&self.data, &self.serving).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs a statement as the administrator; answers its rows as text in `format`.
    ///
    /// # Errors
    /// ClickHouse refuses it or does not answer.
    pub async fn query(&self, sql: &str, format: &str) -> Result<String> {
        Ok(String::from_utf8(self.query_bytes(sql, format).await?)?)
    }

    /// As [`ClickHouse::query`], for rows that are no UTF-8.
    ///
    /// # Errors
    /// As [`ClickHouse::query`].
    pub async fn query_bytes(&self, sql: &str, format: &str) -> Result<Vec<u8>> {
        let client =
            clickhouse::Client::default().with_url(&self.url).with_user(&self.admin.0).with_password(&self.admin.1);
        let refused = || format!("ClickHouse refused: {sql}");
        Ok(client.query(sql).fetch_bytes(format)?.collect().await.with_context(refused)?.to_vec())
    }

    /// A single number.
    ///
    /// # Errors
    /// As [`ClickHouse::query`], or the answer is no number.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let answer = self.query(sql, "TabSeparated").await?;
        answer.trim().parse().with_context(|| format!("{sql} answered {answer:?}"))
    }
}
