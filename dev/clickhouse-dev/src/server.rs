//! The engine's configuration, arguments and ports, and the `ready` line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::Args;
use crate::users;

/// Keeps the program running after its listeners are up: one row a second, for ever.
const STAY: &str = "SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_block_size = 1, \
    function_sleep_max_microseconds_per_block = 0, max_threads = 1 FORMAT Null";

/// Loopback ports that were free when they were chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) tcp: Option<u16>,
}

impl Ports {
    /// Takes the ports that the arguments name, or free ones.
    ///
    /// # Errors
    /// When a named port is taken.
    pub(crate) fn choose(args: &Args) -> anyhow::Result<Self> {
        // Both are held while choosing, so that they differ.
        let http = listen(args.http_port)?;
        let tcp = args.tcp_port.map(listen).transpose()?;
        Ok(Ports {
            http: http.local_addr()?.port(),
            tcp: tcp.map(|tcp| tcp.local_addr()).transpose()?.map(|address| address.port()),
        })
    }
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; is another clickhouse-dev running there?"))
}

/// Writes config.xml and users.xml into the data folder.
///
/// # Errors
/// When a database's name is not plain, or a file cannot be written.
pub(crate) fn write_config(args: &Args, password: &str) -> anyhow::Result<()> {
    for name in &args.databases {
        let name = name.strip_suffix('*').unwrap_or(name);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            bail!("a database's name is letters, digits and _: {name:?}");
        }
    }
    write(&args.data.join("users.xml"), &users::xml(&args.databases, &args.users, password))?;
    write(&args.data.join("config.xml"), &config_xml(args, &args.replica.config_xml()?))
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// The engine takes its time zone from the environment only: starts this program again, as the same process, with `TZ` set.
///
/// # Errors
/// When the program cannot be started again.
pub(crate) fn take_timezone(timezone: &str) -> anyhow::Result<()> {
    if std::env::var_os("TZ").is_some_and(|now| now == timezone) {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let failed = Command::new(program).args(std::env::args_os().skip(1)).env("TZ", timezone).exec();
    Err(failed).context("cannot start again with TZ set")
}

/// `access_control_improvements` is what a server's own config.xml says; without it the local program is stricter. One that is no replica has
/// a cluster `here`, for tables that name one.
fn config_xml(args: &Args, replica: &str) -> String {
    let users = args.data.join("users.xml");
    let here = match replica.is_empty() {
        true => {
            "  <remote_servers>
    <here><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></here>
  </remote_servers>
"
        }
        false => "",
    };
    // Written as often as a server does by default: each writing of the log of parts is a part of its own, which that log has too.
    let log = |name: &str| {
        format!(
            "  <{name}>
    <database>system</database>
    <table>{name}</table>
    <flush_interval_milliseconds>7500</flush_interval_milliseconds>
  </{name}>\n"
        )
    };
    format!(
        "<clickhouse>
  <users_config>{}</users_config>
  <access_control_improvements>
    <table_engines_require_grant>false</table_engines_require_grant>
    <select_from_system_db_requires_grant>false</select_from_system_db_requires_grant>
  </access_control_improvements>
{}{}{replica}{here}</clickhouse>
",
        users::escape(&users.to_string_lossy()),
        log("query_log"),
        log("part_log"),
    )
}

/// The engine's command line.
pub(crate) fn arguments(args: &Args, ports: Ports) -> Vec<String> {
    let mut query: String = args
        .databases
        .iter()
        .filter(|name| !name.ends_with('*'))
        .map(|name| format!("CREATE DATABASE IF NOT EXISTS {name} ENGINE = Atomic; "))
        .collect();
    query.push_str("SYSTEM START LISTEN HTTP; ");
    if ports.tcp.is_some() {
        query.push_str("SYSTEM START LISTEN TCP; ");
    }
    query.push_str(STAY);

    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec![
        "clickhouse".to_owned(),
        "--path".to_owned(),
        path(&args.data),
        "--config-file".to_owned(),
        path(&args.data.join("config.xml")),
        "--listen_host".to_owned(),
        "127.0.0.1".to_owned(),
        "--http_port".to_owned(),
        ports.http.to_string(),
    ];
    if let Some(tcp) = ports.tcp {
        arguments.extend(["--tcp_port".to_owned(), tcp.to_string()]);
    }
    arguments.extend(["--query".to_owned(), query]);
    arguments
}

/// Prints `ready …` as soon as the engine answers over HTTP. A thread of its own: the engine takes the main one.
pub(crate) fn announce_when_ready(port: u16) {
    std::thread::spawn(move || {
        while !answers(port) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut out = std::io::stdout().lock();
        // Nobody may be reading; the server serves all the same.
        let _ = writeln!(out, "ready http://127.0.0.1:{port}").and_then(|()| out.flush());
    });
}

fn answers(port: u16) -> bool {
    query(port, "SELECT 1").is_ok_and(|answer| answer.starts_with("HTTP/1.") && answer.contains(" 200 "))
}

/// Runs one statement as `default`; the raw answer, headers first.
///
/// # Errors
/// When the engine does not answer within two seconds.
pub(crate) fn query(port: u16, statement: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = statement.len();
    write!(stream, "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{statement}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
