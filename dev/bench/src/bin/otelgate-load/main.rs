//! `otelgate-load`: sends OTLP to any endpoint, at a rate or as fast as it goes, and says what came of it.
//!
//! Records are made before the clock starts. At a rate, a request's latency counts from the moment at which it
//! was due, not from the moment at which it was sent: a server that stalls cannot hide it (no coordinated omission).

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod bodies;
mod client;
mod drive;
mod process;
mod report;
mod times;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use otlp_client::{Protocol, Signal};

/// Sends OTLP load to an endpoint and reports records a second, latency, refusals, and what it cost.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  otelgate-load --endpoint https://localhost:4317 --ca run/ca.crt --key-file run/key --signal traces --duration 10s"
)]
struct Args {
    /// Where to send: https://HOST:PORT or http://HOST:PORT.
    #[arg(long)]
    endpoint: http::Uri,
    /// How to send.
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// HTTP version of OTLP/HTTP; gRPC is always HTTP/2. With HTTP/1.1 each request in flight has a connection of its own.
    #[arg(long, value_enum, default_value = "2")]
    http_version: HttpVersion,
    /// PEM file of the CA that signed the server's certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// File that holds the ingestion key (alternative: the environment variable OTELGATE_KEY).
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Compression of the bodies.
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// What to send.
    #[arg(long, value_enum, default_value = "traces")]
    signal: Signal,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in flight a connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Records (spans, log records, data points) a request.
    #[arg(long, default_value_t = 1000)]
    records: usize,
    /// Distinct request bodies made in memory; they are sent in turn, uncompressed protobuf with the present as its records' time.
    #[arg(long, default_value_t = 64)]
    bodies: usize,
    /// Records a second over all connections; as fast as it goes when absent.
    #[arg(long)]
    rate: Option<f64>,
    /// How long to send, for example 30s or 5m.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    duration: Duration,
    /// A request that takes longer counts as timed out.
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    timeout: Duration,
    /// Seed of the records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A process whose CPU seconds and peak memory are reported, as NAME=PID; may be repeated.
    #[arg(long = "process", value_parser = process::parse)]
    processes: Vec<process::Named>,
    /// Also write the report as JSON to this file (- for standard output, without the table).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HttpVersion {
    #[value(name = "1.1")]
    Http1,
    #[value(name = "2")]
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Deflate,
    Snappy,
    Lz4,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let key = match &args.key_file {
        Some(path) => Some(
            std::fs::read_to_string(path).with_context(|| format!("cannot read the key file {}", path.display()))?,
        ),
        None => std::env::var("OTELGATE_KEY").ok(),
    }
    .map(|key| key.trim().to_owned());
    let bodies = bodies::make(&args)?;
    let target = client::target(&args, key.as_deref())?;
    let before = process::read_all(&args.processes)?;
    let outcome = drive::run(&args, &target, &bodies).await?;
    let cost = process::difference(&args.processes, &before)?;
    report::print(&args, &outcome, &cost)
}

/// `250ms`, `10s`, `5m` or `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or("add a unit: ms, s, m or h")?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("10").is_err());
        assert!(parse_duration("-1s").is_err());
    }

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
