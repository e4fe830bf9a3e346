//! A ClickHouse whose memory never suffices for a whole batch: it gets the batch in pieces, and everything is stored, once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use otlp_client::Signal;
use stack::ClickHouse;

use crate::campaign::{PATIENCE, spool_left};
use crate::one::One;
use crate::rig::{Rig, Setup, Tables};
use crate::verify::check;

/// Requests of a backlog.
const REQUESTS: usize = 120;

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Narrow {
    /// Bytes that each insert might take.
    pub limit: u64,
    /// Inserts that would have taken more.
    pub refused: usize,
    /// Records, all stored.
    pub stored: u64,
}

/// Runs the scenario.
///
/// # Errors
/// Something is not stored, or twice.
pub async fn run(clickhouse: &ClickHouse, folder: &Path, seed: u64) -> Result<Narrow> {
    let setup = Setup {
        name: "narrow",
        tables: Tables::NoWindow,
        plaintext: false,
        small_disk: false,
        trouble: false,
        shard_size: 0,
    };
    let mut rig = Rig::start(&[clickhouse], folder, setup).await?;
    let mut one = One::new(&rig, seed)?;
    // What a request takes, and what a backlog: the limit lies between.
    one.send(1, Some(Signal::Logs)).await?;
    let few = memory_of_inserts(clickhouse, &rig).await?;
    backlog(&mut rig, &mut one, 0).await?;
    let many = memory_of_inserts(clickhouse, &rig).await?;
    ensure!(many > few, "a backlog took {many} bytes, and a request {few}");
    let limit = few + (many - few) / 4;
    backlog(&mut rig, &mut one, limit).await?;
    let findings = check(clickhouse, &rig.database, &one.ledger, PATIENCE).await?;
    ensure!(findings.broken.is_empty(), "BROKEN {}", findings.broken.join("; "));
    let refused = rig.proxy.answered().borrow().out_of_memory;
    ensure!(refused > 0, "an insert of a whole backlog was taken with {limit} bytes");
    rig.stop_gateway().await?;
    Ok(Narrow { limit, refused, stored: findings.acknowledged })
}

/// A backlog grows, and is delivered while each insert may take so much memory.
async fn backlog(rig: &mut Rig, one: &mut One, limit: u64) -> Result<()> {
    rig.proxy.cut_all(true);
    one.send(REQUESTS, Some(Signal::Logs)).await?;
    rig.proxy.set_memory(limit);
    rig.proxy.back();
    let left = spool_left(&rig.room).await?;
    ensure!(left.is_none(), "BROKEN with {limit} bytes for an insert: {}", left.unwrap_or_default());
    Ok(())
}

/// The most that an insert into the logs took so far.
async fn memory_of_inserts(clickhouse: &ClickHouse, rig: &Rig) -> Result<u64> {
    ensure!(spool_left(&rig.room).await?.is_none(), "a request is not delivered");
    clickhouse.query("SYSTEM FLUSH LOGS", "TabSeparated").await?;
    let sql = format!(
        "SELECT max(memory_usage) FROM system.query_log WHERE type = 'QueryFinish' AND query_kind = 'Insert' \
         AND has(tables, '{}.otel_logs')",
        rig.database
    );
    clickhouse.number(&sql).await.context("what inserts took")
}
