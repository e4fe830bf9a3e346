//! Which tables can keep what otelgate promises: those of the MergeTree family, where an insert of one block becomes one part, which is in or
//! is not, and can be looked for.

use super::ddl::identifier;

/// Why rows cannot be kept in a table of this engine and what to do instead, in words that go on after the table's name; `None`: they
/// can. `behind` is the table that it passes rows on to, where its definition names one.
pub(super) fn refusal(engine: &str, behind: Option<&str>, name: &str) -> Option<String> {
    // A schema that an earlier version kept may not name it.
    if engine.is_empty() || engine.ends_with("MergeTree") {
        return None;
    }
    let name = identifier(name);
    let instead = match behind {
        Some(behind) => format!("let {name} be the table behind it ({behind}) and give this one another name"),
        None => format!("make {name} a MergeTree table"),
    };
    let what = match engine {
        "Distributed" => format!(
            "is a Distributed table, which says yes before the rows are where they belong and cuts an insert in pieces; {instead}"
        ),
        "Buffer" => format!("is a Buffer, which keeps rows in memory that a crash loses; {instead}"),
        "Null" => format!(
            "is a Null table, which keeps nothing that could be looked for; {instead}, and its views read from that"
        ),
        "View" | "MaterializedView" | "LiveView" | "WindowView" => {
            format!("is a view ({engine}), whose inserts nobody can look for; {instead}")
        }
        _ => format!("has the engine {engine}, which keeps no parts that are in or not; {instead}"),
    };
    Some(what)
}

/// The table that a Distributed or a Buffer table passes rows on to, from its whole definition.
pub(super) fn behind(engine: &str, engine_full: &str) -> Option<String> {
    let skipped = match engine {
        "Distributed" => 1,
        "Buffer" => 0,
        _ => return None,
    };
    let arguments = engine_full.split_once('(')?.1;
    let mut names = arguments.split(',').skip(skipped).map(|name| name.trim().trim_matches(['\'', ')']));
    let (database, table) = (names.next()?, names.next()?);
    let plain = |name: &str| !name.is_empty() && !name.contains(['\'', '(', ')', '\\']);
    (plain(database) && plain(table)).then(|| format!("{}.{}", identifier(database), identifier(table)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_merge_tree_family_keeps_parts_and_nothing_else_does() {
        for engine in ["MergeTree", "SummingMergeTree", "ReplicatedMergeTree", "SharedReplacingMergeTree", ""] {
            assert_eq!(refusal(engine, None, "otel_logs"), None, "{engine}");
        }
        for engine in ["Distributed", "Buffer", "Null", "View", "MaterializedView", "Memory", "Log", "Kafka", "Merge"] {
            let why = refusal(engine, None, "otel_logs").unwrap();
            assert!(why.contains(engine) && why.contains("make otel_logs a MergeTree table"), "{why}");
        }
    }

    #[test]
    fn the_table_behind_is_named() {
        let distributed = "Distributed('main', 'otel', 'otel_logs_local', rand())";
        assert_eq!(behind("Distributed", distributed).unwrap(), "otel.otel_logs_local");
        assert_eq!(behind("Distributed", "Distributed('main', 'otel', 't')").unwrap(), "otel.t");
        assert_eq!(behind("Buffer", "Buffer('otel', 't', 16, 10)").unwrap(), "otel.t");
        assert_eq!(behind("Distributed", "Distributed('main', currentDatabase(), 't')"), None);
        assert_eq!(behind("Null", "`Null`"), None);
        let why = refusal("Distributed", Some("otel.t"), "otel_logs").unwrap();
        assert!(why.ends_with("let otel_logs be the table behind it (otel.t) and give this one another name"), "{why}");
    }
}
