//! Attacks otelgate, and a collector beside it, while a good client sends, and says what that cost whom (`make test-edge`).
//!
//! Attacker and good client have keys of their own and speak without TLS, so that what is measured is what comes after it. All of it runs on one machine, where the attacker gets what
//! cores the others leave: times are to be compared with the first line's, not with another machine's.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for people")]

mod attack;
mod forms;
mod frames;
mod goal;
mod good;
mod h2spec;
mod rig;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use stack::cost;

use attack::{Attack, CONNECTIONS, Tally};
use good::Fared;
use rig::Server;

/// Before and after an attack, for what it left to be over.
const REST: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(about = "Attacks otelgate while a good client sends")]
struct Arguments {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 10)]
    time: u64,
    /// How often the good client's p99 is compared beside nothing and beside all attacks at once; 0: not at all.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A collector's program, to be attacked in the same way.
    #[arg(long)]
    collector: Option<PathBuf>,
    /// h2spec's program.
    #[arg(long)]
    h2spec: Option<PathBuf>,
    /// Only attacks whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// The page whose table is to be written.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// What an attack cost a server, and the good client.
struct Measured {
    cores: f64,
    peak: u64,
    fared: Fared,
    tally: Arc<Tally>,
}

/// One thread for all attackers, which gets what cores the others leave and gives way to them at once: an attacker's own work is done on another machine, not in the way of the server.
fn main() -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Of the thread alone. This one, on which servers are started, stays as it is, and so do they.
    runtime.worker_threads(1).enable_all().on_thread_start(give_way);
    runtime.build()?.block_on(attack_all(&Arguments::parse()))
}

/// Lets this thread have only what the others leave of the cores.
fn give_way() {
    let _ = rustix::process::nice(19);
    // Linux: what is only nice keeps its core for some milliseconds after somebody else could use it.
    let thread = rustix::thread::gettid().to_string();
    let idle = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !idle.is_ok_and(|status| status.success()) {
        println!("attackers are not idle (chrt of util-linux): they take the servers' time");
    }
}

async fn attack_all(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let otelgate = rig::otelgate(folder.path()).await?;
    let peer = match &arguments.collector {
        Some(program) => Some(rig::collector(program, folder.path()).await?),
        None => None,
    };
    let servers: Vec<&Server> = std::iter::once(&otelgate).chain(&peer).map(|running| &running.server).collect();
    let mut text = heading(&servers);
    let mut failed = Vec::new();
    for attack in Attack::all()?.iter().filter(|attack| attack.name().contains(&arguments.only)) {
        let mut line = format!("| {} |", attack.name());
        for server in &servers {
            let measured = measure(attack, server, Duration::from_secs(arguments.time)).await?;
            line += &said(server, attack, &measured);
            let errors = measured.fared.errors;
            if server.name == "otelgate" && errors > 0 {
                failed.push(format!("{}: {errors} errors of the good client", attack.name()));
            }
        }
        text += &line;
        text.push('\n');
    }
    if arguments.rounds > 0 {
        text += &goal::table(&otelgate.server, arguments.rounds, Duration::from_secs(arguments.time)).await?;
    }
    let (forms, wrong) = forms::try_all(otelgate.server.http, rig::GOOD).await;
    let refused = forms - wrong.len();
    text +=
        &format!("\nForms of HTTP/1.1 that two readers can understand in two ways: {refused} of {forms} refused.\n");
    failed.extend(wrong);
    if let Some(program) = &arguments.h2spec {
        let found = h2spec::run(program, &otelgate.server).await?;
        text += &format!("\nh2spec: {}.\n", found.summary);
        for (test, why) in found.failed {
            text += &format!("\n- {test}: {}", why.unwrap_or("not known before"));
            if why.is_none() {
                failed.push(format!("h2spec: {test}"));
            }
        }
    }
    println!("\n{text}");
    if let Some(page) = &arguments.page {
        stack::page::put(page, "make test-edge", &text)?;
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// What an attack cost, as a part of the table's line; printed too.
fn said(server: &Server, attack: &Attack, measured: &Measured) -> String {
    let Measured { cores, peak, fared, tally } = measured;
    let [p50, p99] = [50, 99].map(|percent| fared.milliseconds(percent));
    println!(
        "{}: {}: {cores:.2} cores, {} MiB, {} of {} failed ({:?}), p50 {p50:.1} ms, p99 {p99:.1} ms; {} connections, {} steps",
        server.name,
        attack.name(),
        peak >> 20,
        fared.errors,
        fared.requests,
        fared.error,
        tally.connections.load(Ordering::Relaxed),
        tally.steps.load(Ordering::Relaxed),
    );
    format!(" {cores:.2} | {} | {} of {} | {p50:.1} / {p99:.1} |", peak >> 20, fared.errors, fared.requests)
}

fn heading(servers: &[&Server]) -> String {
    let names: String = servers
        .iter()
        .map(|server| {
            let name = server.name;
            format!(
                " {name}: cores | {name}: peak MiB | {name}: errors of the good client | {name}: its p50 / p99, ms |"
            )
        })
        .collect();
    let build =
        if cfg!(debug_assertions) { "a build for development, without optimization" } else { "a release build" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{CONNECTIONS} connections an attack; {cores} cores for attacker, good client, ClickHouse and all servers; otelgate: {build}.\n\n\
         | attack |{names}\n|{}\n",
        " --- |".repeat(1 + 4 * servers.len())
    )
}

/// Attacks for this long.
async fn measure(attack: &Attack, server: &Server, time: Duration) -> Result<Measured> {
    tokio::time::sleep(REST).await;
    cost::forget_peak_memory(server.pid).context(
        "a process that may not be dumped belongs to root: run it as root, or with OTELGATE_CORE_DUMPS=true",
    )?;
    let (before, began, tally) = (cost::cpu_seconds(server.pid)?, Instant::now(), Arc::<Tally>::default());
    let (attacked, fared) = tokio::join!(attack.run(server, &tally, time), good::send(server, time));
    attacked?;
    let cores = (cost::cpu_seconds(server.pid)? - before) / began.elapsed().as_secs_f64();
    Ok(Measured { cores, peak: cost::peak_memory(server.pid)?, fared: fared?, tally })
}
