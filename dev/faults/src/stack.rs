//! What a run stands on: ClickHouse, the fault proxy, otelgate with its spool, and a database with tables of the wanted kind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use local_stack::{Certificates, ClickHouse, Gateway, Key, binary, free_port, new_key};
use tokio::process::Command;

use crate::proxy::Proxy;
use crate::room::Room;

/// How the tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// With a deduplication window, as otelgate makes them.
    Window,
    /// Without one, as ClickStack makes them.
    NoWindow,
}

/// What a stack is started with.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Names the database and the folder.
    pub name: &'a str,
    /// How the tables are made.
    pub tables: Tables,
    /// Plain text on the OTLP port.
    pub plaintext: bool,
    /// The spool lies on a small file system of its own where that can be had.
    pub small_disk: bool,
}

/// Everything but the clients.
pub struct Stack {
    /// The database.
    pub database: String,
    /// Between otelgate and ClickHouse.
    pub proxy: Proxy,
    /// otelgate's OTLP port, the same at every start.
    pub port: u16,
    /// otelgate's admin port.
    pub admin: u16,
    /// Its certificates.
    pub certificates: Certificates,
    /// A key that may send as much as it likes.
    pub key: Key,
    /// A key with a limit that is reached all the time.
    pub limited_key: Key,
    /// Where the spool lies.
    pub room: Room,
    /// otelgate's configuration.
    pub config: PathBuf,
    /// otelgate's log.
    pub log: PathBuf,
    gateway: Option<Gateway>,
    password: String,
}

impl Stack {
    /// Makes the database and the configuration in `folder`, and starts proxy and otelgate.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(clickhouse: &ClickHouse, folder: &Path, setup: Setup<'_>) -> Result<Stack> {
        let folder = folder.join(setup.name);
        fs::create_dir_all(&folder)?;
        let database = format!("otel_test_faults_{}", setup.name);
        let upstream = clickhouse.url.strip_prefix("http://").context("ClickHouse must be embedded")?.parse()?;
        let mut stack = Stack {
            proxy: Proxy::start(upstream).await?,
            port: free_port()?,
            admin: free_port()?,
            certificates: Certificates::in_folder(&folder)?,
            key: new_key("faults").await?,
            limited_key: new_key("limited").await?,
            room: Room::new(&folder, setup.small_disk)?,
            config: folder.join("otelgate.yaml"),
            log: folder.join("otelgate.log"),
            gateway: None,
            password: clickhouse.password.clone(),
            database,
        };
        let keys =
            format!("keys:\n{}    limits: {{ requests_per_second: 4 }}\n{}", stack.limited_key.entry, stack.key.entry);
        fs::write(folder.join("keys.yaml"), keys)?;
        fs::write(&stack.config, stack.configuration(&folder, clickhouse, setup))?;
        stack.make_tables(clickhouse, setup.tables).await?;
        stack.start_gateway().await?;
        Ok(stack)
    }

    /// Starts otelgate on the same ports, spool and log.
    ///
    /// # Errors
    /// It does not start; its log says why.
    pub async fn start_gateway(&mut self) -> Result<()> {
        let env = [("CLICKHOUSE_PASSWORD", self.password.as_str())];
        let started = Gateway::start(&self.config, &env, Some(&self.log)).await;
        self.gateway = Some(started.with_context(|| format!("its log is {}", self.log.display()))?);
        Ok(())
    }

    /// The command that starts otelgate, for those who start it in their own way.
    ///
    /// # Errors
    /// It was not built.
    pub fn gateway_command(&self) -> Result<(PathBuf, [(&'static str, String); 1])> {
        Ok((binary("otelgate")?, [("CLICKHOUSE_PASSWORD", self.password.clone())]))
    }

    /// SIGKILL of otelgate.
    ///
    /// # Errors
    /// It had ended before.
    pub async fn kill_gateway(&mut self) -> Result<()> {
        let gateway = self.gateway.take().context("otelgate does not run")?;
        gateway.process.pid()?;
        gateway.process.kill().await
    }

    /// SIGTERM; it must end well.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop_gateway(&mut self) -> Result<()> {
        let gateway = self.gateway.take().context("otelgate does not run")?;
        let status = gateway.process.stop(std::time::Duration::from_secs(60)).await?;
        if !status.success() {
            bail!("otelgate ended with {status}; its log is {}", self.log.display());
        }
        Ok(())
    }

    /// GET from the admin port.
    ///
    /// # Errors
    /// otelgate does not answer.
    pub async fn admin_get(&self, path: &str) -> Result<String> {
        get(self.admin, path).await
    }

    fn configuration(&self, folder: &Path, clickhouse: &ClickHouse, setup: Setup<'_>) -> String {
        let tls = if setup.plaintext {
            "{ plaintext: true }".to_owned()
        } else {
            let (certificate, key) = (self.certificates.certificate.display(), self.certificates.key.display());
            format!("{{ cert_file: {certificate}, key_file: {key} }}")
        };
        format!(
            "listen: {{ otlp: [\"127.0.0.1:{}\"], admin: \"127.0.0.1:{}\" }}\n\
             tls: {tls}\n\
             keys: {{ file: {}, max_failures_per_minute: 1000 }}\n\
             limits: {{ requests_per_second: 2000, records_per_second: 1000000, bytes_per_second: 256MiB }}\n\
             sink:\n  clickhouse:\n    url: \"{}\"\n    database: {}\n    user: {}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    create_schema: {}\n\
             batch: {{ max_age: 150ms, commit_interval: 40ms, max_rows: 4000, max_bytes: 4MiB }}\n\
             spool: {{ dir: {}, max_bytes: 24MiB, min_free_bytes: 0B }}\n\
             shutdown: {{ drain_delay: 200ms, deadline: 20s }}\n\
             log: {{ level: \"info,otelgate=debug\" }}\n",
            self.port,
            self.admin,
            folder.join("keys.yaml").display(),
            self.proxy.url(),
            self.database,
            clickhouse.user,
            setup.tables == Tables::Window,
            self.room.spool().display(),
        )
    }

    /// The tables that `otelgate schema print` names, with or without the window; the traces' rows remember their insert.
    async fn make_tables(&self, clickhouse: &ClickHouse, tables: Tables) -> Result<()> {
        let (program, env) = self.gateway_command()?;
        let output =
            Command::new(program).envs(env).args(["schema", "print", "--config"]).arg(&self.config).output().await?;
        if !output.status.success() {
            bail!("otelgate schema print: {}", String::from_utf8_lossy(&output.stderr));
        }
        clickhouse.query(&format!("CREATE DATABASE {}", self.database), "TabSeparated").await?;
        let text = String::from_utf8(output.stdout)?;
        for statement in text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            clickhouse.query(&adapted(statement, tables)?, "TabSeparated").await?;
        }
        Ok(())
    }
}

/// GET from an admin port of this machine.
pub(crate) async fn get(admin: u16, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", admin)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
}

/// A statement of the schema for the wanted kind of tables.
fn adapted(statement: &str, tables: Tables) -> Result<String> {
    const NUMBERED: &str = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, ";
    let mut statement = statement.to_owned();
    if statement.contains(".otel_traces\n") && !statement.contains("enable_block_number_column") {
        statement = statement.replace("SETTINGS ", NUMBERED);
    }
    if tables == Tables::Window {
        return Ok(statement);
    }
    let kept: Vec<&str> = statement.lines().filter(|line| !line.contains("deduplication_window")).collect();
    let text = kept.join("\n").trim_end().trim_end_matches(',').to_owned();
    if text.contains("deduplication_window") {
        bail!("cannot leave the deduplication window out of: {text}");
    }
    Ok(text)
}
