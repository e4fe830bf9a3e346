//! Two shards, each a server of its own behind a proxy of its own: one is killed, frozen or cut off while clients send, otelgate is killed in between and
//! finds its shards in another order. Each acknowledged record is there once, over both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stack::ClickHouse;

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
    /// The check, over both shards.
    pub findings: Findings,
    /// Spans at each shard.
    pub spans: Vec<u64>,
}

/// Runs so many faults with everything in `folder`; none where the servers are not this machine's own.
///
/// # Errors
/// Something does not start, or a client gets no answer in the end.
pub async fn run(folder: &Path, seed: u64, tables: Tables, faults: usize) -> Result<Option<Outcome>> {
    if std::env::var("CLICKHOUSE_URL").is_ok() {
        println!("SKIPPED: shards are killed, which is left undone with the server that CLICKHOUSE_URL names");
        return Ok(None);
    }
    let name = format!("shards_{}", format!("{tables:?}").to_lowercase());
    let (folder, password) = (folder.join(&name), format!("{:032x}", rand::random::<u128>()));
    let mut shards = Vec::new();
    for number in 0..2 {
        let data = folder.join(format!("s{number}"));
        std::fs::create_dir_all(&data)?;
        // The same user everywhere: clickhouse-dev takes the password that lies there.
        std::fs::write(data.join("ingest.password"), &password)?;
        shards.push(ClickHouse::start(&data, 0).await?);
    }
    let setup = Setup { name: &name, tables, plaintext: false, small_disk: false, trouble: false, shards: true };
    let rig = Rig::start(&shards.iter().collect::<Vec<_>>(), &folder, setup).await?;
    let crowd = Crowd::start(members(rig.port, &rig.certificates, [&rig.key, &rig.limited_key], seed, false)?);
    let mut run = Run { shards, rig, crowd, began: Instant::now(), faults: 0 };
    for (pause, fault) in schedule(StdRng::seed_from_u64(seed), faults) {
        tokio::time::sleep(pause).await;
        run.strike(fault).await.with_context(|| format!("at fault {} ({fault:?})", run.faults))?;
    }
    run.end().await.map(Some)
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
    shards: Vec<ClickHouse>,
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
                self.shards[shard].stop(true).await?;
                tokio::time::sleep(time).await;
                self.shards[shard].start_again().await?;
            }
            Fault::FreezeShard(shard, time) => {
                self.shards[shard].freeze(true)?;
                tokio::time::sleep(time).await;
                self.shards[shard].freeze(false)?;
            }
            Fault::CutShard(shard, time) => {
                self.proxy(shard).cut_all(true);
                tokio::time::sleep(time).await;
                self.proxy(shard).back();
            }
            Fault::LoseReplyAndKill(shard) => {
                self.hit(shard, InsertFault::LoseReply).await;
                self.restart().await?;
            }
            Fault::KillDuringInsert(shard, time) => {
                self.hit(shard, InsertFault::Straggle(time)).await;
                self.restart().await?;
            }
            Fault::KillBoth(shard) => {
                self.hit(shard, InsertFault::LoseReply).await;
                self.shards[shard].stop(true).await?;
                self.restart().await?;
                self.shards[shard].start_again().await?;
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

    /// SIGKILL of otelgate, and another with the shards in another order.
    async fn restart(&mut self) -> Result<()> {
        self.rig.kill_gateway().await?;
        self.rig.turn_shards()?;
        self.rig.start_gateway().await
    }

    async fn end(mut self) -> Result<Outcome> {
        (0..self.shards.len()).for_each(|shard| self.proxy(shard).disarm());
        let ledger = self.crowd.stop(Duration::from_secs(60)).await?;
        let left = spool_left(&self.rig.room).await?;
        let status = self.rig.admin_get("/status").await?;
        let shards: Vec<&ClickHouse> = self.shards.iter().collect();
        let mut findings = check_over(&shards, &self.rig.database, &ledger, PATIENCE).await?;
        findings.broken.extend(left);
        findings.broken.extend(account_over(&shards, &self.rig.database, &status, &findings).await?);
        let mut spans = Vec::new();
        for shard in &shards {
            spans.push(shard.number(&format!("SELECT count() FROM {}.otel_traces", self.rig.database)).await?);
        }
        self.rig.stop_gateway().await?;
        for shard in &mut self.shards {
            shard.stop(true).await?;
        }
        Ok(Outcome { faults: self.faults, findings, spans })
    }
}
