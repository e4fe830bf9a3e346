//! What an exception proves about the rows of an insert.
//!
//! ClickHouse writes a block into the table, then into what its materialized views feed. When a view fails, whatever the code, the
//! rows of the table itself are stored and the insert is answered with the view's exception. So on a table that views read an exception proves
//! nothing, unless it comes before anything is executed: whether the rows are in has to be looked for. Which views read a table is asked when an
//! exception came, for anybody may make one at any time. On every table an exception that may come after the part was committed means that
//! the attempt is over, and no more.

use super::error::Failure;
use super::query::Query;
use super::schema::literal;
use crate::sink::Outcome;

/// Raised before anything is executed: SYNTAX_ERROR, users and their addresses, limits of queries and connections, SERVER_OVERLOADED.
const BEFORE: [u16; 11] = [62, 192, 193, 194, 195, 202, 216, 516, 745, 749, 762];
/// What was begun may be committed after these: SOCKET_TIMEOUT, NETWORK_ERROR, NO_ZOOKEEPER, UNKNOWN_STATUS_OF_INSERT, KEEPER_EXCEPTION.
const STILL_OPEN: [u16; 5] = [209, 210, 225, 319, 999];

/// What stands behind a table on one server, at this moment.
enum Behind {
    /// The table is not there.
    NoTable,
    /// Nothing: what is inserted is in it, or nowhere.
    Nothing,
    /// These views read it, as a list; empty when nobody can tell.
    Views(String),
}

/// What a failed insert into a table means, on the server that it failed on.
pub(super) async fn weigh(query: Query<'_>, database: &str, table: &str, failure: &Failure) -> Outcome {
    let outcome = failure.outcome();
    let Failure::Exception { code, .. } = failure else {
        return outcome;
    };
    match outcome {
        Outcome::Unknown { .. } if STILL_OPEN.contains(code) => outcome,
        Outcome::Unknown { why } => doubtful(Outcome::Retry { why, after: None }),
        Outcome::Retry { .. } | Outcome::Hold { .. } | Outcome::Refused { .. } if !BEFORE.contains(code) => {
            match behind(query, database, table).await {
                Behind::NoTable | Behind::Nothing => outcome,
                Behind::Views(views) => doubtful(naming(outcome, &views)),
            }
        }
        outcome => outcome,
    }
}

fn doubtful(or_else: Outcome) -> Outcome {
    Outcome::Doubtful { or_else: Box::new(or_else) }
}

/// The same, with the views that may be at fault.
fn naming(mut outcome: Outcome, views: &str) -> Outcome {
    if let Outcome::Retry { why, .. } | Outcome::Hold { why } | Outcome::Refused { why } = &mut outcome
        && !views.is_empty()
    {
        why.push_str("; materialized views read this table: ");
        why.push_str(views);
    }
    outcome
}

async fn behind(query: Query<'_>, database: &str, table: &str) -> Behind {
    let statement = format!(
        "SELECT arrayStringConcat(arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table), ', ') \
         FROM system.tables WHERE database = {} AND name = {} FORMAT TabSeparatedRaw",
        literal(database),
        literal(table)
    );
    match query.run(&statement).await {
        // No row is no line.
        Ok(answer) if answer.is_empty() => Behind::NoTable,
        Ok(answer) => match String::from_utf8_lossy(&answer).trim() {
            "" => Behind::Nothing,
            views => Behind::Views(views.to_owned()),
        },
        Err(_) => Behind::Views(String::new()),
    }
}
