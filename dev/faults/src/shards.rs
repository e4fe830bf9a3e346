//! Two shards behind a proxy each: one is killed, frozen or cut off while clients send, otelgate is killed in between and finds its shards in another
//! order. Each acknowledged record is there once, over both. A shard is a server, or two replicas: then its proxy leads to one of them, and to the other one after
//! each fault, as a load balancer does.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stack::{ClickHouse, Cluster};

use crate::campaign::{CLIENTS, MOMENT, PATIENCE, members, spool_left};
use crate::crowd::Crowd;
use crate::proxy::{InsertFault, Proxy};
use crate::rig::{Rig, Setup, Tables};
use crate::verify::{Findings, account_over, check_over};

/// One fault, of one shard where it says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL of a shard, which is away for so long.
    KillShard(usize, Duration),
    /// SIGSTOP of a shard for so long.
    FreezeShard(usize, Duration),
    /// All connections to a shard are cut, and none is made for so long.
    CutShard(usize, Duration),
    /// An insert's answer is lost, and otelgate killed before it can ask; its shards stand in another order then.
    LoseReplyAndKill(usize),
    /// SIGKILL of otelgate while an insert is under way, which arrives after so long.
    KillDuringInsert(usize, Duration),
    /// SIGKILL of a shard that has an insert, and of otelgate.
    KillBoth(usize),
    /// A client's answer is lost on its last metre.
    LoseAnswer(usize),
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Faults that happened.
    pub faults: usize,
    /// The check over both shards: of the first replica of each, and of the second where there are replicas.
    pub findings: Vec<Findings>,
    /// Spans at each shard.
    pub spans: Vec<u64>,
}

/// What four servers and two ZooKeepers need beside everything else, in KiB.
const FOUR_SERVERS: u64 = 6 << 20;

/// Runs so many faults with everything in `folder`; none where the servers are not this machine's own, or it cannot hold them.
///
/// # Errors
/// Something does not start, or a client gets no answer in the end.
pub async fn run(folder: &Path, seed: u64, tables: Tables, faults: usize) -> Result<Option<Outcome>> {
    if std::env::var("CLICKHOUSE_URL").or(std::env::var("CLICKHOUSE_CLUSTER_URLS")).is_ok() {
        println!("SKIPPED: shards are killed, which is left undone with servers that the environment names");
        return Ok(None);
    }
    let name = format!("shards_{}", format!("{tables:?}").to_lowercase());
    let folder = folder.join(&name);
    let Some(shards) = start(&folder, tables).await? else { return Ok(None) };
    let shard_size = shards[0].replicas.len();
    let setup = Setup { name: &name, tables, plaintext: false, small_disk: false, trouble: false, shard_size };
    let servers: Vec<&ClickHouse> = shards.iter().flat_map(|shard| &shard.replicas).collect();
    let rig = Rig::start(&servers, &folder, setup).await?;
    let crowd = Crowd::start(members(rig.port, &rig.certificates, [&rig.key, &rig.limited_key], seed, false)?);
    let mut run = Run { shards, at: [0; 2], rig, crowd, began: Instant::now(), faults: 0 };
    for (pause, fault) in schedule(StdRng::seed_from_u64(seed), faults) {
        tokio::time::sleep(pause).await;
        run.strike(fault).await.with_context(|| format!("at fault {} ({fault:?})", run.faults))?;
    }
    run.end().await.map(Some)
}

/// Two shards, with the same user everywhere.
async fn start(folder: &Path, tables: Tables) -> Result<Option<Vec<Cluster>>> {
    let replicated = tables == Tables::Replicated;
    if replicated && available().is_some_and(|available| available < FOUR_SERVERS) {
        println!("SKIPPED: four servers need 6 GiB of memory, and less is available");
        return Ok(None);
    }
    let (mut shards, password) = (Vec::new(), format!("{:032x}", rand::random::<u128>()));
    for number in 0..2 {
        let data = folder.join(format!("s{number}"));
        shards.push(if replicated {
            let Some(shard) = Cluster::start_for(&data, &password).await? else { return Ok(None) };
            shard
        } else {
            std::fs::create_dir_all(&data)?;
            // clickhouse-dev takes the password that lies there.
            std::fs::write(data.join("ingest.password"), &password)?;
            Cluster::alone(ClickHouse::start(&data, 0).await?)
        });
    }
    Ok(Some(shards))
}

/// Memory that may be used, in KiB, where the system says it.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn schedule(mut rng: StdRng, count: usize) -> Vec<(Duration, Fault)> {
    let time = |rng: &mut StdRng, milliseconds| Duration::from_millis(rng.random_range(milliseconds));
    let mut cards: Vec<u32> = Vec::new();
    let faults = (0..count).map(|_| {
        if cards.is_empty() {
            cards = (0..8).collect();
        }
        let shard = rng.random_range(0..2);
        let fault = match cards.swap_remove(rng.random_range(0..cards.len())) {
            0 => Fault::KillShard(shard, time(&mut rng, 0..3000)),
            1 => Fault::FreezeShard(shard, time(&mut rng, 500..4000)),
            2 => Fault::CutShard(shard, time(&mut rng, 500..4000)),
            3 | 4 => Fault::LoseReplyAndKill(shard),
            5 => Fault::KillDuringInsert(shard, time(&mut rng, 500..3000)),
            6 => Fault::KillBoth(shard),
            _ => Fault::LoseAnswer(rng.random_range(0..CLIENTS.len())),
        };
        (time(&mut rng, 50..500), fault)
    });
    faults.collect()
}

struct Run {
    shards: Vec<Cluster>,
    /// The replica of each shard that its proxy leads to.
    at: [usize; 2],
    rig: Rig,
    crowd: Crowd,
    began: Instant,
    faults: usize,
}

impl Run {
    async fn strike(&mut self, fault: Fault) -> Result<()> {
        self.faults += 1;
        let (number, at, requests) = (self.faults, self.began.elapsed().as_secs_f64(), self.crowd.requests_in_flight());
        println!("  {number:>4}  {at:>6.1} s  {requests:>2} requests in flight  {fault:?}");
        match fault {
            Fault::KillShard(shard, time) => {
                let at = self.at[shard];
                self.shards[shard].replicas[at].stop(true).await?;
                self.switch(shard)?;
                tokio::time::sleep(time).await;
                self.shards[shard].replicas[at].start_again().await?;
            }
            Fault::FreezeShard(shard, time) => {
                let at = self.at[shard];
                self.shards[shard].replicas[at].freeze(true)?;
                self.switch(shard)?;
                tokio::time::sleep(time).await;
                self.shards[shard].replicas[at].freeze(false)?;
            }
            Fault::CutShard(shard, time) => {
                self.proxy(shard).cut_all(true);
                tokio::time::sleep(time).await;
                self.proxy(shard).back();
            }
            Fault::LoseReplyAndKill(shard) => {
                self.hit(shard, InsertFault::LoseReply).await;
                self.restart(shard).await?;
            }
            Fault::KillDuringInsert(shard, time) => {
                self.hit(shard, InsertFault::Straggle(time)).await;
                self.restart(shard).await?;
            }
            Fault::KillBoth(shard) => {
                self.hit(shard, InsertFault::LoseReply).await;
                let at = self.at[shard];
                self.shards[shard].replicas[at].stop(true).await?;
                self.restart(shard).await?;
                self.shards[shard].replicas[at].start_again().await?;
            }
            Fault::LoseAnswer(client) => drop(tokio::time::timeout(MOMENT, self.crowd.forget(client)).await),
        }
        Ok(())
    }

    fn proxy(&self, shard: usize) -> &Proxy {
        if shard == 0 { &self.rig.proxy } else { &self.rig.others[shard - 1] }
    }

    /// Waits for the next insert at a shard, which gets this fault.
    async fn hit(&self, shard: usize, fault: InsertFault) {
        let hit = self.proxy(shard).arm(fault);
        if tokio::time::timeout(MOMENT, hit).await.is_err() {
            self.proxy(shard).disarm();
        }
    }

    /// From here on the shard's address stands for its other replica, where it has one.
    fn switch(&mut self, shard: usize) -> Result<()> {
        let replicas = &self.shards[shard].replicas;
        if replicas.len() > 1 {
            self.at[shard] = 1 - self.at[shard];
            self.proxy(shard).set_upstream(&replicas[self.at[shard]])?;
            self.proxy(shard).cut_all(false);
        }
        Ok(())
    }

    /// SIGKILL of otelgate, and another with the shards in another order, which reaches the other replica of this one.
    async fn restart(&mut self, shard: usize) -> Result<()> {
        self.rig.kill_gateway().await?;
        self.switch(shard)?;
        self.rig.turn_shards()?;
        self.rig.start_gateway().await
    }

    async fn end(mut self) -> Result<Outcome> {
        (0..self.shards.len()).for_each(|shard| self.proxy(shard).disarm());
        let ledger = self.crowd.stop(Duration::from_secs(60)).await?;
        let left = spool_left(&self.rig.room).await?;
        let status = self.rig.admin_get("/status").await?;
        for shard in &self.shards {
            shard.sync(&self.rig.database).await?;
        }
        let mut findings = Vec::new();
        for replica in 0..self.shards[0].replicas.len() {
            let shards: Vec<&ClickHouse> = self.shards.iter().map(|shard| &shard.replicas[replica]).collect();
            let mut found = check_over(&shards, &self.rig.database, &ledger, PATIENCE).await?;
            found.broken.extend(left.clone());
            found.broken.extend(account_over(&shards, &self.rig.database, &status, &found).await?);
            findings.push(found);
        }
        let mut spans = Vec::new();
        for shard in &self.shards {
            let count = format!("SELECT count() FROM {}.otel_traces", self.rig.database);
            spans.push(shard.replicas[0].number(&count).await?);
        }
        self.rig.stop_gateway().await?;
        for shard in self.shards {
            shard.stop().await?;
        }
        Ok(Outcome { faults: self.faults, findings, spans })
    }
}
