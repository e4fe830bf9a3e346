//! `otelgate-faults`: breaks a running otelgate in every way it can think of, and counts the records.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use faults::campaign::{Outcome, Plan, run};
use faults::proxy::Answered;
use faults::rig::Tables;
use faults::schedule::Scene;
use faults::verify::Findings;
use faults::{flip, forward, narrow, power, quorum, replicas, shards, vanish};
use stack::{ClickHouse, built_collector};

/// Runs otelgate, ClickHouse and clients under faults, and checks that every acknowledged record is found exactly once.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides on the faults, their order and their pauses; a random one when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Faults with each kind of table: a third of them each without SIGKILL of ClickHouse, with it, and with constraints that refuse, views that
    /// fail and memory that is short.
    #[arg(long, default_value_t = 220)]
    faults: usize,
    /// Only one kind of table; `replicated` is one of two shards.
    #[arg(long, value_parser = ["window", "none", "replicated"])]
    tables: Option<String>,
    /// Only runs in which ClickHouse is killed, in which it is not, or in which it refuses rows.
    #[arg(long, value_parser = ["alive", "killed", "refusing"])]
    clickhouse: Option<String>,
    /// Only one of the checks: random moments, flipped bits, the order of writes, syncs and answers, a collector as sink, two
    /// replicas behind one address, two shards, memory that never suffices for a batch, or a file of the spool that vanishes.
    #[arg(long, value_parser = ["random", "flip", "power", "forward", "replicas", "shards", "narrow", "vanish"])]
    only: Option<String>,
    /// Keeps the folder with logs, spool and tables; it is kept anyhow when the promise is broken.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match start(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed} (repeat the schedule with --seed {seed})");
    let folder = tempfile::Builder::new().prefix("otelgate-faults-").tempdir()?.keep();
    let mut clickhouse = ClickHouse::start(&folder.join("clickhouse"), 0).await?;
    let result = all(&args, seed, &mut clickhouse, &folder).await;
    let stopped = clickhouse.stop(false).await;
    // What was found counts for more than how the server ended.
    let result = result.and(stopped);
    if result.is_ok() && !args.keep {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("logs, spools and tables are in {}", folder.display());
    }
    result
}

async fn all(args: &Args, seed: u64, clickhouse: &mut ClickHouse, folder: &Path) -> Result<()> {
    let wanted = |what: &str| args.only.as_ref().is_none_or(|only| only == what);
    if wanted("power") {
        println!("\npower loss: writes, syncs and answers of the real program, in their order");
        if let Some(checked) = power::run(clickhouse, folder).await? {
            let power::Checked { answers, new_files } = checked;
            println!(
                "  {answers} answers, each after the sync of its frame; {new_files} files were new, and their folder synced"
            );
        }
    }
    if wanted("flip") {
        println!("\nflipped bits");
        let flip::Flipped { bits, lost, requests, counted } = flip::run(clickhouse, folder, seed).await?;
        println!("  {bits} bits cost {lost} records of {requests} requests; otelgate counts {counted} as lost");
    }
    if wanted("vanish") {
        println!("\na file of the spool vanishes");
        let vanish::Vanished { lost, counted, stored } = vanish::run(clickhouse, folder, seed).await?;
        println!("  {lost} records are lost with it, otelgate counts {counted}; {stored} others are stored");
    }
    if wanted("narrow") {
        println!("\nmemory that never suffices for a batch");
        let narrow::Narrow { limit, refused, stored } = narrow::run(clickhouse, folder, seed).await?;
        println!("  {stored} records are stored with {limit} bytes for an insert, {refused} inserts were refused");
    }
    if wanted("random") {
        random_moments(args, seed, clickhouse, folder).await?;
    }
    if wanted("forward") {
        forwarding(args, seed, folder).await?;
    }
    if wanted("replicas") {
        replicated(args, seed, folder).await?;
    }
    if wanted("shards") {
        sharded(args, seed, folder).await?;
    }
    println!("\nthe promise was kept (seed {seed})");
    Ok(())
}

/// With a collector behind otelgate, over each protocol.
async fn forwarding(args: &Args, seed: u64, folder: &Path) -> Result<()> {
    let Some(collector) = built_collector() else { return Ok(()) };
    for protocol in ["grpc", "http"] {
        println!("\nforwarding over {protocol}");
        let faults = args.faults.div_ceil(4);
        let outcome = forward::run(folder, forward::Plan { collector: &collector, protocol, seed, faults }).await?;
        print!("{outcome}");
        if !outcome.findings.broken.is_empty() {
            bail!("the promise is broken in {} places (seed {seed})", outcome.findings.broken.len());
        }
    }
    Ok(())
}

/// Over two shards, with each kind of table, and of two replicas each.
async fn sharded(args: &Args, seed: u64, folder: &Path) -> Result<()> {
    for (kind, tables) in [("window", Tables::Window), ("none", Tables::NoWindow), ("replicated", Tables::Replicated)] {
        if args.tables.as_ref().is_some_and(|wanted| wanted != kind) {
            continue;
        }
        println!("\ntwo shards; deduplication of the tables: {kind}");
        let Some(outcome) = shards::run(folder, seed, tables, args.faults.div_ceil(6)).await? else { continue };
        let shards::Outcome { faults, findings, spans } = outcome;
        println!("  {faults} faults; spans at each shard: {spans:?}");
        for (replica, Findings { acknowledged, requests, broken, .. }) in findings.iter().enumerate() {
            println!("  replica {}: {acknowledged} records of {requests} requests acknowledged", replica + 1);
            broken.iter().take(30).for_each(|line| println!("  BROKEN {line}"));
        }
        let broken: usize = findings.iter().map(|findings| findings.broken.len()).sum();
        if broken > 0 {
            bail!("the promise is broken in {broken} places (seed {seed})");
        }
    }
    Ok(())
}

/// With two replicas behind one address.
async fn replicated(args: &Args, seed: u64, folder: &Path) -> Result<()> {
    println!("\na quorum of two replicas, one of which fetches nothing");
    if let Some(quorum::Quorum { not_yet, stored, left }) = quorum::run(folder, seed).await? {
        println!("  {not_yet} spans of one replica did not count as stored; {stored} records did when both had them");
        if let Some(left) = left {
            println!("  the replica that took them was lost with its disk: the other has {left} records");
        }
    }
    println!("\ntwo replicas behind one address");
    let Some(outcome) = replicas::run(folder, seed, args.faults.div_ceil(4)).await? else { return Ok(()) };
    print!("{outcome}");
    let broken: usize = outcome.findings.iter().map(|findings| findings.broken.len()).sum();
    if broken > 0 {
        bail!("the promise is broken in {broken} places (seed {seed})");
    }
    Ok(())
}

async fn random_moments(args: &Args, seed: u64, clickhouse: &mut ClickHouse, folder: &Path) -> Result<()> {
    let is_out = |wanted: &Option<String>, what: &str| wanted.as_ref().is_some_and(|wanted| wanted != what);
    for (kind, tables) in [("window", Tables::Window), ("none", Tables::NoWindow)] {
        for scene in Scene::ALL {
            if is_out(&args.tables, kind) || is_out(&args.clickhouse, scene.name()) {
                continue;
            }
            let name = format!("{kind}_{}", scene.name());
            println!("\n{name}: deduplication window of the tables: {kind}; ClickHouse: {}", scene.name());
            let plan = Plan { name: &name, seed, faults: args.faults.div_ceil(3), tables, scene };
            let outcome = run(clickhouse, folder, plan).await?;
            let broken = report(&outcome, scene);
            if broken > 0 {
                bail!("the promise is broken in {broken} places (seed {seed})");
            }
        }
    }
    Ok(())
}

/// Prints a run's outcome; answers how many places broke the promise.
fn report(outcome: &Outcome, scene: Scene) -> usize {
    let findings = &outcome.findings;
    println!(
        "  {} faults, {} of them while requests and inserts were in flight; {} requests repeated, {} refusals",
        outcome.hits.len(),
        outcome.in_flight(),
        outcome.repeats,
        outcome.refusals
    );
    println!(
        "  {} records of {} requests acknowledged; {} requests only ever refused",
        findings.acknowledged, findings.requests, findings.refused
    );
    let Answered { refused, failed_in_view, out_of_memory, all } = outcome.answered;
    println!(
        "  of {all} inserts {refused} met a constraint, {failed_in_view} a view that failed, {out_of_memory} too little memory"
    );
    let mut broken = findings.broken.clone();
    for difference in &findings.rollups {
        let (rows, inserts) = (difference.rows, difference.inserts);
        println!("  {}: off by {rows} rows, of {inserts} inserts", difference.rollup);
        let allowed = match scene {
            Scene::Alive => 0,
            Scene::Killed => outcome.inserts_at_kills(),
            // A view that fails may keep an insert's rows from the views after it.
            Scene::Refusing => continue,
        };
        if usize::try_from(inserts).is_ok_and(|inserts| inserts > allowed) {
            broken
                .push(format!("{} differs in {inserts} inserts; {allowed} were in flight at kills", difference.rollup));
        }
    }
    for line in broken.iter().take(30) {
        println!("  BROKEN {line}");
    }
    broken.len()
}
