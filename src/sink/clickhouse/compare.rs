//! For somebody at a terminal: how the tables differ from what otelgate would make, and their time to live brought to the configuration's.

use std::collections::BTreeMap;

use http::Uri;
use serde::Deserialize;

use super::cluster::with_its_shards;
use super::http::{Http, SetupError};
use super::query::Query;
use super::schema::diff::{Difference, differences, same_ttl};
use super::schema::ttl::{Ttl, clause};
use super::schema::{self, Statement, Target};
use super::start::StartError;
use crate::config;
use crate::https;

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Altered {
    /// It ran.
    Done,
    /// The configured user may not run it: it is for an administrator.
    NotAllowed,
}

/// A server, with the configuration of the tables on it.
#[derive(Debug)]
pub struct Tables<'a> {
    config: &'a config::ClickHouse,
    http: &'a Http,
    server: &'a Uri,
}

/// What every server of a configuration is asked with.
#[derive(Debug)]
pub struct Everywhere {
    config: config::ClickHouse,
    http: Http,
}

impl Everywhere {
    /// Asks the servers of `config` as its user; of a cluster that it names, each that belongs to it.
    ///
    /// # Errors
    /// Nothing can be attempted.
    pub async fn of(config: config::ClickHouse) -> Result<Everywhere, StartError> {
        let config = with_its_shards(config).await?;
        let connector = https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?;
        Ok(Everywhere { http: Http::new(connector, &config)?, config })
    }

    /// Each server by its address. One that is away keeps nobody from asking the others.
    pub fn each(&self) -> impl Iterator<Item = (&Uri, Tables<'_>)> {
        self.config.urls.iter().map(|server| (server, Tables { config: &self.config, http: &self.http, server }))
    }
}

#[derive(Deserialize)]
struct Row {
    name: String,
    create_table_query: String,
}

impl Tables<'_> {
    fn query(&self) -> Query<'_> {
        Query::new(self.http, self.server)
    }

    async fn wanted(&self) -> Result<Vec<Statement>, StartError> {
        let target = Target::ask(self.query(), &self.config.database).await?;
        Ok(schema::statements_for(self.config, &target))
    }

    /// The definitions that are there, as far as the user may see them.
    async fn found(&self) -> Result<BTreeMap<String, String>, StartError> {
        let sql = format!(
            "SELECT name, create_table_query FROM system.tables WHERE database = {} FORMAT JSONEachRow",
            schema::literal(&self.config.database)
        );
        let answer = self.query().run(&sql).await?;
        let rows = serde_json::Deserializer::from_slice(&answer).into_iter::<Row>();
        Ok(rows.filter_map(Result::ok).map(|row| (row.name, row.create_table_query)).collect())
    }

    /// How the tables and views differ from what otelgate would make, in the order in which it makes them.
    ///
    /// # Errors
    /// The server does not answer, or has no `formatQuerySingleLine` (before 23.10).
    pub async fn differences(&self) -> Result<Vec<Difference>, StartError> {
        let (wanted, found) = (self.wanted().await?, self.found().await?);
        let mut all = Vec::new();
        for statement in wanted {
            let (name, sql) = (statement.table(), statement.sql);
            let Some(found) = found.get(&name) else {
                let what = if sql.starts_with("CREATE TABLE") { "table" } else { "view" };
                let wanted = Some("as `otelgate schema print` shows it".to_owned());
                all.push(Difference { table: name, what: what.to_owned(), wanted, found: None });
                continue;
            };
            let sql = format!("SELECT formatQuerySingleLine({}) FORMAT TabSeparatedRaw", schema::literal(&sql));
            let wanted = self.query().run(&sql).await?;
            all.extend(differences(&name, String::from_utf8_lossy(&wanted).trim_end(), found));
        }
        Ok(all)
    }

    /// The statements that bring the time to live of the tables that are there to the configuration's. What moves or recompresses rows stays.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn ttl_changes(&self) -> Result<Vec<String>, StartError> {
        let (wanted, found) = (self.wanted().await?, self.found().await?);
        let mut changes = Vec::new();
        for statement in wanted.iter().filter(|statement| statement.sql.contains("MergeTree")) {
            let (name, sql) = (statement.table(), &statement.sql);
            let Some(found) = found.get(&name).map(|found| clause(found)) else { continue };
            let wanted = clause(sql);
            if same_ttl(wanted, found) {
                continue;
            }
            let own = (!wanted.is_empty()).then_some(wanted);
            let moves = Ttl::of(found).moves;
            let clauses: Vec<&str> = own.into_iter().chain(moves.iter().map(String::as_str)).collect();
            let change = match clauses.is_empty() {
                true => "REMOVE TTL".to_owned(),
                false => format!("MODIFY TTL {}", clauses.join(", ")),
            };
            let (database, name) = (schema::identifier(&self.config.database), schema::identifier(&name));
            changes.push(format!("ALTER TABLE {database}.{name} {change}"));
        }
        Ok(changes)
    }

    /// Runs one of [`Tables::ttl_changes`].
    ///
    /// # Errors
    /// It fails for another reason than a missing right.
    pub async fn alter(&self, change: &str) -> Result<Altered, StartError> {
        match self.query().run(change).await {
            Ok(_) => Ok(Altered::Done),
            Err(failure) if failure.is_denied() => Ok(Altered::NotAllowed),
            Err(failure) => Err(StartError::from(failure)),
        }
    }
}
