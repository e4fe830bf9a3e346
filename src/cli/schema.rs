//! `otelgate schema print|apply|diff`

use std::path::Path;
use std::process::ExitCode;

use otelgate::config::{ClickHouse, SinkConfig};
use otelgate::sink::clickhouse::schema::{Target, Version, statements_for};
use otelgate::sink::clickhouse::{Altered, Applied, Tables, apply_schema};

use super::Usage;
use super::admin::block_on;

pub(super) fn print(file: &Path, version: Version, on_cluster: bool) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    if on_cluster && clickhouse.schema.cluster.is_none() {
        return Err(Usage("--on-cluster needs `sink.clickhouse.schema.cluster`".to_owned()).into());
    }
    let all = statements_for(&clickhouse, &Target { on_cluster, ..Target::of(version) });
    let text: String = all.iter().map(|statement| format!("{};\n\n", statement.sql.trim_end())).collect();
    super::print(text)
}

pub(super) fn apply(file: &Path) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    let (mut failed, all) = (0, block_on(async { Ok(apply_schema(&clickhouse).await?) })?);
    for Applied { server, outcome } in &all {
        let of = if all.len() == 1 { String::new() } else { format!("{server}: ") };
        match outcome {
            Ok(done) => done.iter().try_for_each(|done| {
                let what = if done.created { "created" } else { "is there already" };
                super::print(format_args!("{of}{}.{}: {what}\n", clickhouse.database, done.name))
            })?,
            Err(error) => {
                failed += 1;
                super::say(format_args!("{of}{error}"));
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} could not be looked after", super::count(all.len(), "server"));
    Ok(())
}

/// 1 when something differs.
pub(super) fn diff(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let clickhouse = clickhouse(file)?;
    let found = block_on(async { Ok(Tables::of(&clickhouse)?.differences().await?) })?;
    match json {
        true => super::print(format_args!("{}\n", serde_json::to_string_pretty(&found)?))?,
        false => {
            found.iter().try_for_each(|difference| super::print(format_args!("{difference}\n")))?;
            super::print(format_args!("{}\n", super::count(found.len(), "difference")))?;
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each statement is shown before it runs.
pub(super) fn apply_ttl(file: &Path) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    let tables = Tables::of(&clickhouse)?;
    block_on(async {
        let changes = tables.ttl_changes().await?;
        let mut allowed = true;
        for change in &changes {
            super::print(format_args!("{change};\n"))?;
            allowed = allowed && tables.alter(change).await? == Altered::Done;
        }
        match (changes.len(), allowed) {
            (0, _) => super::print("every table keeps its rows as sink.clickhouse.ttl says\n"),
            (number, true) => super::print(format_args!("{} altered\n", super::count(number, "table"))),
            (_, false) => anyhow::bail!(
                "{} may not alter these tables; an administrator of ClickHouse runs the statements that are shown",
                clickhouse.user
            ),
        }
    })
}

fn clickhouse(file: &Path) -> anyhow::Result<ClickHouse> {
    match super::load(file)?.config.sink {
        SinkConfig::ClickHouse(clickhouse) => Ok(clickhouse),
        SinkConfig::Forward(_) => anyhow::bail!("this configuration forwards; the tables are the collector's business"),
    }
}
