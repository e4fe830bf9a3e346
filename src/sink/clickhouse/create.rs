//! Tables that are missing are created: on one server at its first question, on all when a person asks.

use std::time::Duration;

use http::Uri;

use super::http::{Http, SetupError};
use super::query::Query;
pub use super::schema::Done;
use super::schema::{self, ApplyError};
use super::servers::Servers;
use crate::config;
use crate::https;

/// A server that has not answered its first question after this long is away.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What became of the tables on one server.
#[derive(Debug)]
pub struct Applied {
    /// Its address.
    pub server: Uri,
    /// What was done, or why it was not.
    pub outcome: Result<Vec<Done>, ApplyError>,
}

/// Creates what is missing on every server, as `schema apply` does: one that is down keeps no other from it.
///
/// # Errors
/// Nothing can be attempted; what a server says is its own outcome.
pub async fn apply_schema(config: &config::ClickHouse) -> Result<Vec<Applied>, SetupError> {
    let http = Http::new(https::connector(config.ca_file.as_deref())?, config)?;
    let mut all = Vec::new();
    for server in &config.urls {
        all.push(Applied {
            server: server.clone(),
            outcome: schema::create_missing(Query::new(&http, server), config).await,
        });
    }
    Ok(all)
}

/// Creates what is missing on the servers beside the one that is used: a replica without its tables holds what reaches it. One that is down keeps nobody.
pub(super) async fn create_missing_elsewhere(http: &Http, servers: &Servers, config: &config::ClickHouse) {
    if !config.create_schema || config.schema.replicated.is_none() {
        return;
    }
    for server in (0..servers.len()).filter(|server| *server != servers.current()) {
        let query = Query::new(http, servers.uri(server));
        let made = match query.within(FIRST_ANSWER).run("SELECT 1").await {
            Ok(_) => schema::create_missing(query, config).await.err().map(|error| error.to_string()),
            Err(failure) => Some(failure.to_string()),
        };
        if let Some(error) = made {
            tracing::warn!(error, server = %servers.uri(server), "its tables could not be looked after; `otelgate schema apply` does that too");
        }
    }
}
