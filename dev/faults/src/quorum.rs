//! A quorum of both replicas while one of them fetches nothing: what only one has does not count as stored, and counts once both have it. Then the one
//! that took the inserts is lost with its disk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use stack::Cluster;

use crate::campaign::PATIENCE;
use crate::one::One;
use crate::rig::{Rig, Setup, Tables};

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Spans that one replica had while none of them counted as stored.
    pub not_yet: u64,
    /// Rows that counted as stored in the end.
    pub stored: u64,
    /// Rows of the other replica, after the one that took them was lost with its disk; none where the servers are somebody's.
    pub left: Option<u64>,
}

/// Runs the scenario; none where no cluster can be had.
///
/// # Errors
/// What only one replica has counts as stored, or what both have does not.
pub async fn run(folder: &Path, seed: u64) -> Result<Option<Quorum>> {
    let folder = folder.join("quorum");
    let Some(mut cluster) = Cluster::start(&folder).await? else { return Ok(None) };
    let tables = Tables::Replicated;
    let setup = Setup { name: "quorum", tables, plaintext: false, small_disk: false, trouble: false, shard_size: 0 };
    let mut rig = Rig::start(&cluster.replicas.iter().collect::<Vec<_>>(), &folder, setup).await?;
    rig.stop_gateway().await?;
    rig.set("insert_quorum: auto")?;
    cluster.replicas[1].query("SYSTEM STOP FETCHES", "TabSeparated").await?;
    rig.start_gateway().await?;
    let mut one = One::new(&rig, seed)?;
    one.send(8, None).await?;
    let sent = one.ledger.requests.iter().flat_map(|(request, _)| request.rows.values()).sum::<u64>();
    let spans = format!("SELECT count() FROM {}.otel_traces", rig.database);
    let began = Instant::now();
    let mut not_yet = 0;
    while not_yet == 0 && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
        not_yet = cluster.replicas[0].number(&spans).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(not_yet > 0, "no insert reached the replica");
    ensure!(stored(&rig).await? == 0, "rows count as stored that only one replica has");
    cluster.replicas[1].query("SYSTEM START FETCHES", "TabSeparated").await?;
    let began = Instant::now();
    while stored(&rig).await? < sent && began.elapsed() < 2 * PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut found = Quorum { not_yet, stored: stored(&rig).await?, left: None };
    ensure!(found.stored == sent, "{sent} records were sent: {found:?}");
    let both = [cluster.replicas[0].number(&spans).await?, cluster.replicas[1].number(&spans).await?];
    ensure!(both[0] == both[1], "what counts as stored is on both: {both:?}");
    rig.stop_gateway().await?;
    if cluster.is_embedded() {
        cluster.replicas[0].stop(true).await?;
        std::fs::remove_dir_all(folder.join("r1"))?;
        let rows = format!(
            "SELECT sum(rows) FROM system.parts WHERE database = '{}' AND active AND table NOT LIKE '%rollup%'",
            rig.database
        );
        let left = cluster.replicas[1].number(&rows).await?;
        ensure!(left == found.stored, "of {found:?} the replica that is left has {left}");
        found.left = Some(left);
    }
    cluster.stop().await?;
    Ok(Some(found))
}

async fn stored(rig: &Rig) -> Result<u64> {
    let status: Value = serde_json::from_str(&rig.admin_get("/status").await?)?;
    Ok(status["rows"]["stored"].as_u64().unwrap_or(0))
}
