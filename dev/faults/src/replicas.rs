//! Two replicas behind one address, as behind a load balancer: inserts that are still under way on one when otelgate, started again, reaches the
//! other; answers lost while the other lags behind; a replica that is killed. Each acknowledged record is there once, on both.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stack::Cluster;

use crate::campaign::{CLIENTS, MOMENT, PATIENCE, members, spool_left};
use crate::crowd::Crowd;
use crate::proxy::InsertFault;
use crate::rig::{Rig, Setup, Tables};
use crate::verify::{Findings, account, check};

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The address stands for the other replica from here on.
    Switch,
    /// SIGKILL of otelgate while an insert is under way, which goes on for so long; the next process reaches the other replica.
    KillDuringInsert(Duration),
    /// The connection to an insert that goes on for so long is cut; the next one reaches the other replica.
    SwitchDuringInsert(Duration),
    /// The other replica fetches nothing for so long; an insert's answer is lost, and the repeat reaches that replica.
    Lag(Duration),
    /// The same, with SIGKILL of otelgate.
    LagAndKill(Duration),
    /// SIGKILL of the replica that the address stands for; it is away for so long.
    KillReplica(Duration),
    /// SIGKILL of otelgate.
    KillGateway,
    /// A client's answer is lost on its last metre.
    LoseAnswer(usize),
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Faults that happened.
    pub faults: usize,
    /// Those that happened while requests and inserts were in flight.
    pub in_flight: usize,
    /// The check, on each replica.
    pub findings: Vec<Findings>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { faults, in_flight, findings } = self;
        writeln!(f, "  {faults} faults, {in_flight} of them while requests and inserts were in flight")?;
        for (replica, findings) in findings.iter().enumerate() {
            let Findings { acknowledged, requests, refused, rollups, broken, .. } = findings;
            writeln!(
                f,
                "  replica {}: {acknowledged} records of {requests} requests acknowledged; {refused} requests only ever refused",
                replica + 1
            )?;
            for difference in rollups {
                let (rows, inserts) = (difference.rows, difference.inserts);
                writeln!(f, "  {}: off by {rows} rows, of {inserts} inserts", difference.rollup)?;
            }
            broken.iter().take(30).try_for_each(|line| writeln!(f, "  BROKEN {line}"))?;
        }
        Ok(())
    }
}

/// Runs so many faults with everything in `folder`; none where no cluster can be had.
///
/// # Errors
/// Something does not start, or a client gets no answer in the end.
pub async fn run(folder: &Path, seed: u64, faults: usize) -> Result<Option<Outcome>> {
    let folder = folder.join("replicas");
    let Some(cluster) = Cluster::start(&folder).await? else { return Ok(None) };
    let name = format!("replicas_{seed}");
    let setup = Setup {
        name: &name,
        tables: Tables::Replicated,
        plaintext: false,
        small_disk: false,
        trouble: false,
        shard_size: 0,
    };
    let rig = Rig::start(&cluster.replicas.iter().collect::<Vec<_>>(), &folder, setup).await?;
    let crowd = Crowd::start(members(rig.port, &rig.certificates, [&rig.key, &rig.limited_key], seed, false)?);
    let mut run = Run { cluster, rig, crowd, at: 0, began: Instant::now(), faults: 0, in_flight: 0 };
    for (pause, fault) in schedule(StdRng::seed_from_u64(seed), faults, run.cluster.is_embedded()) {
        tokio::time::sleep(pause).await;
        run.moment().await;
        run.strike(fault).await.with_context(|| format!("at fault {} ({fault:?})", run.faults))?;
    }
    run.end().await.map(Some)
}

fn schedule(mut rng: StdRng, count: usize, embedded: bool) -> Vec<(Duration, Fault)> {
    let time = |rng: &mut StdRng, milliseconds| Duration::from_millis(rng.random_range(milliseconds));
    let mut cards: Vec<u32> = Vec::new();
    let faults = (0..count).map(|_| {
        if cards.is_empty() {
            cards = (0..if embedded { 9 } else { 8 }).collect();
        }
        let fault = match cards.swap_remove(rng.random_range(0..cards.len())) {
            0 | 1 => Fault::KillDuringInsert(time(&mut rng, 500..4000)),
            2 => Fault::SwitchDuringInsert(time(&mut rng, 500..4000)),
            3 => Fault::Lag(time(&mut rng, 1000..5000)),
            4 => Fault::LagAndKill(time(&mut rng, 1000..5000)),
            5 => Fault::Switch,
            6 => Fault::KillGateway,
            7 => Fault::LoseAnswer(rng.random_range(0..CLIENTS.len())),
            _ => Fault::KillReplica(time(&mut rng, 0..2000)),
        };
        (time(&mut rng, 50..500), fault)
    });
    faults.collect()
}

struct Run {
    cluster: Cluster,
    rig: Rig,
    crowd: Crowd,
    /// The replica that the address stands for.
    at: usize,
    began: Instant,
    faults: usize,
    in_flight: usize,
}

impl Run {
    async fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Switch => {
                self.note(fault);
                self.switch()?;
            }
            Fault::KillDuringInsert(time) => {
                self.hit(InsertFault::Straggle(time)).await;
                self.note(fault);
                self.rig.kill_gateway().await?;
                self.switch()?;
                self.rig.start_gateway().await?;
            }
            Fault::SwitchDuringInsert(time) => {
                self.hit(InsertFault::Straggle(time)).await;
                self.note(fault);
                self.switch()?;
            }
            Fault::Lag(time) => {
                self.lag(true).await?;
                self.hit(InsertFault::LoseReply).await;
                self.note(fault);
                self.switch()?;
                tokio::time::sleep(time).await;
                self.lag(false).await?;
            }
            Fault::LagAndKill(time) => {
                self.lag(true).await?;
                self.hit(InsertFault::LoseReply).await;
                self.note(fault);
                self.rig.kill_gateway().await?;
                self.switch()?;
                self.rig.start_gateway().await?;
                tokio::time::sleep(time).await;
                self.lag(false).await?;
            }
            Fault::KillReplica(time) => {
                self.note(fault);
                let killed = self.at;
                self.cluster.replicas[killed].stop(true).await?;
                self.switch()?;
                tokio::time::sleep(time).await;
                self.cluster.replicas[killed].start_again().await?;
            }
            Fault::KillGateway => {
                self.note(fault);
                self.rig.kill_gateway().await?;
                self.rig.start_gateway().await?;
            }
            Fault::LoseAnswer(client) => {
                self.note(fault);
                drop(tokio::time::timeout(MOMENT, self.crowd.forget(client)).await);
            }
        }
        Ok(())
    }

    /// Waits for the next insert, which gets this fault.
    async fn hit(&self, fault: InsertFault) {
        let hit = self.rig.proxy.arm(fault);
        if tokio::time::timeout(MOMENT, hit).await.is_err() {
            self.rig.proxy.disarm();
        }
    }

    /// From here on the address stands for the other replica.
    fn switch(&mut self) -> Result<()> {
        self.at = 1 - self.at;
        self.rig.proxy.set_upstream(&self.cluster.replicas[self.at])?;
        self.rig.proxy.cut_all(false);
        Ok(())
    }

    /// The replica that the address does not stand for fetches nothing, or does again.
    async fn lag(&self, lag: bool) -> Result<()> {
        let order = if lag { "STOP" } else { "START" };
        let replicas = &self.cluster.replicas;
        for replica in if lag { &replicas[1 - self.at..=1 - self.at] } else { &replicas[..] } {
            replica.query(&format!("SYSTEM {order} FETCHES"), "TabSeparated").await?;
        }
        Ok(())
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
        let (requests, inserts) = (self.crowd.requests_in_flight(), self.rig.proxy.inserts_in_flight());
        self.faults += 1;
        self.in_flight += usize::from(requests > 0 && inserts > 0);
        let (number, at) = (self.faults, self.began.elapsed().as_secs_f64());
        println!("  {number:>4}  {at:>6.1} s  {requests:>2} requests, {inserts:>2} inserts in flight  {fault:?}");
    }

    async fn end(mut self) -> Result<Outcome> {
        self.rig.proxy.disarm();
        let ledger = self.crowd.stop(Duration::from_secs(60)).await?;
        let left = spool_left(&self.rig.room).await?;
        let status = self.rig.admin_get("/status").await?;
        let mut findings = Vec::new();
        self.cluster.sync(&self.rig.database).await?;
        for replica in &self.cluster.replicas {
            let mut found = check(replica, &self.rig.database, &ledger, PATIENCE).await?;
            found.broken.extend(left.clone());
            found.broken.extend(account(replica, &self.rig.database, &status, &found).await?);
            findings.push(found);
        }
        self.rig.stop_gateway().await?;
        self.cluster.stop().await?;
        Ok(Outcome { faults: self.faults, in_flight: self.in_flight, findings })
    }
}
