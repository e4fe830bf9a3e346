//! What is settled before the first insert: the tables are there, their columns can be written, the user may do what it must and not
//! much more. The facts are read again every minute, and soon after something was held, so that a table
//! that was changed or comes back is taken up.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::ClickHouse;
use super::change::{self, Taken};
use super::encode::{EncoderFactory, EncoderSettings, Plans, SchemaError, TableKind};
use super::error::Failure;
use super::http::{Http, SetupError, base};
use super::query::Query;
use super::schema::{self, ApplyError, Done, ServerSchema, Version};
use super::servers::Servers;
use crate::config;
use crate::https::{self, Connector};
use crate::limited;

/// Between two readings of the facts.
const EVERY: Duration = Duration::from_secs(60);
/// Between two readings at least, and when nothing could be read yet; between two questions when there are several servers.
const SOON: Duration = Duration::from_secs(5);

/// A server that has not answered its first question after this long is away.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Why the sink cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing can be attempted.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// ClickHouse does not answer, or refuses the user.
    #[error("{}", .0.with_remedy())]
    Away(#[from] Failure),
    /// A table or view could not be created.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The facts could not be read.
    #[error("cannot read the schema: {0}")]
    Read(#[from] clickhouse::error::Error),
    /// The tables cannot be written.
    #[error("the tables cannot be written: {}", lines(.0))]
    Schema(Vec<SchemaError>),
}

impl StartError {
    /// ClickHouse did not answer; everything else is for a person to mend.
    pub fn is_away(&self) -> bool {
        matches!(self, StartError::Away(failure) if failure.is_silence())
    }
}

fn lines(errors: &[SchemaError]) -> String {
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl ClickHouse {
    /// Settles the schema and makes the sink. `known` is what an earlier process knew: with it the sink starts though ClickHouse is
    /// away, and settles the rest when it is back.
    ///
    /// # Errors
    /// [`StartError`], only without `known`.
    pub async fn connect(
        config: config::ClickHouse,
        known: Option<ServerSchema>,
    ) -> Result<Arc<ClickHouse>, StartError> {
        let connector = https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?;
        let http = Http::new(connector.clone(), &config)?;
        let servers = Servers::new(config.urls.clone());
        let settled = settle_any(&connector, &http, &servers, &config).await;
        let away = settled.is_err();
        let schema = match (settled, known) {
            (Ok(schema), _) => schema,
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "ClickHouse's tables are taken to be as they were last");
                known
            }
            (Err(error), None) => return Err(error),
        };
        let encoders = EncoderFactory::new(encoder_settings(&schema, &config)?);
        let reread = Arc::new(Notify::new());
        let sink = Arc::new(ClickHouse {
            config,
            connector,
            http,
            servers,
            encoders,
            schema: watch::Sender::new(Arc::new(schema)),
            unfit: Mutex::default(),
            reread: reread.clone(),
            changes: watch::Sender::new(0),
        });
        tokio::spawn(keep_reading(Arc::downgrade(&sink), reread, away));
        if sink.servers.len() > 1 {
            tokio::spawn(keep_asking(Arc::downgrade(&sink)));
        }
        Ok(sink)
    }

    /// Reads the facts of the server that is used now, and takes up what of them can be written.
    async fn read_again(&self, settle: bool) -> Result<(), StartError> {
        let server = self.servers.current();
        let settled = match settle {
            true => Some(settle_any(&self.connector, &self.http, &self.servers, &self.config).await),
            false => None,
        };
        let found = match settled {
            // A table that cannot be written concerns nobody but its own batches.
            None | Some(Err(StartError::Schema(_))) => {
                let client = client(&self.connector, &self.servers, &self.config);
                schema::read(&client, &self.config.database).await?
            }
            Some(settled) => settled?,
        };
        let known = self.schema.borrow().clone();
        let Taken { schema, unfit } = change::take(&self.config.database, &known, found);
        for (table, why) in &unfit {
            limited!(
                error,
                table,
                why,
                "a table cannot be written as it is now; its batches are held until this is mended"
            );
        }
        let mended = self.unfit.lock().insert(server, unfit.clone()).unwrap_or_default() != unfit;
        if *known != schema {
            self.encoders.replace(encoder_settings(&schema, &self.config)?);
            tracing::info!("ClickHouse's tables have changed; they are written as they are now");
            self.schema.send_replace(Arc::new(schema));
        } else if !mended {
            return Ok(());
        }
        self.changed();
        Ok(())
    }
}

/// Ends with the sink, which it holds only while it reads.
async fn keep_reading(sink: Weak<ClickHouse>, reread: Arc<Notify>, mut away: bool) {
    loop {
        tokio::time::sleep(SOON).await;
        if !away {
            let _ = tokio::time::timeout(EVERY - SOON, reread.notified()).await;
        }
        let Some(sink) = sink.upgrade() else { return };
        match sink.read_again(away).await {
            Ok(()) => away = false,
            Err(error) => tracing::warn!(%error, "ClickHouse's tables are taken to be as they were last"),
        }
    }
}

/// Several servers: the one that is used is asked whether it answers, so that its end is seen before an insert meets it, and those
/// that were away are, because what the others hold is tried again when one is back. Ends with the sink.
async fn keep_asking(sink: Weak<ClickHouse>) {
    loop {
        tokio::time::sleep(SOON).await;
        let Some(sink) = sink.upgrade() else { return };
        if let Err(why) = sink.answers().await {
            tracing::warn!(why, "no ClickHouse server answers");
        }
        for server in sink.servers.away() {
            // What is said of it is kept there.
            let _ = sink.ask(server).await;
        }
    }
}

/// Creates what is missing, as `schema apply` does.
///
/// # Errors
/// [`StartError`].
pub async fn apply_schema(config: &config::ClickHouse) -> Result<Vec<Done>, StartError> {
    let http = Http::new(https::connector(config.ca_file.as_deref()).map_err(SetupError::from)?, config)?;
    let servers = Servers::new(config.urls.clone());
    let query = Query::new(&http, servers.uri(0));
    create_missing(query, config).await
}

async fn create_missing(query: Query<'_>, config: &config::ClickHouse) -> Result<Vec<Done>, StartError> {
    let version = query.run("SELECT version() FORMAT TabSeparatedRaw").await?;
    let version: Version = String::from_utf8_lossy(&version).trim().parse().unwrap_or(Version::NEWEST);
    let statements = schema::statements(&config.database, &config.ttl, version);
    Ok(schema::apply(query, &config.database, &statements).await?)
}

/// Tries each server once; the last one's error is what is said.
async fn settle_any(
    connector: &Connector,
    http: &Http,
    servers: &Servers,
    config: &config::ClickHouse,
) -> Result<ServerSchema, StartError> {
    let mut attempts = servers.len();
    loop {
        let server = servers.current();
        let query = Query::new(http, servers.uri(server));
        let settled = settle(&client(connector, servers, config), query, config).await;
        attempts -= 1;
        if settled.is_ok() || attempts == 0 {
            return settled;
        }
        servers.failed(server);
    }
}

async fn settle(
    client: &clickhouse::Client,
    query: Query<'_>,
    config: &config::ClickHouse,
) -> Result<ServerSchema, StartError> {
    query.within(FIRST_ANSWER).run("SELECT 1").await?;
    if config.create_schema {
        for done in create_missing(query, config).await?.iter().filter(|done| done.created) {
            tracing::info!(table = done.name, "created");
        }
    }
    for warning in schema::warnings(&config.user, &config.database, &schema::show_grants(client).await?) {
        tracing::warn!("{warning}");
    }
    let found = schema::read(client, &config.database).await?;
    encoder_settings(&found, config)?;
    Ok(found)
}

/// The crate's client for the server that is used now.
fn client(connector: &Connector, servers: &Servers, config: &config::ClickHouse) -> clickhouse::Client {
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector.clone());
    clickhouse::Client::with_http_client(http)
        .with_url(base(servers.uri(servers.current())))
        .with_user(&config.user)
        .with_password(config.password.expose())
}

fn encoder_settings(schema: &ServerSchema, config: &config::ClickHouse) -> Result<EncoderSettings, StartError> {
    let mut plans = Vec::new();
    let mut errors = Vec::new();
    for kind in TableKind::ALL {
        match change::plan(kind, schema) {
            Ok(plan) => plans.push(plan),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(StartError::Schema(errors));
    }
    let plans = Plans::new(plans).map_err(StartError::Schema)?;
    let zone = TimeZone::get(&schema.timezone).unwrap_or_else(|error| {
        tracing::warn!(%error, zone = schema.timezone, "the server's time zone is not known here; days are cut in UTC");
        TimeZone::UTC
    });
    Ok(EncoderSettings { plans, zone, compression: config.compression, transform_logs: config.clickstack_transform })
}
