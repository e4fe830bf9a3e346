//! `otelgate schema print|apply`

use std::path::Path;

use anyhow::Context;
use otelgate::config::{ClickHouse, SinkConfig};
use otelgate::sink::clickhouse::apply_schema;
use otelgate::sink::clickhouse::schema::{Version, statements};

pub(super) fn print(file: &Path, version: Version) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    let all = statements(&clickhouse.database, &clickhouse.ttl, version);
    let text: String = all.iter().map(|statement| format!("{};\n\n", statement.sql.trim_end())).collect();
    super::print(text)
}

pub(super) fn apply(file: &Path) -> anyhow::Result<()> {
    let clickhouse = clickhouse(file)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    for done in runtime.block_on(apply_schema(&clickhouse))? {
        let what = if done.created { "created" } else { "is there already" };
        super::print(format_args!("{}.{}: {what}\n", clickhouse.database, done.name))?;
    }
    Ok(())
}

fn clickhouse(file: &Path) -> anyhow::Result<ClickHouse> {
    match super::load(file)?.config.sink {
        SinkConfig::ClickHouse(clickhouse) => Ok(clickhouse),
        SinkConfig::Forward(_) => anyhow::bail!("this configuration forwards; the tables are the collector's business"),
    }
}
