//! What a server tells somebody who is about to configure otelgate: whether it answers, its version, where ClickStack's tables are, who may
//! log in, and from which address it sees this machine. Writes nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::error::Failure;
use super::http::{Http, SetupError};
use super::query::Query;
use super::schema::literal;
use super::servers::Servers;
use super::start::{StartError, speaks_tls};
use crate::config::{self, Secret};
use crate::https;

/// A server that has not answered after this long is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found out.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Whether the configured user can log in.
    pub ingest_user: bool,
    /// Whether it is there at all; unknown where nobody was let in that may know.
    pub user_exists: Option<bool>,
    /// The server's version; unknown where nobody could log in.
    pub version: Option<String>,
    /// The databases that have ClickStack's tables.
    pub databases: Vec<String>,
    /// This machine's address, as the server sees it.
    pub seen_from: Option<IpAddr>,
}

/// Asks statement after statement, as one user.
#[derive(Debug)]
pub(crate) struct Asker {
    http: Http,
    servers: Servers,
}

impl Asker {
    /// Asks the first server of `config` as its user.
    ///
    /// # Errors
    /// Nothing can be attempted.
    pub(crate) fn new(config: &config::ClickHouse) -> Result<Asker, StartError> {
        let connector = https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?;
        Ok(Asker { http: Http::new(connector, config)?, servers: Servers::new(config.urls.clone()) })
    }

    /// The answer's rows, with tabs between columns.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn run(&self, statement: &str) -> Result<String, Failure> {
        let query = Query::new(&self.http, self.servers.uri(0)).within(PATIENCE);
        let answer = query.run(&format!("{statement} FORMAT TabSeparatedRaw")).await?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// The server's version.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        self.run("SELECT version()").await
    }

    /// Whether the user can log in; unknown where nobody answers.
    pub(crate) async fn is_let_in(&self) -> Option<bool> {
        match self.run("SELECT 1").await {
            Ok(_) => Some(true),
            Err(failure) if failure.is_login() => Some(false),
            Err(_) => None,
        }
    }

    /// The same, with errors in words.
    ///
    /// # Errors
    /// In words, with what mends it.
    pub(crate) async fn text(&self, statement: &str) -> Result<String, String> {
        self.run(statement).await.map_err(|failure| failure.with_remedy())
    }
}

/// Asks the first server of `config`, as its user, and as the administrator where that one cannot log in.
///
/// # Errors
/// It does not answer, or in another protocol. A login that it refuses is no error.
pub async fn survey(config: &config::ClickHouse, administrator: (&str, Secret)) -> Result<Survey, StartError> {
    let (mut found, users_name) = (Survey::default(), config.user.clone());
    let as_administrator = config::ClickHouse {
        user: administrator.0.to_owned(),
        password: administrator.1,
        logins: Vec::new(),
        ..config.clone()
    };
    for (config, ingest) in [(config, true), (&as_administrator, false)] {
        let asker = Asker::new(config)?;
        match asker.version().await {
            Ok(version) => found.version = Some(version),
            Err(failure) if failure.is_silence() && speaks_tls(&asker.http, asker.servers.uri(0)).await => {
                return Err(StartError::SpeaksTls(failure));
            }
            Err(failure) if failure.is_login() => continue,
            Err(failure) => return Err(failure.into()),
        }
        found.ingest_user |= ingest;
        let tables =
            "SELECT DISTINCT database FROM system.tables WHERE name IN ('otel_logs', 'otel_traces') ORDER BY database";
        found.databases = asker.run(tables).await?.lines().map(str::to_owned).collect();
        // Not everybody may read these.
        let user = format!("SELECT count() FROM system.users WHERE name = {}", literal(&users_name));
        found.user_exists = asker.run(&user).await.ok().map(|count| count != "0");
        let address = asker.run("SELECT toString(address) FROM system.processes WHERE query_id = queryID()").await;
        found.seen_from = address.ok().and_then(|address| address.parse().ok());
        break;
    }
    Ok(found)
}
