//! A file of the spool that vanishes while otelgate runs: it costs its own rows, which are counted, and nothing else. No restart is needed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use stack::ClickHouse;

use crate::campaign::spool_left;
use crate::flip::counted_as_lost;
use crate::one::One;
use crate::rig::{Rig, Setup, Tables};
use crate::verify::missing;

/// What the vanished file cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vanished {
    /// Records that are not in their tables.
    pub lost: u64,
    /// Records that otelgate counts as lost in `/status`.
    pub counted: u64,
    /// Records that are stored.
    pub stored: u64,
}

/// Runs the scenario.
///
/// # Errors
/// Something else was lost, a record is stored twice, the counters say something else, or deliveries came to a stop.
pub async fn run(clickhouse: &ClickHouse, folder: &Path, seed: u64) -> Result<Vanished> {
    let setup = Setup {
        name: "vanish",
        tables: Tables::NoWindow,
        plaintext: false,
        small_disk: false,
        trouble: false,
        shard_size: 0,
    };
    let mut rig = Rig::start(&[clickhouse], folder, setup).await?;
    let mut one = One::new(&rig, seed)?;
    rig.proxy.cut_all(true);
    one.send(30, None).await?;
    let files = rig.room.batches()?;
    let sent = one.ledger.requests.iter().flat_map(|(request, _)| request.rows.values()).sum::<u64>();
    // The oldest are being delivered, and their rows in memory: what vanishes is the file that grows.
    fs::remove_file(files.last().context("no file is in the spool")?)?;
    rig.proxy.back();
    one.send(9, None).await?;
    if let Some(left) = spool_left(&rig.room).await? {
        anyhow::bail!("{left}");
    }
    let (lost, _) = missing(clickhouse, &rig.database, &one.ledger).await?;
    let all = one.ledger.requests.iter().flat_map(|(request, _)| request.rows.values()).sum::<u64>();
    let vanished = Vanished { lost, counted: counted_as_lost(&rig).await?, stored: all - lost };
    rig.stop_gateway().await?;
    ensure!(vanished.lost > 0 && vanished.lost < sent, "one file of several was to be lost: {vanished:?}");
    ensure!(vanished.lost == vanished.counted, "the counters do not say what was lost: {vanished:?}");
    Ok(vanished)
}
