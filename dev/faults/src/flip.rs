//! A flipped bit in a spool file: it loses no more than its frame, and the counters say what was lost.
//!
//! While ClickHouse is away one client sends one request after another, so that each lies in a frame of its own. Then otelgate is
//! killed, a bit of each file is flipped, and everything is delivered.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stack::ClickHouse;

use crate::campaign::spool_left;
use crate::one::One;
use crate::rig::{Rig, Setup, Tables};
use crate::verify::missing;

const REQUESTS: usize = 30;

/// What the flipped bits cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flipped {
    /// Bits that were flipped, one a file.
    pub bits: usize,
    /// Records that are not in their tables.
    pub lost: u64,
    /// Requests to which they belong.
    pub requests: usize,
    /// Records that otelgate counts as lost in `/status`.
    pub counted: u64,
}

/// Runs the scenario.
///
/// # Errors
/// More than a frame was lost, a record is stored twice, or the counters say something else.
pub async fn run(clickhouse: &ClickHouse, folder: &Path, seed: u64) -> Result<Flipped> {
    let setup = Setup {
        name: "flip",
        tables: Tables::Window,
        plaintext: false,
        small_disk: false,
        trouble: false,
        shard_size: 0,
    };
    let mut rig = Rig::start(&[clickhouse], folder, setup).await?;
    rig.proxy.cut_all(true);
    let mut one = One::new(&rig, seed)?;
    one.send(REQUESTS, None).await?;
    rig.kill_gateway().await?;
    // The next start completes the files that were being written: in the last write of such a file a bad frame passes for torn.
    rig.start_gateway().await?;
    rig.kill_gateway().await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let files = rig.room.batches()?;
    for file in &files {
        flip(file, &mut rng)?;
    }
    rig.start_gateway().await?;
    rig.proxy.back();
    if let Some(left) = spool_left(&rig.room).await? {
        anyhow::bail!("{left}");
    }
    let (lost, requests) = missing(clickhouse, &rig.database, &one.ledger).await?;
    let counted = counted_as_lost(&rig).await?;
    rig.stop_gateway().await?;
    let flipped = Flipped { bits: files.len(), lost, requests, counted };
    ensure!(requests <= files.len(), "more than a frame a bit was lost: {flipped:?}");
    ensure!(lost == counted, "the counters do not say what was lost: {flipped:?}");
    Ok(flipped)
}

fn flip(file: &Path, rng: &mut StdRng) -> Result<()> {
    let mut bytes = fs::read(file)?;
    let (byte, bit) = (rng.random_range(0..bytes.len()), rng.random_range(0..8));
    println!("  bit {bit} of byte {byte} of {} in {}", bytes.len(), file.display());
    bytes[byte] ^= 1 << bit;
    Ok(fs::write(file, bytes)?)
}

/// `rows.lost` of `/status`.
pub(crate) async fn counted_as_lost(rig: &Rig) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_str(&rig.admin_get("/status").await?)?;
    status["rows"]["lost"].as_u64().context("no rows.lost in /status")
}
