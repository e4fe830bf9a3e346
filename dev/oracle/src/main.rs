//! `oracle`, behind `make oracle`: the same random requests go to otelgate and to ClickStack's collector, into two databases of
//! one ClickHouse, and every column of every row is compared.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool")]

mod branches;
mod compare;
mod generate;
mod known;
mod send;
mod sides;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use otlp_client::Signal;
use prost::Message;

use generate::Generator;
use known::WithTimes;
use sides::Sides;

/// Compares the rows that otelgate writes with those of ClickStack's collector.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Seed of the requests; a fresh one when absent. It is printed, and repeats the run.
    #[arg(long)]
    seed: Option<u64>,
    /// Requests of each signal.
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// The collector's program, as `dev/oracle/build-collector.sh` builds it.
    #[arg(long)]
    collector: PathBuf,
    /// Folder of ClickStack's collector configuration.
    #[arg(long)]
    configs: PathBuf,
    /// otelgate does not store but forwards to a collector of its own: `grpc` or `http`, and the compression, as `grpc-zstd`.
    #[arg(long)]
    forward: Option<String>,
    /// Differences that are printed in full.
    #[arg(long, default_value_t = 20)]
    show: usize,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if !args.configs.join("config.standalone.auth.yaml").exists() {
        println!("skipped: ClickStack's collector configuration is not at {}", args.configs.display());
        return Ok(ExitCode::SUCCESS);
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("oracle: seed {seed}, {} requests a signal", args.requests);
    let mut generator = Generator::new(seed);
    // Two collectors each take what is left to chance their own way.
    generator.clashes = args.forward.is_none();
    let traces: Vec<_> = (0..args.requests).map(|_| generator.traces()).collect();
    let logs: Vec<_> = (0..args.requests).map(|_| generator.logs()).collect();
    let metrics: Vec<_> = (0..args.requests).map(|_| generator.metrics()).collect();

    let sides = Sides::start(&args.collector, &args.configs, args.forward.as_deref()).await?;
    let (forwards, mut odd_times) = (args.forward.is_some(), 0);
    let (ours, theirs) = sides_of(traces, forwards, &mut odd_times);
    sides.send(Signal::Traces, &ours, &theirs).await?;
    let with_data: Vec<_> = metrics.iter().cloned().map(known::with_data).collect();
    let (ours, theirs) = sides_of(with_data, forwards, &mut odd_times);
    let ours = if forwards { ours } else { encoded(&metrics) };
    sides.send(Signal::Metrics, &ours, &theirs).await?;
    let (ours, theirs) = sides_of(logs, forwards, &mut odd_times);
    sides.send(Signal::Logs, &ours, &theirs).await?;
    if args.forward.is_some() {
        sides.settle().await?;
    } else {
        sides.arrived().await?;
    }
    let mut failed = false;
    for table in sides::TABLES {
        failed |= !sides.compare(table, args.show).await?;
    }
    let without_data = generator.branches.get("metric without data").copied().unwrap_or(0);
    println!("\nknown difference: {without_data} metrics without data were not sent to the collector");
    println!("known difference: {odd_times} records whose time no column holds were not sent to the collector");
    let (branches, log) = sides.end().await?;
    failed |= !branches.report(&generator.branches, &args.configs)?;
    if failed {
        println!("\nthe collector's log:\n{log}");
    }
    println!("{}", if failed { "FAILED: see above" } else { "every column of every row agrees" });
    println!("oracle: seed {seed}, {} requests a signal", args.requests);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn encoded<T: Message>(requests: &[T]) -> Vec<Vec<u8>> {
    requests.iter().map(Message::encode_to_vec).collect()
}

/// What otelgate is sent, and what the collector is: but for the known differences in times, unless there is a collector behind otelgate too.
fn sides_of<T: Message + WithTimes>(requests: Vec<T>, forwards: bool, odd: &mut u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let ours = encoded(&requests);
    let theirs = match forwards {
        true => ours.clone(),
        false => requests.into_iter().map(|request| request.with_times(odd).encode_to_vec()).collect(),
    };
    (ours, theirs)
}
