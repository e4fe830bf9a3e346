//! What a server tells somebody who is about to configure otelgate: whether it answers, its version, where ClickStack's tables are, who may
//! log in, and from which address it sees this machine. Writes nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::http::{Http, SetupError};
use super::query::Query;
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
    /// The server's version; unknown where nobody could log in.
    pub version: Option<String>,
    /// The databases that have ClickStack's tables.
    pub databases: Vec<String>,
    /// This machine's address, as the server sees it.
    pub seen_from: Option<IpAddr>,
}

/// Asks the first server of `config`, as its user, and as the administrator where that one cannot log in.
///
/// # Errors
/// It does not answer, or in another protocol. A login that it refuses is no error.
pub async fn survey(config: &config::ClickHouse, administrator: (&str, Secret)) -> Result<Survey, StartError> {
    let mut found = Survey::default();
    let as_administrator =
        config::ClickHouse { user: administrator.0.to_owned(), password: administrator.1, ..config.clone() };
    for (config, ingest) in [(config, true), (&as_administrator, false)] {
        let http = Http::new(https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?, config)?;
        let servers = Servers::new(config.urls.clone());
        let query = Query::new(&http, servers.uri(0)).within(PATIENCE);
        let text = async |sql: &str| -> Result<String, super::Failure> {
            Ok(String::from_utf8_lossy(&query.run(&format!("{sql} FORMAT TabSeparatedRaw")).await?).into_owned())
        };
        match text("SELECT version()").await {
            Ok(version) => found.version = Some(version.trim().to_owned()),
            Err(failure) if failure.is_silence() && speaks_tls(&http, servers.uri(0)).await => {
                return Err(StartError::SpeaksTls(failure));
            }
            Err(failure) if failure.is_login() => continue,
            Err(failure) => return Err(failure.into()),
        }
        found.ingest_user |= ingest;
        let tables =
            "SELECT DISTINCT database FROM system.tables WHERE name IN ('otel_logs', 'otel_traces') ORDER BY database";
        found.databases = text(tables).await?.lines().map(str::to_owned).collect();
        // Not everybody may read it.
        let address = text("SELECT toString(address) FROM system.processes WHERE query_id = queryID()").await;
        found.seen_from = address.ok().and_then(|address| address.trim().parse().ok());
        break;
    }
    Ok(found)
}
