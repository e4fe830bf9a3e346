//! One part, one insert: the statement, the settings that it depends on, and the body as it lies in the spool.
//!
//! Invariant: whatever a user's profile says, the body becomes one block, and so one part, under one token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::change::named;
use super::error::Failure;
use super::http::{Http, Parameters};
use super::schema::{ServerSchema, Table, identifier, literal};
use crate::chunk::PartName;
use crate::config::{self, Quorum};
use crate::sink::PartDelivery;

/// More rows and bytes than any batch has: blocks are joined until the body's end.
const NEVER_FULL_ROWS: &str = "1000000000";
const NEVER_FULL_BYTES: &str = "1099511627776";

/// A quorum that is not reached is said before the statement's time is over.
const QUORUM_EARLIER: Duration = Duration::from_secs(1);

/// Every setting that an insert's meaning depends on.
const SETTINGS: [(&str, &str); 14] = [
    // The batch is ours already; 26.x would gather it with others and forget the token.
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // One block: rows and bytes of all frames are joined before anything is written.
    ("min_insert_block_size_rows", NEVER_FULL_ROWS),
    ("min_insert_block_size_bytes", NEVER_FULL_BYTES),
    ("max_insert_block_size", NEVER_FULL_ROWS),
    ("max_insert_threads", "1"),
    ("max_threads", "1"),
    ("parallel_view_processing", "0"),
    // The gateway cuts by partition itself; a limit here could only refuse what is right.
    ("max_partitions_per_insert_block", "0"),
    ("insert_null_as_default", "1"),
    ("decompress", "1"),
    // The status line waits for the outcome.
    ("wait_end_of_query", "1"),
    ("timeout_overflow_mode", "throw"),
];

/// Without these an insert would not be the one that its token and witnesses stand for. Where a server has another value and lets nobody change it, it is
/// to refuse the insert: its batch is held, and its words say why.
const INDISPENSABLE: [&str; 7] = [
    "async_insert",
    "insert_deduplicate",
    "min_insert_block_size_rows",
    "min_insert_block_size_bytes",
    "max_insert_block_size",
    "decompress",
    "wait_end_of_query",
];

/// What is set where it is of use.
const OPTIONAL: [&str; 5] = [
    "materialized_views_ignore_errors",
    "materialize_skip_indexes_on_insert",
    "type_json_skip_duplicated_paths",
    "input_format_skip_unknown_fields",
    "max_execution_time",
];

/// Every setting that an insert may have.
pub(super) fn names() -> Vec<&'static str> {
    SETTINGS.iter().map(|(name, _)| *name).chain(OPTIONAL).collect()
}

/// Settings that inserts go without, as the server fixes them at other values, each with that value.
pub(super) fn left_out(schema: &ServerSchema) -> Vec<String> {
    let of = |(name, wanted): &(&str, &str)| {
        let fixed = schema.fixed.get(*name).filter(|fixed| fixed != wanted && !INDISPENSABLE.contains(name))?;
        Some(format!("{name} (is {fixed}, would be {wanted})"))
    };
    SETTINGS.iter().filter_map(of).collect()
}

/// What a server or a person decides about an insert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    /// Settings that this user may not choose, and their values.
    pub(super) fixed: &'a BTreeMap<String, String>,
    /// How long the client waits.
    pub(super) timeout: Duration,
    /// How long the server tries.
    pub(super) execution: Duration,
    /// What fails in a materialized view does not fail the insert.
    pub(super) ignore_view_errors: bool,
    /// Skip indexes are built when parts are merged (docs/decisions/0010-cheaper-inserts.md); only for servers that know the setting.
    pub(super) leave_indexes_to_merges: bool,
    /// Replicas that must have the part; none where the user's profile says, and on tables without replicas of their own.
    pub(super) quorum: Option<Quorum>,
}

impl<'a> Options<'a> {
    /// For inserts into a table of this schema.
    pub(super) fn new(config: &config::ClickHouse, schema: &'a ServerSchema, table: Option<&Table>) -> Options<'a> {
        Options {
            fixed: &schema.fixed,
            ignore_view_errors: config.ignore_view_errors
                && table.is_some_and(|table| table.has_foreign_views(&config.database)),
            timeout: config.insert_timeout,
            execution: config.max_execution_time,
            // A Shared table's servers share what is stored.
            quorum: config.insert_quorum.filter(|_| table.is_some_and(Table::has_log)),
            leave_indexes_to_merges: !config.materialize_skip_indexes_on_insert
                && schema.version().can_leave_indexes_to_merges(),
        }
    }

    /// Whether a setting is sent: naming one that is fixed refuses the insert, whatever the value.
    fn takes(&self, name: &str, value: &str) -> bool {
        self.fixed.get(name).is_none_or(|fixed| fixed != value && INDISPENSABLE.contains(&name))
    }

    /// The settings for the quorum, which is never left out. What is not reached in time is an outcome that is not known, and repeated under the same token, which waits for the
    /// same part's quorum.
    fn quorum(&self) -> Vec<(&'static str, String)> {
        let replicas = match self.quorum {
            None => return Vec::new(),
            Some(Quorum::Off) => return vec![("insert_quorum", "0".to_owned())],
            Some(Quorum::Auto) => "auto".to_owned(),
            Some(Quorum::Of(replicas)) => replicas.to_string(),
        };
        let patience = self.execution.saturating_sub(QUORUM_EARLIER).max(QUORUM_EARLIER).as_millis();
        vec![
            ("insert_quorum", replicas),
            // One insert's quorum is no other's business.
            ("insert_quorum_parallel", "1".to_owned()),
            ("insert_quorum_timeout", patience.to_string()),
        ]
    }
}

/// Makes one attempt.
///
/// # Errors
/// [`Failure`].
pub(super) async fn insert(
    http: &Http,
    server: &Uri,
    database: &str,
    table: Option<&Table>,
    part: &PartDelivery,
    options: Options<'_>,
) -> Result<(), Failure> {
    let named = named(table, &part.columns);
    let statement = statement(database, table, part, &named.columns)?;
    let execution = options.execution.as_secs_f64().to_string();
    let quorum = options.quorum();
    let mut settings: Vec<(&str, &str)> = SETTINGS.to_vec();
    settings.extend(quorum.iter().map(|(name, value)| (*name, value.as_str())));
    settings.push(("max_execution_time", &execution));
    if options.ignore_view_errors {
        settings.push(("materialized_views_ignore_errors", "1"));
    }
    if options.leave_indexes_to_merges {
        settings.push(("materialize_skip_indexes_on_insert", "0"));
    }
    if table.is_some_and(|table| table.columns.iter().any(|column| column.type_name.contains("JSON"))) {
        // `{"a.b": 1, "a": {"b": 2}}` names a path twice, which refuses the whole insert. Older servers know neither the type nor the setting.
        settings.push(("type_json_skip_duplicated_paths", "1"));
    }
    if named.fewer {
        // The bytes hold columns that the table takes no more.
        settings.push(("input_format_skip_unknown_fields", "1"));
    }
    let sent = settings.into_iter().filter(|(name, value)| options.takes(name, value));
    let parameters = sent
        .fold(Parameters::default(), |parameters, (name, value)| parameters.with(name, value))
        .with("insert_deduplication_token", &part.token)
        .with("query_id", &query_id(part))
        .with("query", &statement);
    let answer = http.post(server, parameters, None, part.body.clone(), options.timeout).await?;
    if answer.is_empty() {
        Ok(())
    } else {
        // An insert has nothing to say: whatever this is, it is not a plain yes.
        Err(Failure::Lost(format!("{server}: an insert was answered with {} bytes", answer.len())))
    }
}

/// Whether a table would take an insert of these columns now: one of no rows needs every right, setting and column that a real one does, those of
/// its views too, and leaves nothing behind.
///
/// # Errors
/// [`Failure`].
pub(super) async fn would_be_taken(
    http: &Http,
    server: &Uri,
    database: &str,
    (table, facts): (&Arc<str>, Option<&Table>),
    columns: &Arc<[Arc<str>]>,
    options: Options<'_>,
) -> Result<(), Failure> {
    let nothing = PartDelivery {
        name: PartName { table: table.clone(), partition: 0 },
        columns: columns.clone(),
        token: format!("{:032x}", rand::random::<u128>()),
        attempt: 0,
        rows: 0,
        body: Vec::new(),
        witnesses: Vec::new(),
        only_rows: None,
        shard: None,
    };
    insert(http, server, database, facts, &nothing, options).await
}

/// What the ids of all attempts under a token begin with.
pub(super) fn query_id_prefix(token: &str) -> String {
    format!("otelgate-{token}-")
}

/// Each attempt's own: an id that is still running would be refused, and an earlier process counted its attempts from 0 too.
fn query_id(part: &PartDelivery) -> String {
    let own: u32 = rand::random();
    format!("{}{}-{own:08x}", query_id_prefix(&part.token), part.attempt)
}

fn statement(
    database: &str,
    table: Option<&Table>,
    part: &PartDelivery,
    named: &[Arc<str>],
) -> Result<String, Failure> {
    let columns: Vec<String> = named.iter().map(|column| identifier(column)).collect();
    let columns = columns.join(", ");
    let name = table.map_or(&*part.name.table, |table| table.name(&part.name.table));
    let into = format!("INSERT INTO {}.{} ({columns})", identifier(database), identifier(name));
    let Some((start, count)) = part.only_rows else {
        return Ok(format!("{into} FORMAT Native"));
    };
    let structure = table
        .and_then(|table| structure(table, named))
        .ok_or_else(|| Failure::NotSent("the table's columns are not known".to_owned()))?;
    let end = start.saturating_add(count);
    Ok(format!(
        "{into} SELECT {columns} FROM input({}) \
         WHERE rowNumberInAllBlocks() >= {start} AND rowNumberInAllBlocks() < {end} FORMAT Native",
        literal(&structure)
    ))
}

/// `name type, name type, …` of these columns; none when the table has lost one of them.
pub(super) fn structure(table: &Table, columns: &[Arc<str>]) -> Option<String> {
    let each: Option<Vec<String>> =
        columns.iter().map(|column| Some(format!("{} {}", identifier(column), table.type_of(column)?))).collect();
    Some(each?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::clickhouse::schema::facts::Column;

    fn part(only_rows: Option<(u64, u64)>) -> PartDelivery {
        PartDelivery {
            name: PartName { table: "otel_traces".into(), partition: 0 },
            columns: ["SpanId".into(), "Events.Name".into()].into(),
            token: "t".to_owned(),
            attempt: 2,
            rows: 10,
            body: Vec::new(),
            witnesses: Vec::new(),
            only_rows,
            shard: None,
        }
    }

    fn table() -> Table {
        let column = |name: &str, type_name: &str| Column {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            default_kind: String::new(),
            default_expression: String::new(),
        };
        Table {
            columns: vec![column("SpanId", "String"), column("Events.Name", "Array(LowCardinality(String))")],
            ..Table::default()
        }
    }

    fn said(table: Option<&Table>, only_rows: Option<(u64, u64)>) -> Result<String, Failure> {
        let part = part(only_rows);
        statement("otel", table, &part, &named(table, &part.columns).columns)
    }

    #[test]
    fn statements_name_the_columns() {
        assert_eq!(said(None, None).unwrap(), "INSERT INTO otel.otel_traces (SpanId, `Events.Name`) FORMAT Native");
    }

    #[test]
    fn rows_are_cut_out_by_the_server() {
        let sql = said(Some(&table()), Some((3, 4))).unwrap();
        assert!(sql.contains("FROM input('SpanId String, `Events.Name` Array(LowCardinality(String))')"));
        assert!(sql.contains("rowNumberInAllBlocks() >= 3 AND rowNumberInAllBlocks() < 7 FORMAT Native"));
        assert!(said(None, Some((3, 4))).is_err());
    }

    #[test]
    fn columns_that_went_away_are_not_named() {
        let mut table = table();
        table.columns.pop();
        assert_eq!(said(Some(&table), None).unwrap(), "INSERT INTO otel.otel_traces (SpanId) FORMAT Native");
        assert!(said(Some(&table), Some((3, 4))).unwrap().contains("FROM input('SpanId String')"));
    }

    #[test]
    fn attempts_share_a_prefix_and_nothing_else() {
        let (one, other) = (query_id(&part(None)), query_id(&part(None)));
        assert!(one.starts_with("otelgate-t-2-"));
        assert_ne!(one, other);
    }

    #[test]
    fn a_quorum_is_asked_for_where_replicas_have_a_log() {
        let fixed = BTreeMap::new();
        let of = |quorum| {
            Options {
                fixed: &fixed,
                timeout: Duration::from_secs(30),
                execution: Duration::from_secs(25),
                ignore_view_errors: false,
                leave_indexes_to_merges: false,
                quorum,
            }
            .quorum()
        };
        let said = |value: &str| ("insert_quorum", value.to_owned());
        assert_eq!((of(None), of(Some(Quorum::Off))), (Vec::new(), vec![said("0")]));
        for (quorum, value) in [(Quorum::Auto, "auto"), (Quorum::Of(2), "2")] {
            let settings = of(Some(quorum));
            assert_eq!(settings[0], said(value));
            assert_eq!(settings[2], ("insert_quorum_timeout", "24000".to_owned()), "before insert_timeout is over");
        }
    }
}
