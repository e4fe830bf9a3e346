//! What ClickHouse takes amiss: a constraint that refuses the rows of some services, and a view of the user's own that fails on those of
//! others, after the rows are in the table. In the end the constraint goes, and an operator orders what was refused to be delivered
//! again: then everything that was acknowledged has to be there, once, but for what was dropped.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stack::{ClickHouse, ask};

use crate::requests::{POISON, SOUR};
use crate::schedule::Order;

/// Tables whose constraint refuses. The sums have none, so that a request of metrics is refused in part.
const REFUSING: [&str; 3] = ["otel_traces", "otel_logs", "otel_metrics_gauge"];
/// Tables on which a view of the user's own depends.
const VIEWED: [&str; 2] = ["otel_traces", "otel_logs"];
/// How long the spool may take to let go of what is ordered to be delivered again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an order waits for a batch in quarantine.
const MOMENT: Duration = Duration::from_secs(3);
/// Batches that one fault orders about.
const ORDERED: usize = 4;

/// Makes the constraints and the views.
pub(crate) async fn begin(clickhouse: &ClickHouse, database: &str) -> Result<()> {
    for table in REFUSING {
        let check = format!("ADD CONSTRAINT no_poison CHECK ServiceName NOT LIKE '%{POISON}'");
        clickhouse.query(&format!("ALTER TABLE {database}.{table} {check}"), "TabSeparated").await?;
    }
    clickhouse
        .query(
            &format!("CREATE TABLE {database}.own (service String, sour UInt8) ENGINE = MergeTree ORDER BY service"),
            "TabSeparated",
        )
        .await?;
    for table in VIEWED {
        let view = format!(
            "CREATE MATERIALIZED VIEW {database}.own_of_{table} TO {database}.own AS \
             SELECT ServiceName AS service, throwIf(ServiceName LIKE '%{SOUR}') AS sour FROM {database}.{table}"
        );
        clickhouse.query(&view, "TabSeparated").await?;
    }
    Ok(())
}

/// Takes the constraints away, and orders everything in quarantine to be delivered again, until none is left there.
pub(crate) async fn end(clickhouse: &ClickHouse, database: &str, admin: u16) -> Result<()> {
    for table in REFUSING {
        let sql = format!("ALTER TABLE {database}.{table} DROP CONSTRAINT no_poison");
        clickhouse.query(&sql, "TabSeparated").await?;
    }
    let began = Instant::now();
    // Twice empty: what was still being divided comes into quarantine after the first look.
    let mut empty = 0;
    while empty < 2 {
        let orders = orders(admin, Order::Retry, Order::Retry, usize::MAX).await?;
        empty = if orders == 0 && waiting(admin).await? == 0 { empty + 1 } else { 0 };
        ensure!(
            began.elapsed() < PATIENCE,
            "BROKEN what was refused is still in the spool {PATIENCE:?} after its reason went"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Gives two orders at the same time about each of some batches in quarantine; answers about how many.
pub(crate) async fn order(admin: u16, one: Order, other: Order) -> Result<usize> {
    let began = Instant::now();
    while began.elapsed() < MOMENT && batches(admin, "quarantine").await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    orders(admin, one, other, ORDERED).await
}

async fn orders(admin: u16, one: Order, other: Order, most: usize) -> Result<usize> {
    let batches = batches(admin, "quarantine").await?;
    let ordered = batches.len().min(most);
    for sequence in batches.into_iter().take(most) {
        let (one, other) = tokio::join!(give(admin, sequence, one), give(admin, sequence, other));
        for (status, answer) in [one?, other?] {
            ensure!(status < 500, "an order about batch {sequence} was answered {status}: {answer}");
        }
    }
    Ok(ordered)
}

async fn give(admin: u16, sequence: u64, order: Order) -> Result<(u16, String)> {
    let order = match order {
        Order::Retry => "retry",
        Order::Drop => "drop",
    };
    ask(&address(admin), "POST", &format!("/spool/{sequence}/{order}"), "").await
}

async fn waiting(admin: u16) -> Result<usize> {
    Ok(batches(admin, "waiting").await?.len())
}

/// The batches that are in this place.
async fn batches(admin: u16, place: &str) -> Result<Vec<u64>> {
    let (status, text) = ask(&address(admin), "GET", "/spool", "").await?;
    ensure!(status == 200, "GET /spool was answered {status}: {text}");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).context("/spool")?;
    let there = all.iter().filter(|batch| batch["place"] == place);
    there.map(|batch| batch["sequence"].as_u64().context("a batch without a number")).collect()
}

fn address(admin: u16) -> String {
    format!("http://127.0.0.1:{admin}")
}
