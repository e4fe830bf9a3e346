//! The check at the end of a run: every record against what its client was told, and the rollups against their tables.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stack::ClickHouse;

use crate::crowd::{Fate, Ledger};
use crate::proxy::ALIEN;
use crate::requests::{POISON, SEQUENCE};

/// Each table with the column that holds a record's own attributes.
const TABLES: [(&str, &str); 4] = [
    ("otel_traces", "SpanAttributes"),
    ("otel_logs", "LogAttributes"),
    ("otel_metrics_gauge", "Attributes"),
    ("otel_metrics_sum", "Attributes"),
];

/// Each rollup with its table.
const ROLLUPS: [(&str, &str); 2] =
    [("otel_traces_kv_rollup_15m", "otel_traces"), ("otel_logs_kv_rollup_15m", "otel_logs")];

/// What the tables hold of each service: rows, and different records among them.
#[derive(Debug, Default)]
struct Stored(BTreeMap<(String, &'static str), (u64, u64)>);

/// What was found.
#[derive(Debug, Default, Clone)]
pub struct Findings {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Requests that were acknowledged.
    pub requests: usize,
    /// Requests that were only ever refused.
    pub refused: usize,
    /// Records, by table, that are not there and may have been dropped by order: at least, and at most.
    pub dropped: BTreeMap<&'static str, (u64, u64)>,
    /// Everything that breaks the promise, a line each.
    pub broken: Vec<String>,
    /// A rollup's differences from its table, a line each: they count only where ClickHouse was not killed.
    pub rollups: Vec<RollupDifference>,
}

/// How a rollup differs from its table.
#[derive(Debug, Clone)]
pub struct RollupDifference {
    /// The rollup.
    pub rollup: &'static str,
    /// Rows that it counts more (or fewer) than the table has.
    pub rows: i64,
    /// Inserts that these rows came with.
    pub inserts: u64,
}

/// Waits until everything acknowledged is there, or until nothing has changed for `patience`; then checks every record.
///
/// # Errors
/// ClickHouse cannot be asked.
pub async fn check(clickhouse: &ClickHouse, database: &str, ledger: &Ledger, patience: Duration) -> Result<Findings> {
    check_over(&[clickhouse], database, ledger, patience).await
}

/// The same over several shards, which together hold what was acknowledged.
///
/// # Errors
/// As [`check`].
pub async fn check_over(
    shards: &[&ClickHouse],
    database: &str,
    ledger: &Ledger,
    patience: Duration,
) -> Result<Findings> {
    let mut changed = (Instant::now(), 0);
    loop {
        let rows = stored(shards, database).await?.0.values().map(|(rows, _)| rows).sum::<u64>();
        if rows != changed.1 {
            changed = (Instant::now(), rows);
        }
        let findings = find(shards, database, ledger).await?;
        if findings.broken.is_empty() || changed.0.elapsed() > patience {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // A record that comes twice may come late.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut findings = find(shards, database, ledger).await?;
    for (shard, (rollup, table)) in shards.iter().flat_map(|shard| ROLLUPS.map(|rollup| (shard, rollup))) {
        findings.rollups.push(rollup_difference(shard, database, rollup, table).await?);
    }
    Ok(findings)
}

async fn find(shards: &[&ClickHouse], database: &str, ledger: &Ledger) -> Result<Findings> {
    let mut stored = stored(shards, database).await?;
    let mut findings = Findings { broken: ledger.wrong.clone(), ..Findings::default() };
    for (request, fate) in &ledger.requests {
        let mut tables: Vec<(u64, u64, u64)> = Vec::new();
        // What is refused may be dropped by order, each table's rows for themselves.
        let droppable = request.service.ends_with(POISON) && *fate != Fate::Refused;
        for (table, expected) in &request.rows {
            let (rows, different) = stored.0.remove(&(request.service.clone(), *table)).unwrap_or_default();
            tables.push((*expected, rows, different));
            if droppable && rows == 0 {
                let (least, most) = findings.dropped.entry(table).or_default();
                *least += if *fate == Fate::Accepted { *expected } else { 0 };
                *most += *expected;
            }
            if rows != different {
                let name = &request.service;
                findings.broken.push(format!("{name} in {table}: {} rows are there more than once", rows - different));
            }
        }
        let whole = tables.iter().all(|(expected, rows, different)| expected == different || (droppable && *rows == 0));
        let none = tables.iter().all(|(_, rows, _)| *rows == 0);
        let kept = match fate {
            Fate::Accepted => whole,
            Fate::Refused => none,
            Fate::Unknown => whole || none,
        };
        if !kept {
            let each: Vec<String> =
                tables.iter().map(|(expected, _, found)| format!("{found} of {expected}")).collect();
            findings.broken.push(format!("{} was {fate:?}, found: {}", request.service, each.join(", ")));
        }
        match fate {
            Fate::Accepted => {
                findings.requests += 1;
                findings.acknowledged += request.rows.values().sum::<u64>();
            }
            Fate::Refused => findings.refused += 1,
            Fate::Unknown => {}
        }
    }
    let strangers = stored.0.keys().filter(|(service, _)| service != ALIEN);
    findings.broken.extend(strangers.map(|(service, table)| format!("{service} in {table}: nobody sent it")));
    Ok(findings)
}

async fn stored(shards: &[&ClickHouse], database: &str) -> Result<Stored> {
    let mut stored = Stored::default();
    for (shard, (table, attributes)) in shards.iter().flat_map(|shard| TABLES.map(|table| (shard, table))) {
        let sql = format!(
            "SELECT ServiceName, count(), uniqExact({attributes}['{SEQUENCE}']) FROM {database}.{table} GROUP BY 1"
        );
        for line in shard.query(&sql, "TabSeparated").await?.lines() {
            let mut fields = line.split('\t');
            let mut field = || fields.next().context("a column is missing");
            let (service, rows, different) = (field()?.to_owned(), field()?.parse::<u64>()?, field()?.parse::<u64>()?);
            // A record that is at two shards counts as two different ones, and nobody expects so many.
            let sum = stored.0.entry((service, table)).or_default();
            *sum = (sum.0 + rows, sum.1 + different);
        }
    }
    Ok(stored)
}

/// A row's insert is known by its partition and block number, which merges keep.
async fn rollup_difference(
    clickhouse: &ClickHouse,
    database: &str,
    rollup: &'static str,
    table: &str,
) -> Result<RollupDifference> {
    let differences = format!(
        "SELECT service, sum(rows) AS difference FROM (
           SELECT Value AS service, toInt64(sum(count)) AS rows FROM {database}.{rollup} WHERE Key = 'ServiceName' GROUP BY 1
           UNION ALL
           SELECT ServiceName, -toInt64(count()) FROM {database}.{table} GROUP BY 1
         ) GROUP BY 1 HAVING difference != 0"
    );
    let rows = clickhouse.query(&format!("SELECT sum(difference) FROM ({differences})"), "TabSeparated").await?;
    let inserts = format!(
        "SELECT uniqExact(_partition_id, _block_number) FROM {database}.{table} \
         WHERE ServiceName IN (SELECT service FROM ({differences}))"
    );
    Ok(RollupDifference { rollup, rows: rows.trim().parse()?, inserts: clickhouse.number(&inserts).await? })
}

/// Records of accepted requests that are in no table, and how many requests they belong to.
///
/// # Errors
/// A record is there twice, or ClickHouse cannot be asked.
pub async fn missing(clickhouse: &ClickHouse, database: &str, ledger: &Ledger) -> Result<(u64, usize)> {
    let stored = stored(&[clickhouse], database).await?;
    let (mut records, mut requests) = (0, 0);
    for (request, _) in &ledger.requests {
        let mut lost = 0;
        for (table, expected) in &request.rows {
            let (rows, different) = stored.0.get(&(request.service.clone(), *table)).copied().unwrap_or_default();
            anyhow::ensure!(rows == different, "{} in {table} is there more than once", request.service);
            lost += expected - different;
        }
        records += lost;
        requests += usize::from(lost > 0);
    }
    Ok((records, requests))
}

/// The account of `/status` against the tables: everything that was ever accepted is stored or was dropped by order, and each table holds
/// what is said. To be asked when the spool is empty. Answers what is wrong, a line each.
///
/// # Errors
/// ClickHouse cannot be asked, or the page is not what it should be.
pub async fn account(
    clickhouse: &ClickHouse,
    database: &str,
    status: &str,
    findings: &Findings,
) -> Result<Vec<String>> {
    account_over(&[clickhouse], database, status, findings).await
}

/// The same over several shards.
///
/// # Errors
/// As [`account`].
pub async fn account_over(
    shards: &[&ClickHouse],
    database: &str,
    status: &str,
    findings: &Findings,
) -> Result<Vec<String>> {
    let status: serde_json::Value = serde_json::from_str(status).context("/status")?;
    let mut wrong = Vec::new();
    for (table, _) in TABLES {
        let sql = format!("SELECT count() FROM {database}.{table} WHERE ServiceName != '{ALIEN}'");
        let mut rows = 0;
        for shard in shards {
            rows += shard.number(&sql).await?;
        }
        let account = &status["tables"][table]["rows"];
        let dropped = account["dropped"].as_u64().unwrap_or(0);
        let (least, most) = findings.dropped.get(table).copied().unwrap_or_default();
        let agrees = account["accepted"].as_u64() == Some(rows + dropped) && account["stored"].as_u64() == Some(rows);
        if !agrees || !(least..=most).contains(&dropped) {
            let line = format!("{table} holds {rows} rows, {least} to {most} were dropped, and /status says {account}");
            wrong.push(line);
        }
    }
    Ok(wrong)
}
