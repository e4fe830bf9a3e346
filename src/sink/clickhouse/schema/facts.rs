//! What is known about a server's tables. It can be written down and read again, so that a start while ClickHouse is away
//! goes by what was true last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ddl::{OWN_VIEWS, identifier};
use super::version::Version;
use crate::sink::AfterUnknown;

/// More inserts than one in this time no table takes for long, from all gateways together: so long each of the tokens that it keeps lasts.
const TOKEN_LASTS: Duration = Duration::from_millis(60);
/// A repeat is with the server this long after it was decided on, at the latest; clocks that are set right are off by no more.
const UNDER_WAY: Duration = Duration::from_secs(30);

/// Tokens that a table is to keep; the same as in the tables that otelgate creates.
const WINDOW: u64 = 10_000;

/// Inserts into one table at once where the server has cores for more.
const MOST_AT_ONCE: usize = 4;

/// A server's version, time zone and tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerSchema {
    /// As `version()` says it.
    pub(crate) version: String,
    /// As `timezone()` says it: decides on a row's day.
    pub(crate) timezone: String,
    /// Threads that a statement of this user may have, which are the server's cores where nobody says otherwise; 0: not known.
    #[serde(default)]
    pub threads: usize,
    /// Settings of inserts that this user may not choose, and their values.
    #[serde(default)]
    pub(crate) fixed: BTreeMap<String, String>,
    /// Tables of the database by name; views are not among them, but for those that stand where a table is written.
    pub tables: BTreeMap<String, Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Its name, where it is not the one by which it is known here.
    #[serde(default)]
    pub(crate) stored_as: Option<String>,
    /// Its engine's name.
    pub(crate) engine: String,
    /// The table that it passes rows on to, when it is a Distributed or a Buffer table.
    #[serde(default)]
    pub(crate) behind: Option<String>,
    /// Expressions of the sorting key, as one list; empty when the engine has none.
    pub(crate) sorting_key: String,
    /// How many tokens the table keeps; 0: it does not deduplicate.
    pub(crate) deduplication_window: u64,
    /// How long it keeps them, where that is limited.
    pub(crate) deduplication_seconds: Option<u64>,
    /// In their order.
    pub columns: Vec<Column>,
    /// Its TTL clause, as ClickHouse writes it; empty: none.
    #[serde(default)]
    pub(crate) ttl: String,
    /// Materialized views that read it, as `database.view`.
    #[serde(default)]
    pub views: Vec<String>,
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
    /// What it is computed by, where it is.
    #[serde(default)]
    pub(crate) default_expression: String,
}

impl Column {
    /// Whether an insert may name it.
    pub(crate) fn is_insertable(&self) -> bool {
        matches!(self.default_kind.as_str(), "" | "DEFAULT")
    }
}

impl ServerSchema {
    /// Inserts into one table at once. Each has one thread, so that more of them than cores finish none earlier and only hold memory; one at a time would
    /// leave the server idle between two.
    pub fn inserts_at_once(&self) -> usize {
        match self.threads {
            0 => MOST_AT_ONCE,
            threads => threads.clamp(2, MOST_AT_ONCE),
        }
    }

    /// Year and release; the newest when the server says something else.
    pub(crate) fn version(&self) -> Version {
        self.version.parse().unwrap_or(Version::NEWEST)
    }
}

impl Table {
    /// Its name on the server, of the one by which it is known here.
    pub(crate) fn name<'a>(&'a self, known: &'a str) -> &'a str {
        self.stored_as.as_deref().unwrap_or(known)
    }

    /// Tokens and rows are kept together, on all replicas.
    pub(crate) fn is_replicated(&self) -> bool {
        self.engine.starts_with("Replicated") || self.engine.starts_with("Shared")
    }

    /// Replicas of it share a log; a Shared table's servers share everything, and say what is true when they are asked to.
    pub(crate) fn has_log(&self) -> bool {
        self.engine.starts_with("Replicated")
    }

    /// Whether views read it that are not ClickStack's own.
    pub(crate) fn has_foreign_views(&self, database: &str) -> bool {
        let is_own = |view: &String| {
            let name = view.strip_prefix(database).and_then(|rest| rest.strip_prefix('.'));
            name.is_some_and(|name| OWN_VIEWS.contains(&name))
        };
        !self.views.iter().all(is_own)
    }

    /// Why rows cannot be kept in it and what to do instead, in words that go on after its name.
    pub(crate) fn refusal(&self, name: &str) -> Option<String> {
        super::engine::refusal(&self.engine, self.behind.as_deref(), name)
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
        let (database, name) = (identifier(database), identifier(self.name(name)));
        (self.deduplication_window == 0)
            .then(|| format!("ALTER TABLE {database}.{name} MODIFY SETTING {setting} = {WINDOW}"))
    }

    /// What settles an insert whose outcome was unknown `since` ago.
    pub(crate) fn after_unknown(&self, since: Duration) -> AfterUnknown {
        let by_count = TOKEN_LASTS.saturating_mul(u32::try_from(self.deduplication_window).unwrap_or(u32::MAX));
        let by_time = self.deduplication_seconds.map_or(Duration::MAX, Duration::from_secs);
        match since.saturating_add(UNDER_WAY) < by_count.min(by_time) {
            false => AfterUnknown::Look,
            true if self.is_replicated() => AfterUnknown::Repeat,
            true => AfterUnknown::RepeatThenLook,
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
        assert_eq!(plain.after_unknown(8 * minute), AfterUnknown::RepeatThenLook);
        assert_eq!(plain.after_unknown(10 * minute), AfterUnknown::Look, "others may have used up the window");
        assert_eq!(plain.after_unknown(Duration::MAX), AfterUnknown::Look);
        assert_eq!(table("MergeTree", 0, None).after_unknown(minute), AfterUnknown::Look);

        let replicated = table("ReplicatedMergeTree", 10_000, Some(3600));
        assert_eq!(replicated.after_unknown(minute), AfterUnknown::Repeat);
        assert_eq!(replicated.after_unknown(11 * minute), AfterUnknown::Look);
        let long = table("ReplicatedMergeTree", 1_000_000, Some(3600));
        assert_eq!(long.after_unknown(58 * minute), AfterUnknown::Repeat);
        assert_eq!(long.after_unknown(60 * minute), AfterUnknown::Look);
        for short in [table("SharedMergeTree", 10_000, Some(30)), table("ReplicatedMergeTree", 100, Some(3600))] {
            assert_eq!(short.after_unknown(Duration::ZERO), AfterUnknown::Look);
        }
        assert_eq!(table("ReplicatedMergeTree", 0, None).after_unknown(minute), AfterUnknown::Look);
    }

    #[test]
    fn clickstacks_own_views_are_told_from_others() {
        let mut logs = table("MergeTree", 0, None);
        assert!(!logs.has_foreign_views("otel"));
        logs.views.push("otel.otel_logs_attr_kv_rollup_15m_mv".to_owned());
        assert!(!logs.has_foreign_views("otel"));
        assert!(logs.has_foreign_views("ote"));
        logs.views.push("mine.errors".to_owned());
        assert!(logs.has_foreign_views("otel"));
    }

    #[test]
    fn a_server_of_which_nobody_knows_the_cores_gets_the_most_inserts() {
        let of = |threads| ServerSchema { threads, ..ServerSchema::default() }.inserts_at_once();
        assert_eq!([0, 1, 2, 3, 4, 64].map(of), [4, 2, 2, 3, 4, 4]);
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
            default_expression: String::new(),
        });
        schema.tables.insert("otel_logs".to_owned(), logs);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<ServerSchema>(&text).unwrap(), schema);
        assert_eq!(schema.version(), Version::new(26, 7));
    }
}
