//! `otelgate-clients`, behind `make test-clients`: real SDKs against a real otelgate, through restarts, limits and refusals. Every record is numbered, so
//! that what is lost, doubled or different is seen, and the table of `docs/clients.md` is what the run found.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod catalogue;
mod docs;
mod page;
mod program;
mod rig;
mod rows;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use catalogue::{CLIENTS, Client};
use page::Line;
use rig::Rig;
use scenario::Scenario;

/// Runs the SDKs' exporters against otelgate and compares what arrived with what was sent.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Only the clients and scenarios that are cheap enough for every submission.
    #[arg(long)]
    quick: bool,
    /// Only these clients, by their folders in dev/clients: python,node.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<String>,
    /// Only these scenarios: rows,stop,kill,age,idle,limit,wrong-key,mutual.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// The page whose table is written anew, when everything ran.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Keeps the folder with logs and tables; it is kept anyhow when something is broken.
    #[arg(long)]
    keep: bool,
}

impl Args {
    fn has(&self, client: &Client) -> bool {
        (!self.quick || client.quick) && (self.clients.is_empty() || self.clients.contains(&client.slug()))
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.clients.is_empty() && self.scenarios.is_empty()
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let wanted = |scenario: &Scenario| {
            (!self.quick || scenario.is_quick())
                && (self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == scenario.name()))
        };
        Scenario::ALL.into_iter().filter(wanted).collect()
    }
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
    let folder = tempfile::Builder::new().prefix("otelgate-clients-").tempdir()?.keep();
    let mut rig = Rig::start(&folder).await?;
    let result = all(&args, &rig).await;
    let result = result.and(rig.clickhouse.stop(false).await);
    if result.is_ok() && !args.keep {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("logs and tables are in {}", folder.display());
    }
    result
}

async fn all(args: &Args, rig: &Rig) -> Result<()> {
    let clients: Vec<&'static Client> = CLIENTS.iter().filter(|client| args.has(client)).collect();
    // Two at a time: they wait more than they work.
    let (odd, even) = (clients.iter().skip(1).step_by(2), clients.iter().step_by(2));
    let (even, odd) = tokio::try_join!(lane(args, rig, even), lane(args, rig, odd))?;
    let mut lines: Vec<Line> = even.into_iter().chain(odd).collect();
    lines.sort_by_key(|line| CLIENTS.iter().position(|client| client.slug() == line.client.slug()));
    let table = page::table(&lines);
    println!("\n{table}");
    let broken: Vec<&String> =
        lines.iter().flat_map(|line| &line.outcomes).flat_map(|(_, outcome)| &outcome.broken).collect();
    if !broken.is_empty() {
        broken.iter().for_each(|what| println!("{what}"));
        bail!("{} promises are broken", broken.len());
    }
    match &args.page {
        Some(path) if args.is_whole() && CLIENTS.iter().all(|client| client.missing().is_none()) => {
            stack::page::put(path, "make test-clients", &table)
        }
        Some(path) => {
            println!("{} stays as it is: this was not everything", path.display());
            Ok(())
        }
        None => Ok(()),
    }
}

/// Some of the clients, one after another.
async fn lane(args: &Args, rig: &Rig, clients: impl Iterator<Item = &&'static Client>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for client in clients {
        match client.missing() {
            None => lines.extend(of(args, rig, client).await?),
            // On a machine of CI nobody would miss what is skipped.
            Some(missing) if args.quick && std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                bail!("{missing} is missing, which the client for {} needs", client.name)
            }
            Some(missing) => println!("SKIPPED: {}, because {missing} is missing", client.name),
        }
    }
    Ok(lines)
}

/// Every scenario with one client.
async fn of(args: &Args, rig: &Rig, client: &'static Client) -> Result<Vec<Line>> {
    let program = client.install().await?;
    let mut lines: Vec<Line> =
        client.variants.iter().map(|variant| Line { client, variant: *variant, outcomes: Vec::new() }).collect();
    for scenario in args.scenarios() {
        for (variant, outcome) in scenario::run(rig, client, &program, scenario).await? {
            let Some(line) = lines.iter_mut().find(|line| line.variant == variant) else { continue };
            println!("{} ({}), {}: {}", client.name, line.variant, scenario.name(), outcome.text);
            line.outcomes.push((scenario, outcome));
        }
    }
    Ok(lines)
}
