//! What is known about a server's tables. It can be written down and read again, so that a start while ClickHouse is away
//! goes by what was true last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ddl::identifier;
use super::version::Version;
use crate::sink::AfterUnknown;

/// A repeat under the same token within this time is still within a replicated table's count of tokens, at any rate of
/// inserts that one gateway makes.
const TOKENS_LAST: Duration = Duration::from_secs(10 * 60);

/// Tokens that a table is to keep; the same as in the tables that otelgate creates.
const WINDOW: u64 = 10_000;

/// A server's version, time zone and tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerSchema {
    /// As `version()` says it.
    pub(crate) version: String,
    /// As `timezone()` says it: decides on a row's day.
    pub(crate) timezone: String,
    /// Tables of the database by name; views are not among them.
    pub tables: BTreeMap<String, Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Its engine's name.
    pub(crate) engine: String,
    /// Expressions of the sorting key, as one list; empty when the engine has none.
    pub(crate) sorting_key: String,
    /// How many tokens the table keeps; 0: it does not deduplicate.
    pub(crate) deduplication_window: u64,
    /// How long it keeps them, where that is limited.
    pub(crate) deduplication_seconds: Option<u64>,
    /// In their order.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as ClickHouse writes it.
    pub(crate) type_name: String,
    /// Empty, `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`.
    pub(crate) default_kind: String,
}

impl Column {
    /// Whether an insert may name it.
    pub(crate) fn is_insertable(&self) -> bool {
        matches!(self.default_kind.as_str(), "" | "DEFAULT")
    }
}

impl ServerSchema {
    /// Year and release; the newest when the server says something else.
    pub(crate) fn version(&self) -> Version {
        self.version.parse().unwrap_or(Version::NEWEST)
    }
}

impl Table {
    /// Tokens and rows are kept together, on all replicas.
    pub(crate) fn is_replicated(&self) -> bool {
        self.engine.starts_with("Replicated") || self.engine.starts_with("Shared")
    }

    /// The type of a column.
    pub(crate) fn type_of(&self, column: &str) -> Option<&str> {
        let found = self.columns.iter().find(|found| found.name == column)?;
        Some(&found.type_name)
    }

    /// The statement that gives the table a deduplication window, when it has none.
    pub(crate) fn window_remedy(&self, database: &str, name: &str) -> Option<String> {
        let setting = match self.is_replicated() {
            true => "replicated_deduplication_window",
            false => "non_replicated_deduplication_window",
        };
        let (database, name) = (identifier(database), identifier(name));
        (self.deduplication_window == 0)
            .then(|| format!("ALTER TABLE {database}.{name} MODIFY SETTING {setting} = {WINDOW}"))
    }

    /// What settles an insert whose outcome was unknown `since` ago.
    pub(crate) fn after_unknown(&self, since: Duration) -> AfterUnknown {
        let kept = self.deduplication_seconds.map_or(TOKENS_LAST, Duration::from_secs);
        match (self.deduplication_window, self.is_replicated()) {
            (0, _) => AfterUnknown::Look,
            (_, true) if since < kept.min(TOKENS_LAST) => AfterUnknown::Repeat,
            (_, true) => AfterUnknown::Look,
            (_, false) => AfterUnknown::RepeatThenLook,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(engine: &str, window: u64, seconds: Option<u64>) -> Table {
        Table {
            engine: engine.to_owned(),
            deduplication_window: window,
            deduplication_seconds: seconds,
            ..Table::default()
        }
    }

    #[test]
    fn what_settles_an_unknown_outcome() {
        let minute = Duration::from_secs(60);
        let plain = table("MergeTree", 10_000, None);
        assert_eq!(plain.after_unknown(minute), AfterUnknown::RepeatThenLook);
        assert_eq!(plain.after_unknown(Duration::MAX), AfterUnknown::RepeatThenLook);
        assert_eq!(table("MergeTree", 0, None).after_unknown(minute), AfterUnknown::Look);

        let replicated = table("ReplicatedMergeTree", 10_000, Some(3600));
        assert_eq!(replicated.after_unknown(minute), AfterUnknown::Repeat);
        assert_eq!(replicated.after_unknown(11 * minute), AfterUnknown::Look);
        let short = table("SharedMergeTree", 10_000, Some(30));
        assert_eq!(short.after_unknown(minute), AfterUnknown::Look);
        assert_eq!(table("ReplicatedMergeTree", 0, None).after_unknown(minute), AfterUnknown::Look);
    }

    #[test]
    fn facts_survive_being_written_down() {
        let mut schema = ServerSchema {
            version: "26.7.2.1".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            ..ServerSchema::default()
        };
        let mut logs = table("MergeTree", 10_000, Some(1));
        logs.columns.push(Column {
            name: "Body".to_owned(),
            type_name: "String".to_owned(),
            default_kind: String::new(),
        });
        schema.tables.insert("otel_logs".to_owned(), logs);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<ServerSchema>(&text).unwrap(), schema);
        assert_eq!(schema.version(), Version::new(26, 7));
    }
}
