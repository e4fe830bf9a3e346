//! One run: clients send, faults come at their moments, then everything is let through and checked.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use otlp_client::Protocol;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stack::{Certificates, ClickHouse, Key};

use crate::client::target;
use crate::crowd::{Crowd, Member};
use crate::proxy::{Answered, InsertFault};
use crate::requests::Requests;
use crate::rig::{Rig, Setup, Tables};
use crate::room::Room;
use crate::schedule::{Fault, Scene, Tail, Wanted, schedule};
use crate::trouble;
use crate::verify::{Findings, account, check};

/// How long a fault waits for requests and inserts to be in flight.
pub(crate) const MOMENT: Duration = Duration::from_secs(3);
/// How long the backlog may stand still before what is missing counts as lost: longer than the longest pause between two attempts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// How long a backlog grows before ClickHouse's memory is short.
const BACKLOG: Duration = Duration::from_millis(1200);

/// How clients send: protocol, HTTP/2, and whether they give up at the first refusal.
pub(crate) const CLIENTS: [(Protocol, bool, bool); 8] = [
    (Protocol::Grpc, true, false),
    (Protocol::HttpProtobuf, false, false),
    (Protocol::Grpc, true, false),
    (Protocol::HttpJson, true, false),
    (Protocol::HttpProtobuf, true, false),
    (Protocol::HttpJson, false, false),
    (Protocol::Grpc, true, true),
    (Protocol::HttpProtobuf, false, true),
];

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Names it.
    pub name: &'a str,
    /// Decides on the faults.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// How the tables are made.
    pub tables: Tables,
    /// What happens to ClickHouse.
    pub scene: Scene,
}

/// A fault that happened.
#[derive(Debug, Clone)]
pub struct Hit {
    /// What happened.
    pub fault: Fault,
    /// Since the run's start.
    pub at: Duration,
    /// Requests in flight then.
    pub requests: usize,
    /// Inserts in flight then.
    pub inserts: usize,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its faults.
    pub hits: Vec<Hit>,
    /// The check.
    pub findings: Findings,
    /// Requests that went again because no answer came.
    pub repeats: usize,
    /// Refusals with advice to come again.
    pub refusals: usize,
    /// What ClickHouse answered to inserts.
    pub answered: Answered,
}

/// Runs a plan against ClickHouse, with everything else in `folder`.
///
/// # Errors
/// Something does not start, or a client gets no answer in the end.
pub async fn run(clickhouse: &mut ClickHouse, folder: &Path, plan: Plan<'_>) -> Result<Outcome> {
    let trouble = plan.scene == Scene::Refusing;
    let setup =
        Setup { name: plan.name, tables: plan.tables, plaintext: false, small_disk: true, trouble, shard_size: 0 };
    let rig = Rig::start(&[&*clickhouse], folder, setup).await?;
    let full_disk = rig.room.can_be_full();
    if !full_disk {
        println!("no small file system can be mounted here: the full disk is left to the spool's model test");
    }
    let wanted =
        Wanted { count: plan.faults, tables: plan.tables, scene: plan.scene, full_disk, clients: CLIENTS.len() };
    let crowd = Crowd::start(members(rig.port, &rig.certificates, [&rig.key, &rig.limited_key], plan.seed, trouble)?);
    let (began, rng) = (Instant::now(), StdRng::seed_from_u64(plan.seed));
    let mut run = Run { clickhouse, rig, crowd, trouble, began, rng, hits: Vec::new() };
    for (pause, fault) in schedule(plan.seed, wanted) {
        tokio::time::sleep(pause).await;
        run.strike(fault).await.with_context(|| format!("at fault {} ({fault})", run.hits.len() + 1))?;
    }
    run.end().await
}

/// The clients of otelgate at this port: those that wait have the first key, those that give up the second.
/// Some of their requests are for trouble, where it is wanted.
pub(crate) fn members(port: u16, tls: &Certificates, keys: [&Key; 2], seed: u64, trouble: bool) -> Result<Vec<Member>> {
    let members = CLIENTS.iter().enumerate().map(|(number, (protocol, http2, impatient))| {
        let target = target(port, &keys[usize::from(*impatient)].key, *protocol, *http2, Some(tls))?;
        let requests = Requests::new(number, *protocol, seed).with_trouble(trouble);
        Ok(Member { target, requests, impatient: *impatient })
    });
    members.collect()
}

struct Run<'a> {
    clickhouse: &'a mut ClickHouse,
    rig: Rig,
    crowd: Crowd,
    trouble: bool,
    began: Instant,
    rng: StdRng,
    hits: Vec<Hit>,
}

impl Run<'_> {
    /// Waits for requests and inserts to be in flight, then lets the fault happen and mends what it broke.
    async fn strike(&mut self, fault: Fault) -> Result<()> {
        self.moment().await;
        match fault {
            // Noted with what it hit.
            Fault::Insert(of_insert) => {
                self.strike_insert(fault, of_insert).await;
                return Ok(());
            }
            Fault::KillDividing(after, _) => self.while_dividing(after).await,
            _ => {}
        }
        // Noted as it begins: then what it hits is in flight, or is about to be.
        self.note(fault);
        match fault {
            Fault::Insert(_) => {}
            Fault::CutAll => self.rig.proxy.cut_all(false),
            Fault::Away(time) => self.away(time).await,
            Fault::CutClient(client) => self.crowd.cut(client),
            Fault::LoseAnswer(client) => drop(tokio::time::timeout(MOMENT, self.crowd.forget(client)).await),
            Fault::KillGateway(tail) | Fault::KillDividing(_, tail) => self.kill_gateway(tail).await?,
            Fault::KillGatewayAway(time, tail) => {
                self.rig.proxy.cut_all(true);
                tokio::time::sleep(time).await;
                self.kill_gateway(tail).await?;
                self.rig.proxy.back();
            }
            Fault::KillClickHouse(time) => {
                self.clickhouse.stop(true).await?;
                tokio::time::sleep(time).await;
                self.clickhouse.start_again().await?;
            }
            Fault::KillBoth(tail) => self.kill_both(tail).await?,
            Fault::FullDisk(time) => {
                self.rig.room.fill()?;
                tokio::time::sleep(time).await;
                self.rig.room.free()?;
            }
            Fault::Restart => {
                self.rig.stop_gateway().await?;
                self.rig.start_gateway().await?;
            }
            Fault::Tight(bytes, time) => self.tight(bytes, time).await,
            Fault::Orders(one, other) => {
                let batches = trouble::order(self.rig.admin, one, other).await?;
                println!("        about {batches} batches");
            }
            Fault::Unheard => {
                self.rig.stop_gateway().await?;
                self.rig.start_gateway_unheard().await?;
            }
        }
        Ok(())
    }

    async fn strike_insert(&mut self, fault: Fault, of_insert: InsertFault) {
        let hit = self.rig.proxy.arm(of_insert);
        match tokio::time::timeout(MOMENT, hit).await {
            Ok(inserts) => self.note_with(fault, inserts.unwrap_or(0)),
            Err(_) => self.rig.proxy.disarm(),
        }
    }

    async fn away(&self, time: Duration) {
        self.rig.proxy.cut_all(true);
        tokio::time::sleep(time).await;
        self.rig.proxy.back();
    }

    async fn kill_gateway(&mut self, tail: Tail) -> Result<()> {
        self.rig.kill_gateway().await?;
        tear(&self.rig.room, tail, &mut self.rng)?;
        self.rig.start_gateway().await
    }

    async fn kill_both(&mut self, tail: Tail) -> Result<()> {
        let (gateway, clickhouse) = tokio::join!(self.rig.kill_gateway(), self.clickhouse.stop(true));
        gateway.and(clickhouse)?;
        tear(&self.rig.room, tail, &mut self.rng)?;
        // otelgate starts without ClickHouse, and accepts.
        self.rig.start_gateway().await?;
        self.clickhouse.start_again().await
    }

    /// ClickHouse has little memory for what waits.
    async fn tight(&self, bytes: u64, time: Duration) {
        self.rig.proxy.cut_all(true);
        tokio::time::sleep(BACKLOG).await;
        self.rig.proxy.set_memory(bytes);
        self.rig.proxy.back();
        tokio::time::sleep(time).await;
        self.rig.proxy.set_memory(0);
    }

    /// Waits until ClickHouse has refused an insert, and answered so many more.
    async fn while_dividing(&self, after: usize) {
        let mut answered = self.rig.proxy.answered();
        let refused = answered.borrow().refused;
        let refusal = answered.wait_for(|now| now.refused > refused);
        let Ok(Ok(all)) = tokio::time::timeout(MOMENT, refusal).await.map(|found| found.map(|now| now.all)) else {
            return;
        };
        let more = answered.wait_for(|now| now.all >= all + after);
        // However it ends: this is the moment.
        drop(tokio::time::timeout(Duration::from_secs(1), more).await);
    }

    async fn moment(&self) {
        let began = Instant::now();
        while began.elapsed() < MOMENT
            && (self.crowd.requests_in_flight() == 0 || self.rig.proxy.inserts_in_flight() == 0)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn note(&mut self, fault: Fault) {
        self.note_with(fault, self.rig.proxy.inserts_in_flight());
    }

    fn note_with(&mut self, fault: Fault, inserts: usize) {
        let hit = Hit { fault, at: self.began.elapsed(), requests: self.crowd.requests_in_flight(), inserts };
        println!(
            "  {:>4}  {:>6.1} s  {:>2} requests, {:>2} inserts in flight  {fault}",
            self.hits.len() + 1,
            hit.at.as_secs_f64(),
            hit.requests,
            hit.inserts
        );
        self.hits.push(hit);
    }

    async fn end(mut self) -> Result<Outcome> {
        self.rig.proxy.disarm();
        let ledger = self.crowd.stop(Duration::from_secs(60)).await?;
        self.rig.proxy.set_memory(0);
        if self.trouble {
            trouble::end(self.clickhouse, &self.rig.database, self.rig.admin).await?;
        }
        let mut findings = check(self.clickhouse, &self.rig.database, &ledger, PATIENCE).await?;
        findings.broken.extend(spool_left(&self.rig.room).await?);
        let status = self.rig.admin_get("/status").await?;
        let wrong = account(self.clickhouse, &self.rig.database, &status, &findings).await?;
        findings.broken.extend(wrong);
        let (repeats, refusals) = (ledger.repeats, ledger.refusals);
        self.rig.stop_gateway().await?;
        let answered = *self.rig.proxy.answered().borrow();
        Ok(Outcome { hits: self.hits, findings, repeats, refusals, answered })
    }
}

/// When everything is stored, the spool empties itself; says so when it does not.
pub(crate) async fn spool_left(room: &Room) -> Result<Option<String>> {
    let began = Instant::now();
    loop {
        let left = room.batches()?.len();
        if left == 0 {
            return Ok(None);
        }
        if began.elapsed() > PATIENCE {
            return Ok(Some(format!("{left} files are left in the spool")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a crash can leave behind the last synced byte of the newest file.
fn tear(room: &Room, tail: Tail, rng: &mut StdRng) -> Result<()> {
    let Some(newest) = room.batches()?.pop() else { return Ok(()) };
    let bytes = match tail {
        Tail::Clean => return Ok(()),
        Tail::Zeros(count) => vec![0; count],
        Tail::Garbage(count) => {
            let mut bytes = vec![0; count];
            rng.fill_bytes(&mut bytes);
            bytes
        }
        Tail::HalfFrame(count) => {
            let file = fs::read(&newest)?;
            let frame = file.get(FIRST_FRAME..).unwrap_or_default();
            frame.iter().take(count % LESS_THAN_A_FRAME).copied().collect()
        }
    };
    fs::OpenOptions::new().append(true).open(&newest)?.write_all(&bytes)?;
    Ok(())
}

/// Where a batch file's first frame begins: behind its header.
const FIRST_FRAME: usize = 128;
/// Shorter than any frame.
const LESS_THAN_A_FRAME: usize = 200;

impl Outcome {
    /// Faults that hit while requests and inserts were in flight.
    pub fn in_flight(&self) -> usize {
        self.hits.iter().filter(|hit| hit.requests > 0 && hit.inserts > 0).count()
    }

    /// Inserts that were in flight when ClickHouse was killed, over all kills.
    pub fn inserts_at_kills(&self) -> usize {
        self.hits.iter().filter(|hit| hit.fault.kills_clickhouse()).map(|hit| hit.inserts).sum()
    }
}
