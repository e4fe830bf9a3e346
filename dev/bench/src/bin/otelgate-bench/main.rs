//! `otelgate-bench`, behind `make bench` and `make bench-peers`: what a whole gateway costs, and what it makes ClickHouse spend.
//!
//! The gateways take turns under the same load against the same engine, in one run of this program, because machines
//! differ more from hour to hour than gateways do. A run in which rows stored differ from records acknowledged is void, but for
//! one of Rotel, which acknowledges before it has stored anything: there the difference is what was measured.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool")]

mod gateways;
mod measure;
mod report;
mod rotel;
mod spool;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use gateways::Kind;
use measure::Bench;

/// Measures CPU seconds per million records, memory, latency and parts of whole gateways, and of ClickHouse behind them.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The collector's program; with it the collector takes turns with otelgate.
    #[arg(long, requires = "configs")]
    collector: Option<PathBuf>,
    /// Folder of ClickStack's collector configuration.
    #[arg(long)]
    configs: Option<PathBuf>,
    /// Rotel's program; with it Rotel takes turns too.
    #[arg(long)]
    rotel: Option<PathBuf>,
    /// Times that every gateway takes its turn; medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Signals.
    #[arg(long, value_delimiter = ',', default_value = "traces,logs,metrics")]
    signals: Vec<String>,
    /// Records a second of each run; 0 is as fast as it goes.
    #[arg(long, value_delimiter = ',', default_value = "0,10000")]
    rates: Vec<u64>,
    /// Length of a run, as otelgate-load takes it.
    #[arg(long, default_value = "15s")]
    duration: String,
    /// Records a request.
    #[arg(long, default_value_t = 1000)]
    records: u32,
    /// Measure otelgate without a spool too.
    #[arg(long)]
    without_spool: bool,
    /// Measure otelgate too with limits that are shared through the Redis at this address.
    #[arg(long)]
    shared_limits: Option<String>,
    /// Measure otelgate too with digests that are shared through the Redis at this address.
    #[arg(long)]
    shared_digests: Option<String>,
    /// Measure otelgate too with these lines in its configuration; what is indented at their beginning goes on with `sink.clickhouse`. May be there several times.
    #[arg(long)]
    with: Vec<String>,
    /// Instead: what the spool is worth (acknowledgements with ClickHouse away, a backlog's drain, a quiet gateway's inserts).
    #[arg(long)]
    spool: bool,
    /// Where each run's figures go, one JSON object a line.
    #[arg(long, default_value = "target/bench.jsonl")]
    raw: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut kinds = vec![Kind::Otelgate { spool: true }];
    if args.without_spool {
        kinds.push(Kind::Otelgate { spool: false });
    }
    if args.shared_limits.is_some() {
        kinds.push(Kind::SharedLimits);
    }
    if args.shared_digests.is_some() {
        kinds.push(Kind::SharedDigests);
    }
    kinds.extend((0..args.with.len()).map(Kind::With));
    if args.collector.is_some() {
        kinds.push(Kind::Collector);
    }
    if args.rotel.is_some() {
        kinds.push(Kind::Rotel);
    }
    let mut bench = Bench::start(&args).await?;
    if args.spool {
        return spool::scenarios(&mut bench).await;
    }
    let idle = bench.take_idle_share().await?;
    println!("ClickHouse takes {idle:.4} of a core while nothing comes, which is in no figure below");
    let mut runs = Vec::new();
    for round in 1..=args.rounds {
        for signal in &args.signals {
            for rate in &args.rates {
                for kind in &kinds {
                    let run = bench.run(*kind, signal, *rate, runs.len()).await?;
                    println!("round {round} of {}: {}", args.rounds, report::line(&run));
                    report::append(&args.raw, &run)?;
                    runs.push(run);
                }
            }
        }
    }
    report::medians(&runs);
    Ok(())
}
