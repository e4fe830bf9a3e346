//! Asks a server for its facts, through the official `clickhouse` crate.

use std::collections::BTreeMap;

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::facts::{Column, ServerSchema, Table};
use crate::sink::clickhouse::insert;

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    engine: String,
    engine_full: String,
    sorting_key: String,
    dependencies_database: Vec<String>,
    dependencies_table: Vec<String>,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    table: String,
    name: String,
    r#type: String,
    default_kind: String,
    default_expression: String,
}

/// What a server said of itself.
#[derive(Debug)]
pub(in crate::sink::clickhouse) struct Found {
    /// What it is like.
    pub(in crate::sink::clickhouse) schema: ServerSchema,
    /// Its clock, in seconds since 1970.
    pub(in crate::sink::clickhouse) now: u32,
}

/// Reads version, time zone, clock, tables and columns of a database. Views are left out but where they have the name of a table that is written. Where a
/// suffix follows the names of the tables that hold rows, those are known by the names that are written, and what has these names itself is left out.
///
/// # Errors
/// When the server does not answer, or refuses the user.
pub(in crate::sink::clickhouse) async fn read(
    client: &Client,
    database: &str,
    written: &[&str],
    suffix: &str,
) -> Result<Found, clickhouse::error::Error> {
    let stored: Vec<String> = written.iter().map(|name| format!("{name}{suffix}")).collect();
    let known = |name: &str| -> Option<String> {
        match name.strip_suffix(suffix) {
            Some(known) if written.contains(&known) => Some(known.to_owned()),
            _ if written.contains(&name) => None,
            _ => Some(name.to_owned()),
        }
    };
    let about = client.query("SELECT version(), timezone(), toUnixTimestamp(now())");
    let (version, timezone, now) = about.fetch_one::<(String, String, u32)>().await?;
    let defaults = client
        .query("SELECT name, value FROM system.merge_tree_settings WHERE name LIKE '%deduplication_window%'")
        .fetch_all::<(String, String)>()
        .await?
        .into_iter()
        .collect();
    let rows = client
        .query(
            "SELECT name, engine, engine_full, sorting_key, dependencies_database, dependencies_table FROM system.tables \
             WHERE database = ? AND (engine NOT LIKE '%View' OR name IN ?) AND name NOT LIKE '.inner%'",
        )
        .bind(database)
        .bind(&stored)
        .fetch_all::<TableRow>()
        .await?;
    let mut tables: BTreeMap<String, Table> = rows
        .into_iter()
        .filter_map(|row| Some((known(&row.name)?, row)))
        .map(|(name, row)| {
            let stored_as = (name != row.name).then(|| row.name.clone());
            (name, Table { stored_as, ..table(row, &defaults) })
        })
        .collect();
    let columns = client
        .query(
            "SELECT table, name, type, default_kind, default_expression FROM system.columns WHERE database = ? \
             ORDER BY table, position",
        )
        .bind(database)
        .fetch_all::<ColumnRow>()
        .await?;
    for row in columns {
        if let Some(table) = known(&row.table).and_then(|name| tables.get_mut(&name)) {
            let ColumnRow { name, r#type, default_kind, default_expression, .. } = row;
            table.columns.push(Column { name, type_name: r#type, default_kind, default_expression });
        }
    }
    // What is not told is found out when an insert is refused.
    let fixed = client
        .query("SELECT name, value FROM system.settings WHERE readonly AND name IN ?")
        .bind(insert::names())
        .fetch_all::<(String, String)>()
        .await
        .map_or_else(|_| BTreeMap::new(), |rows| rows.into_iter().collect());
    let threads = threads(client).await;
    Ok(Found { schema: ServerSchema { version, timezone, threads, fixed, tables }, now })
}

/// Threads that a statement of the user may have; 0: the server does not say.
async fn threads(client: &Client) -> usize {
    // A number, or one that the server found out: `'auto(8)'`.
    let said =
        client.query("SELECT toUInt64OrZero(extract(value, '[0-9]+')) FROM system.settings WHERE name = 'max_threads'");
    said.fetch_one::<u64>().await.map_or(0, |threads| usize::try_from(threads).unwrap_or(usize::MAX))
}

/// What the user may do, one GRANT statement an entry; through its roles too, where the server tells.
///
/// # Errors
/// When the server does not answer.
pub(in crate::sink::clickhouse) async fn show_grants(client: &Client) -> Result<Vec<String>, clickhouse::error::Error> {
    // FINAL: what roles give too. Older servers do not know it.
    match client.query("SHOW GRANTS FINAL").fetch_all::<String>().await {
        Err(clickhouse::error::Error::BadResponse(_)) => client.query("SHOW GRANTS").fetch_all::<String>().await,
        answer => answer,
    }
}

fn table(row: TableRow, defaults: &BTreeMap<String, String>) -> Table {
    let setting = |name: &str| -> Option<u64> {
        let own = own_setting(&row.engine_full, name);
        own.or_else(|| defaults.get(name).map(String::as_str))?.parse().ok()
    };
    let replicated = row.engine.starts_with("Replicated") || row.engine.starts_with("Shared");
    let (window, seconds) = if replicated {
        (setting("replicated_deduplication_window"), setting("replicated_deduplication_window_seconds"))
    } else if row.engine.ends_with("MergeTree") {
        (setting("non_replicated_deduplication_window"), None)
    } else {
        (None, None)
    };
    let mut views: Vec<String> =
        row.dependencies_database.iter().zip(&row.dependencies_table).map(|(d, t)| format!("{d}.{t}")).collect();
    views.sort();
    Table {
        stored_as: None,
        behind: super::engine::behind(&row.engine, &row.engine_full),
        ttl: super::ttl::clause(&row.engine_full).to_owned(),
        engine: row.engine,
        sorting_key: row.sorting_key,
        deduplication_window: window.unwrap_or(0),
        deduplication_seconds: seconds,
        columns: Vec::new(),
        views,
    }
}

/// The value of a setting in a table's definition, `… SETTINGS a = 1, b = 2`.
pub(crate) fn own_setting<'a>(engine_full: &'a str, name: &str) -> Option<&'a str> {
    let (_, settings) = engine_full.rsplit_once(" SETTINGS ")?;
    settings.split(", ").find_map(|setting| {
        let (found, value) = setting.split_once(" = ")?;
        (found == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, settings: &str) -> TableRow {
        TableRow {
            name: "t".to_owned(),
            engine: engine.to_owned(),
            engine_full: format!("{engine} ORDER BY a SETTINGS {settings}"),
            sorting_key: "a".to_owned(),
            dependencies_database: Vec::new(),
            dependencies_table: Vec::new(),
        }
    }

    #[test]
    fn a_tables_own_window_goes_before_the_servers() {
        let defaults = BTreeMap::from([
            ("non_replicated_deduplication_window".to_owned(), "0".to_owned()),
            ("replicated_deduplication_window".to_owned(), "10000".to_owned()),
            ("replicated_deduplication_window_seconds".to_owned(), "3600".to_owned()),
        ]);
        let of = |engine, settings| {
            let table = table(row(engine, settings), &defaults);
            (table.deduplication_window, table.deduplication_seconds)
        };
        assert_eq!(of("MergeTree", "index_granularity = 8192"), (0, None));
        let own = "index_granularity = 8192, non_replicated_deduplication_window = 10000";
        assert_eq!(of("MergeTree", own), (10_000, None));
        assert_eq!(of("SharedMergeTree", own), (10_000, Some(3600)));
        assert_eq!(of("ReplicatedMergeTree", "replicated_deduplication_window = 5"), (5, Some(3600)));
        assert_eq!(of("Distributed", own), (0, None));
    }
}
