//! Creates what is missing, as the ingest user, and says what it did.

use super::ddl::Statement;
use super::target::Target;
use crate::config;
use crate::sink::clickhouse::error::Failure;
use crate::sink::clickhouse::query::Query;

/// What became of one table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its name, without the database.
    pub name: String,
    /// `false`: it was there before and is left as it is.
    pub created: bool,
}

/// A table or view that could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {name}: {}", .failure.with_remedy())]
pub struct ApplyError {
    /// Its name, without the database; `the schema` when not even the list of tables was answered.
    pub(crate) name: String,
    /// Why.
    pub(crate) failure: Failure,
}

/// Creates what is missing of a configuration's tables on one server.
///
/// # Errors
/// As [`apply`].
pub(in crate::sink::clickhouse) async fn create_missing(
    query: Query<'_>,
    config: &config::ClickHouse,
) -> Result<Vec<Done>, ApplyError> {
    let target = Target::ask(query, &config.database).await;
    let target = target.map_err(|failure| ApplyError { name: "the schema".to_owned(), failure })?;
    if !target.refused.is_empty() {
        let settings = target.refused.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::info!("tables are made without settings that the server does not take: {settings}");
    }
    apply(query, &config.database, &super::statements_for(config, &target)).await
}

/// Runs the statements of what is not there yet, in order.
///
/// # Errors
/// The first statement that fails; what was created before it stays.
async fn apply(query: Query<'_>, database: &str, statements: &[Statement]) -> Result<Vec<Done>, ApplyError> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |failure| ApplyError { name, failure }
    };
    let list =
        format!("SELECT name FROM system.tables WHERE database = {} FORMAT TabSeparatedRaw", super::literal(database));
    let answer = query.run(&list).await.map_err(failed("the schema"))?;
    let answer = String::from_utf8_lossy(&answer);
    let mut done = Vec::new();
    for statement in statements {
        let name = statement.table();
        let created = !answer.lines().any(|known| known == name);
        if created {
            query.run(&statement.sql).await.map_err(failed(&name))?;
        }
        done.push(Done { name, created });
    }
    Ok(done)
}
