//! `forward`, behind `make bench-forward`: CPU seconds per GB forwarded (TLS and a key in, plaintext gRPC out), of otelgate, the collector's
//! otlp to otlp, and nginx with a key map and `grpc_pass` where it is installed. GB are uncompressed bytes.
//!
//! They take turns under the same load in front of the same endpoint (a collector that drops everything), in one run.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool")]

mod gateways;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bench::KEY;
use clap::Parser;
use serde_json::Value;
use stack::cost::peak_memory;
use stack::{Certificates, Samples};

use gateways::{Kind, Running};

/// Measures what forwarding costs.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The collector's program.
    #[arg(long)]
    collector: PathBuf,
    /// Length of a run, as otelgate-load takes it.
    #[arg(long, default_value = "10s")]
    duration: String,
    /// Times that every gateway takes its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Uncompressed bytes of a body.
    #[arg(long, value_delimiter = ',', default_value = "65536,524288")]
    sizes: Vec<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::in_folder(&folder.path().join("tls"))?;
    let sink = gateways::sink(&args.collector, folder.path()).await?;
    let nginx = std::process::Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    if !nginx {
        println!("nginx is not installed: it takes no turn");
    }
    let kinds = [Kind::Otelgate, Kind::Collector, Kind::Nginx];
    let kinds = kinds.into_iter().filter(|kind| nginx || *kind != Kind::Nginx);
    let kinds: Vec<Kind> = kinds.collect();
    println!("{:<10} {:>8} {:>6} {:>12} {:>10} {:>9}", "gateway", "body", "in", "CPU s / GB", "MB / s", "peak MiB");
    for _ in 0..args.rounds {
        for size in &args.sizes {
            for compression in ["none", "gzip"] {
                for kind in &kinds {
                    let running = Running::start(*kind, &args.collector, folder.path(), &certificates, &sink).await?;
                    let load = load(&args, &running, &certificates, *size, compression).await?;
                    let peak = peak_memory(running.pid()?)? as f64 / f64::from(1 << 20);
                    let (seconds, gigabytes, rate) = figures(&load)?;
                    let per_gb = seconds / gigabytes;
                    println!("{kind:<10?} {size:>8} {compression:>6} {per_gb:>12.2} {rate:>10.0} {peak:>9.0}");
                    running.stop().await?;
                }
            }
        }
    }
    Ok(())
}

/// CPU seconds, uncompressed GB, and MB a second.
fn figures(load: &Value) -> Result<(f64, f64, f64)> {
    let number = |value: &Value| value.as_f64().context("a figure is missing in the load's report");
    let rate = number(&load["megabytes_per_second"])?;
    let gigabytes = rate * number(&load["elapsed_seconds"])? / 1e3;
    ensure!(gigabytes > 0.0, "nothing was accepted: {}", load["refused"]);
    Ok((number(&load["processes"][0]["cpu_seconds"])?, gigabytes, rate))
}

async fn load(
    args: &Args,
    running: &Running,
    certificates: &Certificates,
    size: usize,
    compression: &str,
) -> Result<Value> {
    let of_ten = Samples::new(1).traces_bytes(1000).len() / 100;
    let records = (10 * size / of_ten).max(1).to_string();
    let process = format!("gateway={}", running.pid()?);
    let arguments = ["--signal", "traces", "--duration", &args.duration, "--records", &records];
    let more = ["--compression", compression, "--process", &process];
    bench::load(&running.endpoint, &certificates.ca, KEY, &[&arguments[..], &more].concat()).await
}
