//! Look before you believe: are a part's witnesses in the table?
//!
//! First the old attempts must be over: their query ids are gone from `system.processes`, where a user sees its own, or,
//! where that may not be read, a settle time has passed. Then the witnesses, one-row blocks of the part's columns, travel with one
//! query as a table of their own, and are searched by time and sorting key and by equality of all their columns. Where only some rows of a frame
//! were sent, the frame travels, and its server takes the witnesses from these rows.
//! Rows are compared as text in which every value has one form: times are numbers, maps are sorted (a server may keep a map's entries in
//! an order of its own), a NaN equals itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::change::named;
use super::encode::inflate;
use super::error::{ACCESS_DENIED, Failure};
use super::insert::{query_id_prefix, structure};
use super::query::Query;
use super::replica;
use super::schema::{Table, identifier, literal};
use super::servers::Attempts;
use crate::sink::{Look, PartDelivery};

/// Where `system.processes` may not be read: an insert that nobody waits for is over after this.
const SETTLE: Duration = Duration::from_secs(60);
/// An attempt that was still in a socket's buffer at the first glance has begun at the second.
const SECOND_GLANCE: Duration = Duration::from_millis(500);
/// How long an old attempt is waited for before the answer is "ask again later".
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried to reach one replica twice in a row, behind an address that leads to several.
const SAME_REPLICA: usize = 20;
/// The name that the table has which travels with a look.
const BLOCKS: &str = "otelgate_blocks";
/// So many of a piece's own rows are looked for, spread over all of them.
const OWN_ROWS: u64 = 64;
/// UNKNOWN_IDENTIFIER, or NOT_IMPLEMENTED where the name is taken for the outer query's: the sorting key uses a column that is not
/// inserted.
const KEY_NOT_INSERTED: [u16; 2] = [47, 48];

/// UNKNOWN_TABLE, UNKNOWN_DATABASE.
const NO_TABLE: [u16; 2] = [60, 81];

/// Looks on one server, or on whichever replica stands behind its address.
///
/// # Errors
/// In words, where the server does not have the table at all.
pub(super) async fn look(
    query: Query<'_>,
    database: &str,
    table: &Table,
    part: &PartDelivery,
    attempts: Attempts,
) -> Result<Look, String> {
    match look_there(query, database, table, part, attempts).await {
        Ok(true) => Ok(Look::Present),
        Ok(false) => Ok(Look::Absent),
        Err(Trouble::NoTable(why)) => Err(why),
        Err(Trouble::Unclear(why)) => Ok(Look::Unclear { why }),
    }
}

/// Why a look has no answer.
enum Trouble {
    NoTable(String),
    Unclear(String),
}

impl<T: Into<String>> From<T> for Trouble {
    fn from(why: T) -> Self {
        Trouble::Unclear(why.into())
    }
}

async fn look_there(
    query: Query<'_>,
    database: &str,
    table: &Table,
    part: &PartDelivery,
    attempts: Attempts,
) -> Result<bool, Trouble> {
    if !attempts.over {
        if table.is_replicated() {
            // It may run on a replica that is not the one that is asked.
            sleep_until(attempts.last + SETTLE).await;
        }
        old_attempts_end(query, &part.token, attempts.last).await?;
    }
    if !table.has_log() {
        return Ok(find(query, database, table, part).await?.present);
    }
    let settled = attempts.last + if attempts.over { Duration::ZERO } else { SETTLE };
    for _ in 0..SAME_REPLICA {
        let server = replica::caught_up(query, database, table.name(&part.name.table), settled.elapsed()).await?;
        let found = find(query, database, table, part).await?;
        if found.present || found.server == server {
            return Ok(found.present);
        }
    }
    Err("each statement reaches another replica, so none of them can say that rows are absent".into())
}

async fn old_attempts_end(query: Query<'_>, token: &str, last_attempt: Instant) -> Result<(), String> {
    let running = format!(
        "SELECT count() FROM system.processes WHERE startsWith(query_id, {}) FORMAT TabSeparated",
        literal(&query_id_prefix(token))
    );
    let begun = Instant::now();
    let mut glances = 0;
    while glances < 2 {
        match query.run(&running).await {
            Ok(answer) if answer.trim_ascii() == b"0" => glances += 1,
            Ok(_) => glances = 0,
            Err(Failure::Exception { code: ACCESS_DENIED, .. }) => {
                sleep_until(last_attempt + SETTLE).await;
                return Ok(());
            }
            Err(failure) => return Err(failure.to_string()),
        }
        if begun.elapsed() > PATIENCE {
            return Err("an old attempt is still running".to_owned());
        }
        if glances < 2 {
            sleep(SECOND_GLANCE).await;
        }
    }
    Ok(())
}

/// What a server says.
struct Found {
    server: String,
    present: bool,
}

async fn find(query: Query<'_>, database: &str, table: &Table, part: &PartDelivery) -> Result<Found, Trouble> {
    // What the table has lost since cannot be compared.
    let columns = named(Some(table), &part.columns).columns;
    let structure = structure(table, &columns).ok_or("the table's columns are not known")?;
    let frames: Vec<Vec<u8>>;
    let blocks: Vec<&[u8]> = match part.only_rows {
        None => part.witnesses.iter().map(|witness| &*witness.0).collect(),
        Some(_) => {
            let inflated: Option<Vec<_>> = part.body.iter().map(|frame| inflate(frame)).collect();
            frames = inflated.ok_or("the part's bytes cannot be inflated")?;
            frames.iter().map(Vec::as_slice).collect()
        }
    };
    if blocks.is_empty() {
        return Err("the part has no witnesses".into());
    }
    let witnesses = witnesses(part.only_rows);
    let mut by_key = !table.sorting_key.is_empty();
    loop {
        let statement = statement(database, table, table.name(&part.name.table), &columns, &witnesses, by_key);
        match query.run_with(&statement, BLOCKS, &structure, &blocks).await {
            Ok(answer) => {
                let answer = String::from_utf8_lossy(&answer);
                let (server, present) = answer.trim().split_once('\t').ok_or("a look has an answer of another form")?;
                return Ok(Found { server: server.to_owned(), present: present == "1" });
            }
            Err(Failure::Exception { code, .. }) if by_key && KEY_NOT_INSERTED.contains(&code) => by_key = false,
            Err(failure @ Failure::Exception { code, .. }) if NO_TABLE.contains(&code) => {
                return Err(Trouble::NoTable(failure.to_string()));
            }
            Err(failure) => return Err(failure.to_string().into()),
        }
    }
}

/// What stands for the witnesses in a query: the blocks, or of a frame's block the rows that were sent.
fn witnesses(only_rows: Option<(u64, u64)>) -> String {
    let Some((start, count)) = only_rows else {
        return BLOCKS.to_owned();
    };
    let (end, step) = (start.saturating_add(count), count.div_ceil(OWN_ROWS).max(1));
    format!(
        "(SELECT * FROM {BLOCKS} WHERE rowNumberInAllBlocks() >= {start} AND rowNumberInAllBlocks() < {end} \
         AND (rowNumberInAllBlocks() - {start}) % {step} = 0)"
    )
}

/// The server, and 1 when each different witness is in the table, otherwise 0.
fn statement(database: &str, table: &Table, name: &str, columns: &[Arc<str>], witnesses: &str, by_key: bool) -> String {
    let row = row_text(table, columns);
    let mut place = Vec::new();
    // The time by itself too: it decides on the partition, whatever the key begins with.
    let time = columns.iter().find(|column| matches!(&***column, "Timestamp" | "TimeUnix"));
    if let Some(time) = time {
        place.push(format!("{time} IN (SELECT {time} FROM {witnesses})"));
    }
    if by_key {
        place.push(format!("({key}) IN (SELECT {key} FROM {witnesses})", key = table.sorting_key));
    }
    let place = if place.is_empty() { "1".to_owned() } else { place.join(" AND ") };
    let (database, name) = (identifier(database), identifier(name));
    format!(
        "SELECT serverUUID(), (SELECT uniqExact(text) FROM (SELECT {row} AS text FROM {database}.{name} WHERE {place}) \
         WHERE text IN (SELECT {row} FROM {witnesses})) = (SELECT uniqExact({row}) FROM {witnesses}) \
         FORMAT TabSeparated"
    )
}

/// An expression for all columns of a row as one text.
fn row_text(table: &Table, columns: &[Arc<str>]) -> String {
    let values: Vec<String> =
        columns.iter().map(|column| value(&identifier(column), table.type_of(column).unwrap_or_default())).collect();
    format!("toString(tuple({}))", values.join(", "))
}

fn value(column: &str, type_name: &str) -> String {
    let element = type_name.strip_prefix("Array(").and_then(|rest| rest.strip_suffix(')'));
    match element {
        Some(element) => match scalar("x", element) {
            Some(expression) => format!("arrayMap(x -> {expression}, {column})"),
            None => column.to_owned(),
        },
        None => scalar(column, type_name).unwrap_or_else(|| column.to_owned()),
    }
}

/// The one form of a value whose own text has several, or says less than the value; none for all others.
fn scalar(value: &str, type_name: &str) -> Option<String> {
    if type_name.starts_with("Map(") {
        Some(format!("arraySort(CAST({value} AS Array(Tuple(String, String))))"))
    } else if type_name.starts_with("DateTime64") {
        Some(format!("reinterpretAsInt64({value})"))
    } else if type_name.starts_with("DateTime") {
        Some(format!("toUnixTimestamp({value})"))
    } else if type_name.starts_with("JSON") {
        Some(format!("toString({value})"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_one_form() {
        assert_eq!(value("Body", "String"), "Body");
        assert_eq!(value("Timestamp", "DateTime64(9)"), "reinterpretAsInt64(Timestamp)");
        assert_eq!(value("TimeUnix", "DateTime('UTC')"), "toUnixTimestamp(TimeUnix)");
        assert_eq!(
            value("`Events.Timestamp`", "Array(DateTime64(9))"),
            "arrayMap(x -> reinterpretAsInt64(x), `Events.Timestamp`)"
        );
        assert_eq!(value("BucketCounts", "Array(UInt64)"), "BucketCounts");
        assert_eq!(
            value("Attributes", "Map(LowCardinality(String), String)"),
            "arraySort(CAST(Attributes AS Array(Tuple(String, String))))"
        );
        assert_eq!(value("LogAttributes", "JSON(max_dynamic_paths=8)"), "toString(LogAttributes)");
    }
}
