//! `otelgate schema print|apply|diff`

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use otelgate::config::{ClickHouse, SinkConfig};
use otelgate::sink::clickhouse::cluster::with_its_shards;
use otelgate::sink::clickhouse::schema::{Difference, Target, Version, statements_for};
use otelgate::sink::clickhouse::{Altered, Applied, Everywhere, Tables, apply_schema};
use serde::Serialize;

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
    let all = block_on(async {
        let clickhouse = with_its_shards(clickhouse.clone()).await?;
        Ok(apply_schema(&clickhouse).await?)
    })?;
    let mut failed = 0;
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

/// What differs, and where when there is more than one server.
#[derive(Serialize)]
struct At {
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(flatten)]
    difference: Difference,
}

/// 1 when something differs, anywhere.
pub(super) fn diff(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let clickhouse = clickhouse(file)?;
    let (found, failed, all) = block_on(async {
        let servers = Everywhere::of(clickhouse).await?;
        let (mut found, mut failed, all) = (Vec::new(), 0, servers.each().count());
        for (server, tables) in servers.each() {
            let server = (all > 1).then(|| server.to_string());
            match tables.differences().await {
                Ok(here) => {
                    found.extend(here.into_iter().map(|difference| At { server: server.clone(), difference }));
                }
                Err(error) => {
                    failed += 1;
                    super::say(format_args!("{}{error}", prefix(server.as_deref())));
                }
            }
        }
        Ok((found, failed, all))
    })?;
    match json {
        true => super::print(format_args!("{}\n", serde_json::to_string_pretty(&found)?))?,
        false => {
            found.iter().try_for_each(|At { server, difference }| {
                super::print(format_args!("{}{difference}\n", prefix(server.as_deref())))
            })?;
            super::print(format_args!("{}\n", super::count(found.len(), "difference")))?;
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} could not be asked", super::count(all, "server"));
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each statement is shown before it runs.
pub(super) fn apply_ttl(file: &Path) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    block_on(async {
        let servers = Everywhere::of(clickhouse.clone()).await?;
        let (mut altered, mut kept_from, mut failed, all) = (0, BTreeSet::new(), 0, servers.each().count());
        for (server, tables) in servers.each() {
            if all > 1 {
                super::print(format_args!("-- {server}\n"))?;
            }
            match alter_there(&tables).await {
                Ok((changes, may)) => {
                    altered += changes;
                    kept_from.extend((!may).then(|| clickhouse.login(server).0));
                }
                Err(error) => {
                    failed += 1;
                    super::say(format_args!("{server}: {error:#}"));
                }
            }
        }
        anyhow::ensure!(failed == 0, "{failed} of {} could not be looked after", super::count(all, "server"));
        match (altered, kept_from.is_empty()) {
            (0, _) => super::print("every table keeps its rows as sink.clickhouse.ttl says\n"),
            (number, true) => super::print(format_args!("{} altered\n", super::count(number, "table"))),
            (_, false) => anyhow::bail!(
                "{} may not alter these tables; an administrator of ClickHouse runs the statements that are shown",
                Vec::from_iter(kept_from).join(", ")
            ),
        }
    })
}

/// How many statements one server takes, and whether the user may run them.
async fn alter_there(tables: &Tables<'_>) -> anyhow::Result<(usize, bool)> {
    let changes = tables.ttl_changes().await?;
    let mut allowed = true;
    for change in &changes {
        super::print(format_args!("{change};\n"))?;
        allowed = allowed && tables.alter(change).await? == Altered::Done;
    }
    Ok((changes.len(), allowed))
}

fn prefix(server: Option<&str>) -> String {
    server.map_or_else(String::new, |server| format!("{server}: "))
}

fn clickhouse(file: &Path) -> anyhow::Result<ClickHouse> {
    match super::load(file)?.config.sink {
        SinkConfig::ClickHouse(clickhouse) => Ok(clickhouse),
        SinkConfig::Forward(_) => anyhow::bail!("this configuration forwards; the tables are the collector's business"),
    }
}
