//! Whether a replica has all that the others have: only such a one may say that rows are absent.
//!
//! Replicas share a log. One that has taken up every entry of it, and waits for no part that is as old as the attempt in
//! question, holds whatever any replica has committed. Behind one address each statement may reach another replica, so each says which one
//! answered it, and only answers of the same one belong together.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::query::Query;
use super::schema::literal;

/// Between two questions.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a replica may take to catch up before the answer is "ask again later".
const PATIENCE: Duration = Duration::from_secs(10);
/// The clocks of a cluster's servers are no further apart.
const CLOCKS: Duration = Duration::from_secs(10);

/// What a replica says of itself.
#[derive(Debug, PartialEq, Eq)]
struct State {
    server: String,
    /// It cannot be told what others have: it has lost them.
    alone: bool,
    /// The next entry of the log that it will take up.
    next: u64,
    /// The last entry of the log.
    last: u64,
    /// Age of the oldest part that it has yet to fetch, in seconds.
    oldest: Option<u64>,
}

/// Waits until a replica has all that any of them had at the time of asking, and of what is older than `quiet` also the parts themselves.
/// Returns which server it is.
///
/// # Errors
/// In words: it lags, or nobody can tell.
pub(super) async fn caught_up(
    query: Query<'_>,
    database: &str,
    table: &str,
    quiet: Duration,
) -> Result<String, String> {
    let quiet = quiet.saturating_sub(CLOCKS).as_secs();
    let (began, mut target) = (Instant::now(), None);
    loop {
        let state = ask(query, database, table).await?;
        let (server, until) = target.get_or_insert_with(|| (state.server.clone(), state.last));
        if *server != state.server {
            // A balancer leads to another one now.
            target = None;
        } else if !state.alone && state.next > *until && state.oldest.is_none_or(|oldest| oldest < quiet) {
            return Ok(state.server);
        }
        if began.elapsed() > PATIENCE {
            return Err("the replica lags behind the others, so it cannot say that rows are absent".to_owned());
        }
        sleep(AGAIN).await;
    }
}

async fn ask(query: Query<'_>, database: &str, table: &str) -> Result<State, String> {
    let statement = format!(
        "SELECT serverUUID(), is_readonly OR is_session_expired, log_pointer, log_max_index, \
         if(inserts_in_queue = 0, '', toString(greatest(0, dateDiff('second', inserts_oldest_time, now())))) \
         FROM system.replicas WHERE database = {} AND table = {} FORMAT TabSeparatedRaw",
        literal(database),
        literal(table)
    );
    let answer = query.run(&statement).await.map_err(|failure| {
        format!("cannot tell whether the replica lags: {failure}; GRANT SELECT ON system.replicas TO the ingest user")
    })?;
    State::read(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| "cannot tell whether the replica lags: system.replicas does not show the table".to_owned())
}

impl State {
    fn read(answer: &str) -> Option<State> {
        let mut fields = answer.lines().next()?.split('\t');
        Some(State {
            server: fields.next()?.to_owned(),
            alone: fields.next()? != "0",
            next: fields.next()?.parse().ok()?,
            last: fields.next()?.parse().ok()?,
            oldest: match fields.next()? {
                "" => None,
                seconds => Some(seconds.parse().ok()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicas_state_is_read() {
        let state = State::read("u1\t0\t7\t6\t\n").unwrap();
        assert_eq!(state, State { server: "u1".into(), alone: false, next: 7, last: 6, oldest: None });
        let state = State::read("u1\t1\t5\t6\t90\n").unwrap();
        assert_eq!((state.alone, state.oldest), (true, Some(90)));
        assert_eq!(State::read(""), None);
        assert_eq!(State::read("u1\t0\tx\t6\t\n"), None);
    }
}
