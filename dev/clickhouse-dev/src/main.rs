//! ClickHouse for development and tests: the real engine, run out of one shared library, with the users that otelgate needs.
//!
//! One engine a process. What is inserted lies below `--data` and is there again after any end, SIGKILL too.
//! SIGTERM and SIGINT end it cleanly, with exit code 0.

mod engine;
mod library;
mod replica;
mod server;
mod stop;
mod users;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Parser;

use users::ExtraUser;

/// Runs ClickHouse and prints one line `ready http://127.0.0.1:N` when it serves.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Folder of the tables, the configuration and the ingest user's password.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// HTTP port on loopback; 0 picks a free one.
    #[arg(long)]
    pub(crate) http_port: u16,
    /// Port of the native protocol on loopback; 0 picks a free one. Not opened when absent.
    #[arg(long)]
    pub(crate) tcp_port: Option<u16>,
    /// Databases that the ingest user may fill and `hyperdx` may read; created when missing. A name that ends with `*` gives
    /// the rights for every database that begins so, and creates none.
    #[arg(long = "database", value_name = "NAME", default_values_t = ["otel".to_owned()])]
    pub(crate) databases: Vec<String>,
    /// A further user with the ingest user's password, for example `wide=SELECT, INSERT, DROP TABLE ON *.*`;
    /// GRANT statements are separated by `;`.
    #[arg(long = "user", value_name = "NAME=GRANTS")]
    pub(crate) users: Vec<ExtraUser>,
    /// The server's time zone, which decides on a row's partition.
    #[arg(long, default_value = "UTC")]
    pub(crate) timezone: String,
    /// End when standard input closes, and so with the program that started this one, however that one ends.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    #[command(flatten)]
    pub(crate) replica: replica::ReplicaArgs,
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    let library = library::find()?;
    server::take_timezone(&args.timezone)?;
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot create {}", args.data.display()))?;
    args.data = std::fs::canonicalize(&args.data)?;
    let ports = server::Ports::choose(&args)?;
    let password = users::password(&args.data)?;
    server::write_config(&args, &password)?;
    server::announce_when_ready(ports.http);
    args.replica.serve(ports.http)?;
    let stopping = stop::on_signal(ports.http);
    if args.until_stdin_closes {
        stop::when_stdin_closes();
    }
    match engine::run(&library, &server::arguments(&args, ports), args.replica.interserver_port) {
        // The engine reports that its query was killed: that is how it was asked to end.
        Err(error) if !stopping.load(Ordering::Acquire) => Err(error),
        _ => Ok(()),
    }
}
