//! The statements that create ClickStack's tables, indexes and views, in the order in which they can run.
//!
//! Everything that a person may want to read about a table stands in `sql/*.sql`; filled in here are the database, the time to live and
//! what differs between servers. Pure: no server is asked.

use std::time::Duration;

use super::target::{Definitions, Target};
use super::version::Version;
use crate::config::{self, Layout, Ttl};

/// One table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What ClickStack calls it, without the database.
    pub name: &'static str,
    /// What follows that in its own name.
    pub suffix: String,
    /// `CREATE … IF NOT EXISTS …`, without a semicolon.
    pub sql: String,
}

/// What the templates leave open.
struct Filling<'a> {
    database: &'a str,
    ttl: &'a Ttl,
    layout: &'a Layout,
    target: &'a Target,
}

/// Tokens that a table is to keep, by count and, where replicas keep them together, by time: an hour is what newer servers keep them by themselves, and a
/// gateway may be away for longer.
const WINDOW: &str = "non_replicated_deduplication_window = 10000";
const REPLICATED_WINDOW: &str =
    "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800";

impl Statement {
    /// Its name, without the database.
    pub fn table(&self) -> String {
        format!("{}{}", self.name, self.suffix)
    }
}

/// The columns that the logs' rollup counts.
const LOG_COLUMNS: [&str; 14] = [
    "SeverityText",
    "ServiceName",
    "ScopeName",
    "ScopeVersion",
    "ResourceSchemaUrl",
    "ScopeSchemaUrl",
    "__hdx_materialized_k8s.cluster.name",
    "__hdx_materialized_k8s.container.name",
    "__hdx_materialized_k8s.deployment.name",
    "__hdx_materialized_k8s.namespace.name",
    "__hdx_materialized_k8s.node.name",
    "__hdx_materialized_k8s.pod.name",
    "__hdx_materialized_k8s.pod.uid",
    "__hdx_materialized_deployment.environment.name",
];

/// The columns that the traces' rollup counts.
const TRACE_COLUMNS: [&str; 6] = ["ServiceName", "SpanName", "SpanKind", "StatusCode", "ScopeName", "ScopeVersion"];

/// The five tables of metrics: the columns that each has after those that all share.
const METRICS: [(&str, &str); 5] = [
    ("otel_metrics_gauge", include_str!("sql/otel_metrics_gauge.columns.sql")),
    ("otel_metrics_sum", include_str!("sql/otel_metrics_sum.columns.sql")),
    ("otel_metrics_histogram", include_str!("sql/otel_metrics_histogram.columns.sql")),
    ("otel_metrics_exponential_histogram", include_str!("sql/otel_metrics_exponential_histogram.columns.sql")),
    ("otel_metrics_summary", include_str!("sql/otel_metrics_summary.columns.sql")),
];

/// The views that feed ClickStack's rollups.
pub(super) const OWN_VIEWS: [&str; 2] = ["otel_logs_attr_kv_rollup_15m_mv", "otel_traces_kv_rollup_15m_mv"];

/// All tables and views for a server of one's own of this version.
pub fn statements(database: &str, ttl: &Ttl, version: Version) -> Vec<Statement> {
    Filling { database, ttl, layout: &Layout::default(), target: &Target::of(version) }.all()
}

/// All tables and views of a configuration for one server, or for all of a cluster.
pub fn statements_for(config: &config::ClickHouse, target: &Target) -> Vec<Statement> {
    Filling { database: &config.database, ttl: &config.ttl, layout: &config.schema, target }.all()
}

/// What a row's age is counted from.
#[derive(Clone, Copy)]
struct Expiry {
    /// For a time to live of whole days.
    days: &'static str,
    /// For any other.
    seconds: &'static str,
}

impl Expiry {
    const TIMESTAMP: Expiry = Expiry::by("toDateTime(Timestamp)");
    const SESSIONS: Expiry = Expiry::by("TimestampTime");
    const ROLLUP: Expiry = Expiry::by("Timestamp");
    const METRICS: Expiry = Expiry::by("toDateTime(TimeUnix)");
    /// ClickStack counts from the day's start, which would cut a time to live of hours short.
    const TRACES: Expiry = Expiry { days: "toDate(Timestamp)", seconds: "toDateTime(Timestamp)" };

    const fn by(expression: &'static str) -> Expiry {
        Expiry { days: expression, seconds: expression }
    }

    /// The TTL clause, rounded to whole seconds; none for zero.
    fn clause(self, ttl: Duration) -> String {
        const DAY: u64 = 24 * 60 * 60;
        match ttl.as_secs() {
            0 => String::new(),
            seconds if seconds.is_multiple_of(DAY) => {
                format!("TTL {} + toIntervalDay({})", self.days, seconds / DAY)
            }
            seconds => format!("TTL {} + toIntervalSecond({seconds})", self.seconds),
        }
    }
}

impl Filling<'_> {
    fn all(&self) -> Vec<Statement> {
        let ttl = self.ttl;
        let mut all = vec![
            self.table("otel_logs", include_str!("sql/otel_logs.sql"), ttl.logs, Expiry::TIMESTAMP),
            self.rollup("otel_logs_kv_rollup_15m", ttl.logs),
            self.view(OWN_VIEWS[0], "otel_logs", "otel_logs_kv_rollup_15m", &LOG_COLUMNS),
            self.table("otel_traces", include_str!("sql/otel_traces.sql"), ttl.traces, Expiry::TRACES),
            self.rollup("otel_traces_kv_rollup_15m", ttl.traces),
            self.view(OWN_VIEWS[1], "otel_traces", "otel_traces_kv_rollup_15m", &TRACE_COLUMNS),
            self.table("hyperdx_sessions", include_str!("sql/hyperdx_sessions.sql"), ttl.sessions, Expiry::SESSIONS),
        ];
        all.extend(METRICS.map(|(name, columns)| self.metrics(name, columns)));
        if let (true, Some(cluster)) = (self.layout.distributed, &self.layout.cluster) {
            let held = all.iter().map(|one| one.name).filter(|name| !OWN_VIEWS.contains(name));
            let over: Vec<Statement> = held.map(|name| self.distributed(name, cluster)).collect();
            all.extend(over);
        }
        all
    }

    /// A table that reads what lies in all shards. Nobody inserts through it, and no key says where a row lies: shards take turns, a part at a time. A
    /// sharding key of columns would be a promise that `optimize_skip_unused_shards` and `optimize_distributed_group_by_sharding_key` believe.
    fn distributed(&self, name: &'static str, cluster: &str) -> Statement {
        let (database, held) = (identifier(self.database), format!("{name}{}", self.layout.suffix));
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {database}.{name}{} AS {database}.{}\nENGINE = Distributed({}, {}, {}, rand())",
            self.on_cluster(),
            identifier(&held),
            literal(cluster),
            literal(self.database),
            literal(&held)
        );
        Statement { name, suffix: String::new(), sql }
    }

    fn on_cluster(&self) -> String {
        let cluster = self.layout.cluster.as_ref().filter(|_| self.target.on_cluster);
        cluster.map(|cluster| format!(" ON CLUSTER {}", identifier(cluster))).unwrap_or_default()
    }

    /// What stands before and after `MergeTree`, and how long tokens are kept. A database that replicates definitions fills the arguments in itself.
    fn engine(&self) -> (&'static str, String, &'static str) {
        match (self.target.definitions, &self.layout.replicated) {
            (Definitions::Shared, _) => ("", String::new(), WINDOW),
            (Definitions::Replicated, _) => ("Replicated", String::new(), REPLICATED_WINDOW),
            (Definitions::Own, None) => ("", String::new(), WINDOW),
            (Definitions::Own, Some(config::Replicated { path, replica })) => {
                ("Replicated", format!("({}, {})", literal(path), literal(replica)), REPLICATED_WINDOW)
            }
        }
    }

    fn table(&self, name: &'static str, template: &str, ttl: Duration, expiry: Expiry) -> Statement {
        let (items, words, id) = if self.target.version.has_text_indexes() {
            ("text(tokenizer = 'array')", "text(tokenizer = 'splitByNonAlpha')", "text(tokenizer = 'array')")
        } else {
            (
                "bloom_filter(0.01) GRANULARITY 1",
                "tokenbf_v1(32768, 3, 0) GRANULARITY 8",
                "bloom_filter(0.001) GRANULARITY 1",
            )
        };
        let (replicated, place, window) = self.engine();
        let suffix = self.layout.suffix.clone();
        let sql = template
            .replace("{database}", &identifier(self.database))
            .replace("{table}", &identifier(&format!("{name}{suffix}")))
            .replace("{on_cluster}", &self.on_cluster())
            .replace("{replicated}", replicated)
            .replace("{window}", window)
            .replace("{text_items}", items)
            .replace("{text_words}", words)
            .replace("{text_id}", id)
            .replace(
                "{level}",
                if self.target.version.has_level_for_wide_part() { ", min_level_for_wide_part = 1" } else { "" },
            )
            .replace("{ttl}\n", &with_line_end(expiry.clause(ttl)))
            // Last: it has braces of its own, which are ClickHouse's macros.
            .replace("{place}", &place)
            .trim_end()
            .to_owned();
        Statement { name, suffix, sql: self.target.without_refused(sql) }
    }

    fn rollup(&self, name: &'static str, ttl: Duration) -> Statement {
        self.table(name, include_str!("sql/kv_rollup_15m.sql"), ttl, Expiry::ROLLUP)
    }

    fn metrics(&self, name: &'static str, columns: &str) -> Statement {
        let template = include_str!("sql/otel_metrics.sql").replace("{columns}", columns.trim_end());
        self.table(name, &template, self.ttl.metrics, Expiry::METRICS)
    }

    /// Rows that are alike in all columns are counted before they are taken apart: a row a column would otherwise be built for every row,
    /// which cost 2.1 CPU seconds a million logs instead of 0.3 (docs/decisions/0007-rollup-view.md).
    fn view(&self, name: &'static str, source: &str, target: &str, columns: &[&str]) -> Statement {
        let each =
            |line: &dyn Fn(&str) -> String| columns.iter().map(|column| line(column)).collect::<Vec<_>>().join(",\n");
        let names = each(&|column| format!("        {}", identifier(column)));
        let pairs = each(&|column| format!("    ('{column}', toString(source.{}))", identifier(column)));
        let sql = include_str!("sql/kv_rollup_15m_mv.sql")
            .replace("{database}", &identifier(self.database))
            .replace("{view}", name)
            .replace("{on_cluster}", &self.on_cluster())
            .replace("{table}", &identifier(&format!("{target}{}", self.layout.suffix)))
            .replace("{source}", &identifier(&format!("{source}{}", self.layout.suffix)))
            .replace("{columns}", &names)
            .replace("{pairs}", &pairs)
            .trim_end()
            .to_owned();
        Statement { name, suffix: String::new(), sql }
    }
}

fn with_line_end(line: String) -> String {
    if line.is_empty() { line } else { line + "\n" }
}

/// A name as it stands in a statement: quoted where it has to be.
pub fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")) }
}

/// A text as a literal in a statement.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn ttl(each: Duration) -> Ttl {
        Ttl { logs: each, traces: each, metrics: each, sessions: each }
    }

    fn sql_of(name: &str, ttl_each: Duration, version: Version) -> String {
        let all = statements("otel", &ttl(ttl_each), version);
        all.into_iter().find(|statement| statement.name == name).unwrap().sql
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for statement in statements("otel", &ttl(DAY), Version::NEWEST) {
            assert!(!statement.sql.contains(['{', '}']), "{}", statement.sql);
            assert!(statement.sql.starts_with("CREATE "));
            assert!(statement.sql.contains(&format!("otel.{}", statement.name)));
        }
    }

    #[test]
    fn older_servers_get_bloom_filters_where_newer_ones_get_text_indexes() {
        let newer = sql_of("otel_logs", DAY, Version::new(26, 2));
        let older = sql_of("otel_logs", DAY, Version::new(26, 1));
        assert!(newer.contains("lower(Body) TYPE text(tokenizer = 'splitByNonAlpha')"));
        assert!(!older.contains("text("));
        assert!(older.contains("lower(Body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8"));
        assert!(older.contains("mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1"));
    }

    #[test]
    fn inserts_are_compact_where_the_server_knows_how() {
        let of = |version| sql_of("otel_metrics_sum", DAY, version).contains("min_level_for_wide_part = 1");
        assert!(of(Version::new(25, 10)));
        assert!(!of(Version::new(25, 9)));
    }

    #[test]
    fn time_to_live_is_days_or_seconds() {
        let of = |ttl| sql_of("otel_traces", ttl, Version::NEWEST);
        assert!(of(30 * DAY).contains("TTL toDate(Timestamp) + toIntervalDay(30)\n"));
        assert!(of(Duration::from_secs(5400)).contains("TTL toDateTime(Timestamp) + toIntervalSecond(5400)\n"));
        assert!(!of(Duration::ZERO).contains("TTL "));
    }

    #[test]
    fn every_table_and_rollup_has_a_deduplication_window() {
        for statement in statements("otel", &ttl(DAY), Version::NEWEST) {
            let is_table = statement.sql.starts_with("CREATE TABLE");
            assert_eq!(
                is_table,
                statement.sql.contains("non_replicated_deduplication_window = 10000"),
                "{}",
                statement.name
            );
        }
    }

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("otel_logs"), "otel_logs");
        assert_eq!(identifier("a`; DROP"), "`a\\`; DROP`");
        assert_eq!(literal("it's \\"), "'it\\'s \\\\'");
    }
}
