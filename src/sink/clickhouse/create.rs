//! Tables that are missing are created: on one server at its first question, on all when a person asks.

use http::Uri;

use super::http::{Http, SetupError};
use super::query::Query;
pub use super::schema::Done;
use super::schema::{self, Target};
use super::servers::Servers;
use super::start::{FIRST_ANSWER, StartError};
use crate::config;
use crate::https;

/// What became of the tables on one server.
#[derive(Debug)]
pub struct Applied {
    /// Its address.
    pub server: Uri,
    /// What was done, or why it was not.
    pub outcome: Result<Vec<Done>, StartError>,
}

/// Creates what is missing on every server, as `schema apply` does: one that is down keeps no other from it.
///
/// # Errors
/// [`StartError::Setup`]; what a server says is its own outcome.
pub async fn apply_schema(config: &config::ClickHouse) -> Result<Vec<Applied>, StartError> {
    let http = Http::new(https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?, config)?;
    let mut all = Vec::new();
    for server in &config.urls {
        all.push(Applied { server: server.clone(), outcome: create_missing(Query::new(&http, server), config).await });
    }
    Ok(all)
}

pub(super) async fn create_missing(query: Query<'_>, config: &config::ClickHouse) -> Result<Vec<Done>, StartError> {
    let target = Target::ask(query, &config.database).await?;
    let statements = schema::statements_for(config, &target);
    if !target.refused.is_empty() {
        let settings = target.refused.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::info!("tables are made without settings that the server does not take: {settings}");
    }
    Ok(schema::apply(query, &config.database, &statements).await?)
}

/// The same on the servers beside the one that is used: a replica without its tables holds what reaches it. One that is down keeps nobody.
pub(super) async fn create_missing_elsewhere(http: &Http, servers: &Servers, config: &config::ClickHouse) {
    if !config.create_schema || config.schema.replicated.is_none() {
        return;
    }
    for server in (0..servers.len()).filter(|server| *server != servers.current()) {
        let query = Query::new(http, servers.uri(server));
        let made = match query.within(FIRST_ANSWER).run("SELECT 1").await {
            Ok(_) => create_missing(query, config).await.err(),
            Err(failure) => Some(failure.into()),
        };
        if let Some(error) = made {
            tracing::warn!(%error, server = %servers.uri(server), "its tables could not be looked after; `otelgate schema apply` does that too");
        }
    }
}
