//! For which server statements are written: what differs between a server of one's own, a database that replicates its definitions, and ClickHouse
//! Cloud.
//!
//! A setting that a server does not know, or does not let its users choose, is left out of a table's definition: one word of it would
//! otherwise refuse the table.

use std::collections::BTreeSet;

use super::version::Version;
use crate::sink::clickhouse::error::Failure;
use crate::sink::clickhouse::query::Query;

/// What the server keeps for itself where tables are Shared: parts lie in one storage, which is as durable as it is.
const NOT_SHARED: [&str; 3] = ["non_replicated_deduplication_window", "fsync_after_insert", "fsync_part_directory"];

/// Settings of tables that a server may not take. What is inserted lies in one file, and what was merged has a file a column, by
/// `min_level_for_wide_part` (docs/decisions/0010-cheaper-inserts.md).
const SETTINGS: [&str; 9] = [
    "ttl_only_drop_parts",
    "enable_block_number_column",
    "enable_block_offset_column",
    "non_replicated_deduplication_window",
    "replicated_deduplication_window",
    "replicated_deduplication_window_seconds",
    "fsync_after_insert",
    "fsync_part_directory",
    "min_level_for_wide_part",
];

/// How a database treats definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Definitions {
    /// Each server has its own.
    #[default]
    Own,
    /// A database of engine Replicated: all its servers have what one is told, and say themselves where a table's replicas meet.
    Replicated,
    /// ClickHouse Cloud: the same, and every MergeTree becomes a SharedMergeTree.
    Shared,
}

/// A server, as far as statements depend on it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its version.
    pub version: Version,
    /// Who has the definitions.
    pub definitions: Definitions,
    /// Settings of tables that it does not take.
    pub refused: BTreeSet<String>,
    /// Whether each statement is to run on all servers of the configured cluster.
    pub on_cluster: bool,
}

impl Target {
    /// A server of this version that takes everything.
    pub fn of(version: Version) -> Target {
        Target { version, definitions: Definitions::Own, refused: BTreeSet::new(), on_cluster: false }
    }

    /// Asks a server. What it does not tell is taken to be as on a server of one's own.
    ///
    /// # Errors
    /// It does not answer.
    pub(in crate::sink::clickhouse) async fn ask(query: Query<'_>, database: &str) -> Result<Target, Failure> {
        let version = text(query, "SELECT version()").await?;
        let mut target = Target::of(version.parse().unwrap_or(Version::NEWEST));
        let engine = format!("SELECT engine FROM system.databases WHERE name = {}", super::literal(database));
        let cloud = "SELECT value FROM system.settings WHERE name = 'cloud_mode'";
        let (engine, cloud) = (text(query, &engine).await, text(query, cloud).await);
        let is = |answer: &Result<String, Failure>, word: &str| answer.as_ref().is_ok_and(|said| said == word);
        if is(&engine, "Shared") || is(&cloud, "1") {
            target.definitions = Definitions::Shared;
            target.refused.extend(NOT_SHARED.map(str::to_owned));
        } else if is(&engine, "Replicated") {
            target.definitions = Definitions::Replicated;
        }
        // Only where it tells at all: an older server has no such column.
        if let Ok(taken) = text(query, "SELECT name FROM system.merge_tree_settings WHERE NOT readonly").await {
            let taken: BTreeSet<&str> = taken.lines().collect();
            let own = SETTINGS.iter().filter(|name| !taken.is_empty() && !taken.contains(**name));
            target.refused.extend(own.map(|name| (*name).to_owned()));
        }
        Ok(target)
    }

    /// A statement without the settings that are refused; all of them may be.
    pub(super) fn without_refused(&self, sql: String) -> String {
        let Some((before, settings)) = sql.rsplit_once("\nSETTINGS ").filter(|_| !self.refused.is_empty()) else {
            return sql;
        };
        let kept = settings.split(',').map(str::trim).filter(|setting| {
            let name = setting.split(" = ").next().unwrap_or_default();
            !self.refused.contains(name)
        });
        match kept.collect::<Vec<_>>().join(", ") {
            kept if kept.is_empty() => before.to_owned(),
            kept => format!("{before}\nSETTINGS {kept}"),
        }
    }
}

async fn text(query: Query<'_>, sql: &str) -> Result<String, Failure> {
    let answer = query.run(&format!("{sql} FORMAT TabSeparatedRaw")).await?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_is_left_out() {
        let sql = "CREATE TABLE a.b\n(c UInt8)\nENGINE = MergeTree\nSETTINGS d = 1, e = 2,\n    f = 3".to_owned();
        let mut target = Target::of(Version::NEWEST);
        assert_eq!(target.without_refused(sql.clone()), sql);
        target.refused.extend(["d".to_owned(), "f".to_owned()]);
        assert!(target.without_refused(sql.clone()).ends_with("ENGINE = MergeTree\nSETTINGS e = 2"));
        target.refused.insert("e".to_owned());
        assert!(target.without_refused(sql).ends_with("ENGINE = MergeTree"));
    }
}
