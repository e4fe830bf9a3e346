//! How a table differs from what otelgate would make: two definitions in ClickHouse's own words, taken apart and compared piece by piece. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::ttl::{Ttl, split_word, top_level};

/// One thing that is not as otelgate would make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table or view, without its database.
    pub table: String,
    /// What differs: `table`, `view`, `engine`, `partition key`, `primary key`, `sorting key`, `TTL`, or by name `column X`, `index X`, `setting X`,
    /// `constraint or projection X`.
    pub what: String,
    /// As otelgate would make it; nothing when it would not.
    pub wanted: Option<String>,
    /// As it is; nothing when it is not there.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { table, what, wanted, found } = self;
        write!(f, "{table}: {what}: ")?;
        match (wanted, found) {
            (Some(wanted), Some(found)) => write!(f, "is {found}, would be {wanted}"),
            (Some(wanted), None) => write!(f, "is missing, would be {wanted}"),
            (None, Some(found)) => write!(f, "is {found}, otelgate has none"),
            (None, None) => f.write_str("differs"),
        }
    }
}

/// The clauses behind a table's engine.
const CLAUSES: [(&str, &str); 6] = [
    ("PARTITION BY", "partition key"),
    ("PRIMARY KEY", "primary key"),
    ("ORDER BY", "sorting key"),
    ("TTL", "TTL"),
    ("SETTINGS", "settings"),
    ("COMMENT", "comment"),
];

/// A definition's pieces by name.
#[derive(Debug, Default)]
struct Definition {
    replicated: bool,
    pieces: BTreeMap<String, String>,
}

/// What differs between two definitions of a table or view, as ClickHouse formats them on one line.
pub(in crate::sink::clickhouse) fn differences(table: &str, wanted: &str, found: &str) -> Vec<Difference> {
    let (wanted, found) = (Definition::of(wanted), Definition::of(found));
    let names = wanted.pieces.keys().chain(found.pieces.keys().filter(|name| !wanted.pieces.contains_key(*name)));
    let differs = |name: &String| {
        let (wanted, in_table) = (wanted.pieces.get(name), found.pieces.get(name));
        let same = match (name.as_str(), wanted, in_table) {
            ("TTL", wanted, in_table) => {
                same_ttl(wanted.map_or("", String::as_str), in_table.map_or("", String::as_str))
            }
            // A replicated table has a window of its own.
            ("setting non_replicated_deduplication_window", ..) => found.replicated || wanted == in_table,
            _ => wanted == in_table,
        };
        (!same).then(|| Difference {
            table: table.to_owned(),
            what: name.clone(),
            wanted: wanted.cloned(),
            found: in_table.cloned(),
        })
    };
    names.filter_map(differs).collect()
}

/// Whether rows go at the same time by both clauses.
pub(crate) fn same_ttl(wanted: &str, found: &str) -> bool {
    let period = |clause| Ttl::of(clause).period();
    match (period(wanted), period(found)) {
        (Ok(Some(wanted)), Ok(Some(found))) => wanted.equals(found),
        (Ok(None), Ok(None)) => true,
        _ => wanted == found,
    }
}

impl Definition {
    fn of(text: &str) -> Definition {
        let mut definition = Definition::default();
        match split_word(text, "ENGINE") {
            Some((head, tail)) => definition.table(head, tail.trim_start_matches([' ', '='])),
            // A view has no engine of its own.
            None => {
                let query = split_word(text, "AS").map_or(text, |(_, query)| query);
                definition.add("view", query);
            }
        }
        definition
    }

    fn add(&mut self, name: impl Into<String>, piece: &str) {
        self.pieces.insert(name.into(), piece.trim().to_owned());
    }

    fn table(&mut self, head: &str, tail: &str) {
        let inner = head.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(inner, _)| inner);
        for item in top_level(inner, ',').into_iter().map(str::trim) {
            let (kind, rest) = match item.split_once(' ') {
                Some(("INDEX", rest)) => ("index", rest),
                Some(("CONSTRAINT" | "PROJECTION", rest)) => ("constraint or projection", rest),
                _ => ("column", item),
            };
            let (name, what) = name(rest);
            self.add(format!("{kind} {name}"), what);
        }
        let mut places: Vec<(usize, &str, &str)> =
            CLAUSES.iter().filter_map(|(word, name)| Some((split_word(tail, word)?.0.len(), *word, *name))).collect();
        places.sort_unstable();
        let engine = tail.get(..places.first().map_or(tail.len(), |first| first.0)).unwrap_or_default();
        self.engine(engine.trim());
        for (at, (start, word, name)) in places.iter().enumerate() {
            let end = places.get(at + 1).map_or(tail.len(), |next| next.0);
            let clause = tail.get(start + word.len()..end).unwrap_or_default();
            match *name {
                "settings" => self.settings(clause),
                "comment" => {}
                name => self.add(name, clause),
            }
        }
    }

    /// `SharedMergeTree('/path', '{replica}')` holds what a `MergeTree` holds.
    fn engine(&mut self, engine: &str) {
        let kind = engine.split_once('(').map_or(engine, |(kind, _)| kind);
        match kind.strip_prefix("Replicated").or_else(|| kind.strip_prefix("Shared")) {
            Some(plain) => {
                self.replicated = true;
                self.add("engine", plain);
            }
            None => self.add("engine", engine.trim_end_matches("()")),
        }
    }

    fn settings(&mut self, clause: &str) {
        for setting in top_level(clause, ',') {
            if let Some((name, value)) = setting.split_once('=') {
                self.add(format!("setting {}", name.trim()), value);
            }
        }
    }
}

/// The name that a text begins with, without its quotes, and the rest.
fn name(text: &str) -> (String, &str) {
    if let Some((name, rest)) = text.strip_prefix('`').and_then(|text| text.split_once('`')) {
        return (name.to_owned(), rest);
    }
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    (name.to_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "CREATE TABLE IF NOT EXISTS otel.otel_logs (`Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)), `k8s.a` String \
        MATERIALIZED ResourceAttributes['a, (b'] CODEC(ZSTD(1)), `Body` String, INDEX i lower(Body) TYPE text(tokenizer = 'array') GRANULARITY 1) \
        ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, Timestamp) TTL toDateTime(Timestamp) + toIntervalDay(30) \
        SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000";

    fn said(found: &str) -> Vec<String> {
        differences("otel_logs", OURS, found).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_the_same_is_not_named() {
        assert_eq!(said(&OURS.replace("IF NOT EXISTS ", "")), [""; 0]);
        let replicated = OURS.replace("= MergeTree", "= ReplicatedMergeTree('/clickhouse/{uuid}', '{replica}')");
        assert_eq!(said(&replicated.replace(", non_replicated_deduplication_window = 10000", "")), [""; 0]);
        assert_eq!(said(&OURS.replace("toIntervalDay(30)", "toIntervalHour(720)")), [""; 0], "as long");
        let moved = "toIntervalDay(30), toDateTime(Timestamp) + toIntervalDay(7) TO VOLUME 'cold'";
        assert_eq!(said(&OURS.replace("toIntervalDay(30)", moved)), [""; 0], "where rows lie is not otelgate's");
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        for (from, to, says) in [
            (
                "Delta(8), ZSTD(1)",
                "ZSTD(1)",
                "column Timestamp: is DateTime64(9) CODEC(ZSTD(1)), would be DateTime64(9) CODEC(Delta(8), ZSTD(1))",
            ),
            (
                "`Body` String",
                "`Body` LowCardinality(String)",
                "column Body: is LowCardinality(String), would be String",
            ),
            ("`Body` String, ", "", "column Body: is missing, would be String"),
            ("`Body` String", "`Body` String, `More` UInt8", "column More: is UInt8, otelgate has none"),
            (
                "['a, (b']",
                "['c']",
                "column k8s.a: is String MATERIALIZED ResourceAttributes['c'] CODEC(ZSTD(1)), would be",
            ),
            ("'array'", "'ngrams'", "index i: is lower(Body) TYPE text(tokenizer = 'ngrams')"),
            (
                "toIntervalDay(30)",
                "toIntervalDay(1)",
                "TTL: is toDateTime(Timestamp) + toIntervalDay(1), would be toDateTime(Timestamp) + toIntervalDay(30)",
            ),
            (" TTL toDateTime(Timestamp) + toIntervalDay(30)", "", "TTL: is missing"),
            ("window = 10000", "window = 0", "setting non_replicated_deduplication_window: is 0, would be 10000"),
            ("8192", "8192, ttl_only_drop_parts = 0", "setting ttl_only_drop_parts: is 0, otelgate has none"),
            (
                "toDate(Timestamp) ",
                "toYYYYMM(Timestamp) ",
                "partition key: is toYYYYMM(Timestamp), would be toDate(Timestamp)",
            ),
            ("(ServiceName, Timestamp)", "Timestamp", "sorting key: is Timestamp"),
            (
                "= MergeTree",
                "= SharedReplacingMergeTree('/a', 'b')",
                "engine: is ReplacingMergeTree, would be MergeTree",
            ),
        ] {
            assert!(OURS.contains(from), "{from}");
            let all = said(&OURS.replacen(from, to, 1));
            let says = format!("otel_logs: {says}");
            assert!(all.len() == 1 && all[0].starts_with(&says), "{says}: {all:?}");
        }
    }

    #[test]
    fn views_are_compared_by_their_query() {
        let ours = "CREATE MATERIALIZED VIEW IF NOT EXISTS otel.v TO otel.t (`a` String) AS SELECT a AS b FROM otel.s";
        let theirs = "CREATE MATERIALIZED VIEW otel.v TO otel.t (`a` String) DEFINER = x SQL SECURITY DEFINER AS SELECT a AS b FROM otel.s";
        assert_eq!(differences("v", ours, theirs), []);
        assert_eq!(differences("v", ours, &theirs.replace("SELECT a", "SELECT c")).len(), 1);
    }
}
