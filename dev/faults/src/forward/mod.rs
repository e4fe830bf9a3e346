//! The same with a collector as sink: clients send, otelgate and the collector are killed and cut apart, and every acknowledged record
//! is found at least once. A collector keeps no token, so a record may be there twice: where the outcome of its export was unknown,
//! and never more often than otelgate's counter says.

mod ledger;
mod receiver;
mod rig;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stack::Passage;

use crate::campaign::{PATIENCE, members, spool_left};
use crate::crowd::{Crowd, Ledger};

pub use ledger::Findings;
use rig::Rig;

/// How long a fault waits for requests and exports to be in flight.
const MOMENT: Duration = Duration::from_secs(3);
/// Answers are held back a little, so that some exports are in flight nearly always.
const USUAL: Passage = Passage::Slow(Duration::from_millis(60));

/// How many clients a fault chooses from.
const CLIENTS: usize = 8;

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The collector's program.
    pub collector: &'a Path,
    /// `grpc` or `http`: how otelgate exports.
    pub protocol: &'a str,
    /// Decides on the faults.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL of otelgate.
    KillGateway,
    /// The same while the collector has been away for so long.
    KillGatewayAway(Duration),
    /// SIGKILL of the collector, which is away for so long.
    KillCollector(Duration),
    /// SIGKILL of both.
    KillBoth,
    /// Every connection between the two is cut.
    CutAll,
    /// The collector cannot be reached for so long.
    Away(Duration),
    /// What the collector answers in this time is lost, then every connection is cut.
    LoseAnswers(Duration),
    /// Answers take longer than otelgate waits for them.
    TooSlow(Duration),
    /// A client's connection is cut before its answer.
    CutClient(usize),
    /// A client's answer is lost on its last metre.
    LoseAnswer(usize),
    /// SIGTERM of otelgate, with a backlog.
    Restart,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Faults that happened.
    pub faults: usize,
    /// Those that happened while requests and exports were in flight.
    pub in_flight: usize,
    /// Requests that went again because no answer came, and refusals with advice to come again.
    pub repeats: (usize, usize),
    /// The check.
    pub findings: Findings,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { acknowledged, requests, refused, doubled, unknown, broken } = &self.findings;
        let (repeats, refusals) = self.repeats;
        let (faults, in_flight) = (self.faults, self.in_flight);
        writeln!(
            f,
            "  {faults} faults, {in_flight} of them while requests and exports were in flight; {repeats} requests repeated, {refusals} refusals"
        )?;
        writeln!(
            f,
            "  {acknowledged} records of {requests} requests acknowledged; {refused} requests only ever refused"
        )?;
        for ((signal, doubled), unknown) in ["traces", "logs", "metrics"].iter().zip(doubled).zip(unknown) {
            writeln!(f, "  {signal}: {doubled} records are there once more; {unknown} counted as of unknown outcome")?;
        }
        broken.iter().take(30).try_for_each(|line| writeln!(f, "  BROKEN {line}"))
    }
}

/// Runs a plan with everything in `folder`.
///
/// # Errors
/// Something does not start, or a client gets no answer in the end.
pub async fn run(folder: &Path, plan: Plan<'_>) -> Result<Outcome> {
    let rig = Rig::start(folder, plan).await?;
    rig.tunnel.set(USUAL);
    let crowd = Crowd::start(members(rig.port, &rig.certificates, [&rig.key, &rig.limited_key], plan.seed, false)?);
    let rng = StdRng::seed_from_u64(plan.seed);
    let mut run = Run { rig, crowd, began: Instant::now(), faults: 0, in_flight: 0 };
    for (pause, fault) in schedule(rng, plan.faults) {
        tokio::time::sleep(pause).await;
        run.moment().await;
        run.note(fault);
        run.strike(fault).await.with_context(|| format!("at fault {} ({fault:?})", run.faults))?;
    }
    run.end().await
}

fn schedule(mut rng: StdRng, count: usize) -> Vec<(Duration, Fault)> {
    let time = |rng: &mut StdRng, milliseconds| Duration::from_millis(rng.random_range(milliseconds));
    let mut cards: Vec<u32> = Vec::new();
    let faults = (0..count).map(|_| {
        // Dealt from a shuffled deck, so that a short run has every kind too.
        if cards.is_empty() {
            cards = (0..11).collect();
        }
        let fault = match cards.swap_remove(rng.random_range(0..cards.len())) {
            0 => Fault::KillGateway,
            1 => Fault::KillGatewayAway(time(&mut rng, 100..1000)),
            2 => Fault::KillCollector(time(&mut rng, 0..500)),
            3 => Fault::KillBoth,
            4 => Fault::CutAll,
            5 => Fault::Away(time(&mut rng, 300..2000)),
            6 => Fault::LoseAnswers(time(&mut rng, 200..1000)),
            7 => Fault::TooSlow(time(&mut rng, 4000..6000)),
            8 => Fault::CutClient(rng.random_range(0..CLIENTS)),
            9 => Fault::LoseAnswer(rng.random_range(0..CLIENTS)),
            _ => Fault::Restart,
        };
        (time(&mut rng, 50..500), fault)
    });
    faults.collect()
}

struct Run {
    rig: Rig,
    crowd: Crowd,
    began: Instant,
    faults: usize,
    in_flight: usize,
}

impl Run {
    async fn strike(&mut self, fault: Fault) -> Result<()> {
        let Run { rig, crowd, .. } = self;
        match fault {
            Fault::KillGateway => {
                rig.kill_gateway().await?;
                rig.start_gateway().await?;
            }
            Fault::KillGatewayAway(time) => {
                rig.tunnel.set(Passage::Closed);
                tokio::time::sleep(time).await;
                rig.kill_gateway().await?;
                rig.start_gateway().await?;
                rig.tunnel.set(USUAL);
            }
            Fault::KillCollector(time) => {
                rig.collector.kill().await?;
                tokio::time::sleep(time).await;
                rig.collector.start_again().await?;
            }
            Fault::KillBoth => {
                let (gateway, collector) = (&mut rig.gateway, &mut rig.collector);
                let (counted, collector) = tokio::join!(rig::kill(gateway), collector.kill());
                rig.add(counted?);
                collector?;
                rig.start_gateway().await?;
                rig.collector.start_again().await?;
            }
            Fault::CutAll => rig.tunnel.cut(),
            Fault::Away(time) => {
                rig.tunnel.set(Passage::Closed);
                tokio::time::sleep(time).await;
                rig.tunnel.set(USUAL);
            }
            Fault::LoseAnswers(time) => {
                rig.tunnel.set(Passage::Silent);
                tokio::time::sleep(time).await;
                rig.tunnel.cut();
                rig.tunnel.set(USUAL);
            }
            Fault::TooSlow(time) => {
                rig.tunnel.set(Passage::Slow(time));
                tokio::time::sleep(time).await;
                rig.tunnel.set(USUAL);
            }
            Fault::CutClient(client) => crowd.cut(client),
            Fault::LoseAnswer(client) => drop(tokio::time::timeout(MOMENT, crowd.forget(client)).await),
            Fault::Restart => {
                rig.stop_gateway().await?;
                rig.start_gateway().await?;
            }
        }
        Ok(())
    }

    /// Waits for requests and exports to be in flight.
    async fn moment(&self) {
        let began = Instant::now();
        while began.elapsed() < MOMENT && (self.crowd.requests_in_flight() == 0 || self.rig.tunnel.waiting() == 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn note(&mut self, fault: Fault) {
        let (requests, exports) = (self.crowd.requests_in_flight(), self.rig.tunnel.waiting());
        self.faults += 1;
        self.in_flight += usize::from(requests > 0 && exports > 0);
        let (number, at) = (self.faults, self.began.elapsed().as_secs_f64());
        println!("  {number:>4}  {at:>6.1} s  {requests:>2} requests, {exports:>2} exports in flight  {fault:?}");
    }

    async fn end(mut self) -> Result<Outcome> {
        let ledger: Ledger = self.crowd.stop(Duration::from_secs(60)).await?;
        let mut findings = ledger::check(&self.rig.receiver, &ledger, PATIENCE).await;
        findings.broken.extend(spool_left(&self.rig.room).await?);
        let status = crate::rig::get(self.rig.admin, "/status").await?;
        findings.broken.extend(ledger::account(&status)?);
        self.rig.stop_gateway().await?;
        findings.count_unknown(self.rig.unknown);
        let repeats = (ledger.repeats, ledger.refusals);
        Ok(Outcome { faults: self.faults, in_flight: self.in_flight, repeats, findings })
    }
}
