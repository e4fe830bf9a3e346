//! What a run stands on: ClickHouse, the fault proxy, otelgate with its spool, and a database with tables of the wanted kind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stack::{Certificates, ClickHouse, Config, Files, Gateway, Key, ask, free_port};

use crate::proxy::Proxy;
use crate::room::Room;
use crate::trouble;

/// How the tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// With a deduplication window, as otelgate makes them.
    Window,
    /// Without one, as ClickStack makes them.
    NoWindow,
    /// With replicas.
    Replicated,
}

/// What a rig is started with.
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
    /// The tables have constraints that refuse, and views that fail.
    pub trouble: bool,
    /// So many servers are a shard, of which the first stands behind a proxy of the shard's own; 0: there are no shards.
    pub shard_size: usize,
}

/// Everything but the clients.
pub struct Rig {
    /// The database.
    pub database: String,
    /// Between otelgate and ClickHouse.
    pub proxy: Proxy,
    /// Between otelgate and the other shards, where there are shards.
    pub others: Vec<Proxy>,
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
    /// otelgate's configuration and log.
    pub files: Files,
    gateway: Option<Gateway>,
}

impl Rig {
    /// Makes the database on each server and the configuration in `folder`, and starts otelgate and a proxy that leads to the first server.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(servers: &[&ClickHouse], folder: &Path, setup: Setup<'_>) -> Result<Rig> {
        let clickhouse = *servers.first().context("no server")?;
        let folder = folder.join(setup.name);
        fs::create_dir_all(&folder)?;
        let database = format!("otel_test_faults_{}", setup.name);
        let proxy = Proxy::start(clickhouse).await?;
        let mut others = Vec::new();
        for shard in servers.chunks(setup.shard_size.max(1)).skip(1).filter(|_| setup.shard_size > 0) {
            others.push(Proxy::start(shard[0]).await?);
        }
        let (port, admin) = (free_port()?, free_port()?);
        let certificates = Certificates::in_folder(&folder)?;
        let key = Key::new("faults").await?;
        let limited_key = Key::new("limited").await?.with("limits: { requests_per_second: 4 }");
        let room = Room::new(&folder, setup.small_disk)?;
        let config = Config::new(&folder, "")
            .ports(port, admin)
            .key(&limited_key)
            .key(&key)
            .max_failures(1000)
            .store_at(&proxy.url(), (&clickhouse.user, &clickhouse.password), &database)
            .sink(&format!("create_schema: {}", setup.tables == Tables::Window))
            // However few cores there are, so that much is in flight when something fails.
            .sink("inserts_per_table: 4")
            .section(&sections(&room, "24MiB"))
            .section("log: { level: \"info,otelgate=debug\" }");
        let urls: Vec<String> =
            std::iter::once(&proxy).chain(&others).map(|shard| format!("[\"{}\"]", shard.url())).collect();
        let config = if setup.shard_size > 0 { config.shards(&format!("[{}]", urls.join(", "))) } else { config };
        let config = if setup.plaintext { config } else { config.tls(&certificates) };
        let files = config.write()?;
        let mut rig =
            Rig { database, proxy, others, port, admin, certificates, key, limited_key, room, files, gateway: None };
        for server in servers {
            rig.make_tables(server, setup.tables).await?;
        }
        if setup.trouble {
            trouble::begin(clickhouse, &rig.database).await?;
        }
        rig.start_gateway().await?;
        Ok(rig)
    }

    /// Starts otelgate on the same ports, spool and log.
    ///
    /// # Errors
    /// It does not start; its log says why.
    pub async fn start_gateway(&mut self) -> Result<()> {
        self.gateway = Some(self.files.start().await?);
        Ok(())
    }

    /// The same, with a log that nobody reads.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_gateway_unheard(&mut self) -> Result<()> {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        self.gateway = Some(self.files.start_saying(writer.into()).await?);
        Ok(())
    }

    /// Adds a setting of the sink to the configuration.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn set(&self, setting: &str) -> Result<()> {
        let text = fs::read_to_string(&self.files.config)?;
        Ok(fs::write(&self.files.config, text.replace("  clickhouse:\n", &format!("  clickhouse:\n    {setting}\n")))?)
    }

    /// Writes the first of two shards last.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn turn_shards(&self) -> Result<()> {
        let other = self.others.first().context("no shards")?.url();
        let (one, spare) = (self.proxy.url(), "http://spare");
        let text = fs::read_to_string(&self.files.config)?;
        let turned = text.replace(&one, spare).replace(&other, &one).replace(spare, &other);
        Ok(fs::write(&self.files.config, turned)?)
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
            bail!("otelgate ended with {status}; its log is {}", self.files.log.display());
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

    /// The tables that `otelgate schema print` names, with or without the window; the traces' rows remember their insert.
    async fn make_tables(&self, clickhouse: &ClickHouse, tables: Tables) -> Result<()> {
        let output =
            self.files.command()?.args(["schema", "print", "--config"]).arg(&self.files.config).output().await?;
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
    Ok(ask(&format!("http://127.0.0.1:{admin}"), "GET", path, "").await?.1)
}

/// Sections of otelgate's configuration: small batches, a spool in `room`, no limits to speak of.
pub(crate) fn sections(room: &Room, max_bytes: &str) -> String {
    let spool = room.spool();
    format!(
        "limits: {{ requests_per_second: 2000, records_per_second: 1000000, bytes_per_second: 256MiB }}\n\
         batch: {{ max_age: 150ms, commit_interval: 40ms, max_rows: 4000, max_bytes: 4MiB }}\n\
         spool: {{ dir: {}, max_bytes: {max_bytes}, min_free_bytes: 0B }}\n\
         shutdown: {{ drain_delay: 200ms, deadline: 20s }}\n",
        spool.display()
    )
}

/// A statement of the schema for the wanted kind of tables.
fn adapted(statement: &str, tables: Tables) -> Result<String> {
    const NUMBERED: &str = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, ";
    let mut statement = statement.to_owned();
    if statement.contains(".otel_traces\n") && !statement.contains("enable_block_number_column") {
        statement = statement.replace("SETTINGS ", NUMBERED);
    }
    match tables {
        Tables::Window => return Ok(statement),
        Tables::NoWindow => {}
        Tables::Replicated => return replicated(&statement),
    }
    let kept: Vec<&str> = statement.lines().filter(|line| !line.contains("deduplication_window")).collect();
    let text = kept.join("\n").trim_end().trim_end_matches(',').to_owned();
    if text.contains("deduplication_window") {
        bail!("cannot leave the deduplication window out of: {text}");
    }
    Ok(text)
}

/// The same table with replicas.
fn replicated(statement: &str) -> Result<String> {
    const PLACE: &str = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
    let Some(at) = statement.find("MergeTree") else { return Ok(statement.to_owned()) };
    let (before, engine) = statement.split_at(at);
    let (before, kind) = before.rsplit_once("ENGINE = ").context("a table without an engine")?;
    let rest = &engine["MergeTree".len()..];
    let arguments = match rest.strip_prefix('(') {
        Some(rest) if rest.starts_with(')') => format!("({PLACE}{rest}"),
        Some(rest) => format!("({PLACE}, {rest}"),
        None => format!("({PLACE}){rest}"),
    };
    Ok(format!("{before}ENGINE = Replicated{kind}MergeTree{arguments}"))
}
