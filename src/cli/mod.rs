//! The command line: what can be asked of otelgate, and the exit codes of its answers.

mod admin;
mod check;
mod doctor;
mod drain;
mod dumps;
mod health;
mod init;
mod keys;
mod logging;
mod schema;
mod serve;
mod spool;
mod top;
mod users;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use keys::KeysFile;
use otelgate::config::{self, Loaded, Mistakes, Remark};
use otelgate::sink::clickhouse::schema::Version;
use spool::Order;

/// How long a process that ends waits for who reads its last words.
const PATIENCE: Duration = Duration::from_secs(5);

/// The secure public edge in front of ClickStack: takes OTLP over gRPC and HTTP, checks the ingestion key, and stores
/// the telemetry in ClickHouse or forwards it to a collector. Nothing is acknowledged before it is safe.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done; 2 mistakes in the arguments or the configuration; 1 anything else."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write everything that a first start takes: configuration, certificate, key, the SQL for ClickHouse's user
    ///
    /// Asks ClickHouse for what it can tell, writes into one folder, overwrites nothing, and says the next command and the three variables for
    /// SDKs. The key is shown once.
    Init(init::Init),
    /// Run the gateway
    ///
    /// Prints one line `ready otlp=… admin=…` on standard output when every listener accepts, and logs to standard
    /// error. SIGTERM and Ctrl-C stop it: readiness turns off, what is in flight is answered, and it exits 0 within
    /// `shutdown.deadline`; the second signal stops it at once. SIGHUP rereads the configuration, keys and certificates, which
    /// are also reread when their files change; what waits for a restart is named in the log.
    Serve(serve::Serve),
    /// Check a configuration and the files it names
    ///
    /// Names every mistake of the configuration and of keys.yaml at once, as file:line:column, and exits 2. Also tries
    /// whether certificate and key can be read and belong together. Opens no socket and asks no server.
    Check(ConfigFile),
    /// Have the running gateway deliver everything and end, before its machine is taken away
    ///
    /// Readiness turns off, and after `shutdown.drain_delay` no request is taken any more: each is answered 503 / UNAVAILABLE with Retry-After. Exits 0 when
    /// everything is delivered and the gateway ends; 1, saying why, when rows are held or in quarantine or the timeout is over. SIGTERM ends a gateway that is being drained
    /// as any other: what is not delivered stays in the spool.
    Drain {
        #[command(flatten)]
        file: ConfigFile,
        /// Give up waiting after this time: `10m`; the gateway goes on
        #[arg(long, value_name = "TIME", value_parser = config::time)]
        timeout: Option<Duration>,
    },
    /// Ask the running process whether it is ready, as `/readyz` says it
    ///
    /// Prints a line a check, and exits 1 when it is not ready or does not run. For a container's health check.
    Health(ConfigFile),
    /// Look at what runs, and say what is wrong with the whole
    ///
    /// A line a check: ok, warning, wrong or cannot tell, with what it means, how it was found and what mends it. Looks at the configuration, keys, files,
    /// the spool's disk, this machine, and at ClickHouse as the ingest user and as a stranger. Exits 1 when something is wrong.
    Doctor {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON, a list of checks
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        more: doctor::More,
    },
    /// The status page in the terminal: whether data is taken and stored, how late, by key and by table
    ///
    /// Asks the running process through its admin socket or listener, every 2 s; q ends it. With `--once`, or where no terminal is, it prints once, as plain
    /// text, what it sees within a second.
    Top(top::Top),
    /// Make, list, replace and revoke ingestion keys
    #[command(subcommand)]
    Keys(Keys),
    /// Show, compare, create or alter the tables in ClickHouse
    #[command(subcommand)]
    Schema(Schema),
    /// ClickHouse's users: what otelgate's and HyperDX's may do
    #[command(subcommand)]
    Users(Users),
    /// See what waits in the spool, and decide on what was refused
    ///
    /// Asks the running process through its admin listener; when nothing listens there, the folder itself.
    #[command(subcommand)]
    Spool(Spool),
}

#[derive(Debug, Subcommand)]
enum Spool {
    /// List the batches that wait and those in quarantine, a line a part
    List(ConfigFile),
    /// Show one batch as JSON: its parts, its keys, and why rows were refused
    Show(OneBatch),
    /// Deliver once more what was refused of a batch in quarantine
    Retry(OneBatch),
    /// Drop a batch for good: one in quarantine, or what is not stored of one that waits
    Drop(OneBatch),
}

#[derive(Debug, Args)]
struct OneBatch {
    /// The batch's number, as `spool list` shows it
    sequence: u64,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration (YAML); otelgate.example.yaml shows every field and its default
    #[arg(long, value_name = "FILE", env = "OTELGATE_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Print a new key, once, and its entry for keys.yaml
    ///
    /// The key is 256 bits from the operating system. It is kept nowhere: the entry holds only its SHA-256.
    New {
        /// What logs and metrics call the key: up to 64 letters, digits, `.`, `_`, `-`
        #[arg(long, value_parser = config::key_name)]
        name: String,
        /// Write the entry into keys.yaml, and print the key only
        #[arg(long)]
        write: bool,
        #[command(flatten)]
        file: KeysFile,
    },
    /// List keys: name, source, state, signals, limits, expiry, last use
    ///
    /// Asks the running process through its admin listener; when nothing listens there, keys.yaml.
    List(ConfigFile),
    /// Disable a key in keys.yaml
    ///
    /// The entry stays with `enabled: false`, so that the key is refused whichever other source has it too.
    Revoke {
        /// The key's name
        #[arg(value_parser = config::key_name)]
        name: String,
        #[command(flatten)]
        file: KeysFile,
    },
    /// Give a name in keys.yaml a new key, and print it once; the old one is good for a while longer
    ///
    /// The old key goes on as NAME.old-1 with the same settings, so that logs and metrics say who still uses it.
    Rotate {
        /// The key's name
        #[arg(value_parser = config::key_name)]
        name: String,
        /// How long the old key is good: `24h`, `10m`, `0s`
        #[arg(long, default_value = "24h", value_parser = config::time)]
        grace: Duration,
        #[command(flatten)]
        file: KeysFile,
    },
    /// Read a key from standard input and print its SHA-256, as keys.yaml has it
    Hash,
}

/// A mistake in what was asked for; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

#[derive(Debug, Subcommand)]
enum Users {
    /// Print the SQL that makes the ingest user and HyperDX's read-only user
    ///
    /// For an administrator of ClickHouse. Each gets the least rights, the addresses that it comes from, a settings profile, and a quota where it
    /// inserts. The ingest user's password is the configuration's, of which the SHA-256 is printed; HyperDX's is made, and said once on standard error.
    /// Asks no server.
    Print {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        which: users::Which,
    },
}

#[derive(Debug, Subcommand)]
enum Schema {
    /// Print the SQL that creates the tables, views and indexes, with the configured TTLs
    ///
    /// For an administrator who creates them, so that the ingest user needs only INSERT and SELECT. Asks no server.
    Print {
        #[command(flatten)]
        file: ConfigFile,
        /// The server's version: before 26.2 there are no text indexes, and bloom filters stand in for them
        #[arg(long, value_name = "VERSION", default_value_t = Version::NEWEST)]
        server_version: Version,
        /// For one server of the cluster of `schema.cluster`, which passes each statement on to all; without it, to be run on every server
        #[arg(long)]
        on_cluster: bool,
    },
    /// Create the tables, views and indexes that are missing, as the configured user, on every server of the configuration
    ///
    /// Changes nothing that is there already, unless --ttl says so. A server that is down is said, and keeps no other from it; the exit code is 1 then.
    Apply {
        #[command(flatten)]
        file: ConfigFile,
        /// Bring the tables' TTL to sink.clickhouse.ttl instead
        ///
        /// Each ALTER is shown, then run. Where the configured user may not, they are for an administrator, and it exits 1. ClickHouse then looks at all
        /// parts anew, which takes it a while, and drops what is too old.
        #[arg(long)]
        ttl: bool,
    },
    /// Show how the tables differ from what otelgate would make
    ///
    /// A line a difference: columns with their types, defaults and codecs, indexes, engine, keys, TTL, settings, views. Changes nothing. Exits 0 when
    /// nothing differs, and 1 otherwise.
    Diff {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON, a list of differences
        #[arg(long)]
        json: bool,
    },
}

/// Parses the arguments and does what they ask.
pub(crate) fn run() -> ExitCode {
    let command = Arguments::parse().command;
    let asked_for = matches!(&command, Command::Serve(serve) if serve.core_dumps);
    if !asked_for && let Err(error) = dumps::forbid() {
        say(format_args!("core dumps cannot be forbidden: {error}"));
    }
    let done = match command {
        Command::Serve(serve) => serve::run(&serve.file.config),
        Command::Check(file) => check::run(&file.config),
        Command::Health(file) => health::run(&file.config),
        Command::Keys(Keys::New { name, write, file }) => keys::new(&name, write, &file),
        Command::Keys(Keys::List(file)) => keys::list(&file.config),
        Command::Keys(Keys::Revoke { name, file }) => keys::revoke(&name, &file),
        Command::Keys(Keys::Rotate { name, grace, file }) => keys::rotate(&name, grace, &file),
        Command::Keys(Keys::Hash) => keys::hash(),
        Command::Schema(Schema::Print { file, server_version, on_cluster }) => {
            schema::print(&file.config, server_version, on_cluster)
        }
        Command::Schema(Schema::Apply { file, ttl: true }) => schema::apply_ttl(&file.config),
        Command::Schema(Schema::Apply { file, ttl: false }) => schema::apply(&file.config),
        Command::Schema(Schema::Diff { file, json }) => match schema::diff(&file.config, json) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Doctor { file, json, more } => match doctor::run(&file.config, json, &more) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Top(top) => top::run(&top),
        Command::Drain { file, timeout } => drain::run(&file.config, timeout),
        Command::Init(init) => init::run(&init),
        Command::Users(Users::Print { file, which }) => users::print(&file.config, which),
        Command::Spool(Spool::List(file)) => spool::run(&file.config, Order::List),
        Command::Spool(Spool::Show(one)) => spool::run(&one.file.config, Order::Show(one.sequence)),
        Command::Spool(Spool::Retry(one)) => spool::run(&one.file.config, Order::Retry(one.sequence)),
        Command::Spool(Spool::Drop(one)) => spool::run(&one.file.config, Order::Drop(one.sequence)),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    match error.downcast_ref::<Mistakes>() {
        Some(mistakes) => {
            say(format_args!("{mistakes}\n{}", count(mistakes.0.len(), "mistake")));
            ExitCode::from(2)
        }
        None => {
            say(format_args!("otelgate: {}", in_words(&error)));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// The configuration in `file`; its warnings are shown.
fn load(file: &std::path::Path) -> Result<Loaded, Mistakes> {
    let loaded = config::load(file, &config::Process)?;
    loaded.warnings.iter().for_each(warn);
    Ok(loaded)
}

fn warn(warning: &Remark) {
    say(format_args!("warning: {warning}"));
}

/// One line to the person at the terminal, on standard error. Nobody is left to tell when that is closed, and nobody listens when it takes
/// nothing for [`PATIENCE`].
fn say(line: std::fmt::Arguments<'_>) {
    let text = format!("{line}\n");
    let (done, wait) = mpsc::channel();
    let write = move || {
        let _ = std::io::stderr().write_all(text.as_bytes());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
}

/// What was asked for, on standard output.
fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// An error and its causes, each said once: many say their cause in their own words.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// So many rows, in words.
fn rows(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "row")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let error = anyhow::anyhow!("no password").context("no password; write one").context("cannot start");
        assert_eq!(in_words(&error), "cannot start: no password; write one");
    }
}
