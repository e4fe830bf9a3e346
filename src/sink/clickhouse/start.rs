//! What is settled before the first insert: the tables are there and keep what is written to them, their columns can be written, the user may do
//! what it must and not much more. The facts are read again before an insert when they are old, and soon after something was held, so that a
//! table that was changed or comes back is taken up. Nothing is read or asked while nobody writes: a service that sleeps when it is left alone may.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::ClickHouse;
use super::change::{self, Taken};
use super::create::{FIRST_ANSWER, create_missing_elsewhere};
use super::encode::{EncoderFactory, EncoderSettings, Keeps, Plans, SchemaError, ServerClock, TableKind};
use super::error::Failure;
use super::http::{Http, SetupError, base};
use super::insert::{self, Options};
use super::query::Query;
use super::schema::{self, ApplyError, Found, ServerSchema};
use super::servers::Servers;
use crate::config;
use crate::https::{self, Connector};
use crate::limited;
use crate::sink::Heard;

/// Between two readings at least, and when nothing could be read yet; between two questions to servers that are away.
const SOON: Duration = Duration::from_secs(5);

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
    /// The database is not there.
    #[error("there is no database {0}; create it (CREATE DATABASE {0}), or correct sink.clickhouse.database")]
    NoDatabase(String),
    /// Somebody who speaks TLS is spoken to without.
    #[error("{0}; this port speaks TLS: write https:// in sink.clickhouse.url")]
    SpeaksTls(Failure),
    /// The user may not insert, or inserts would be held for another reason.
    #[error("rows cannot be inserted: {}", lines(.0))]
    Insert(Vec<NotTaken>),
    /// The shards do not go together.
    #[error("the shards of sink.clickhouse.shards do not go together: {0}")]
    Shards(String),
    /// The cluster that is named cannot be used.
    #[error("the shards of sink.clickhouse.cluster cannot be read: {0}")]
    Cluster(String),
    /// The tables cannot be written.
    #[error("the tables cannot be written: {}", lines(.0))]
    Schema(Vec<SchemaError>),
}

/// A table that takes no insert.
#[derive(Debug, thiserror::Error)]
#[error("{table}: {}", .failure.with_remedy())]
pub struct NotTaken {
    table: &'static str,
    failure: Failure,
}

impl StartError {
    /// ClickHouse did not answer; everything else is for a person to mend.
    pub fn is_away(&self) -> bool {
        matches!(self, StartError::Away(failure) if failure.is_silence())
    }
}

fn lines<T: ToString>(errors: &[T]) -> String {
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl ClickHouse {
    /// Settles the schema and makes the sink. `known` is what an earlier process knew: with it the sink starts though ClickHouse is
    /// away or has to be mended, and settles the rest when it is back.
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
        let (heard, reread) = (Heard::default(), Arc::new(Notify::new()));
        let clock = ServerClock::new(config.schema_max_age, reread.clone());
        let mut changed = false;
        let schema = match (settled, known) {
            (Ok(found), _) => {
                heard.answered();
                clock.set(found.now);
                found.schema
            }
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "ClickHouse's tables are taken to be as they were last");
                changed = matches!(error, StartError::Schema(_));
                heard.out(error.to_string());
                known
            }
            (Err(error), None) => return Err(error),
        };
        let (settings, unclear) = encoder_settings(&schema, &config, &clock)?;
        say_unclear(&unclear, &[]);
        let encoders = EncoderFactory::new(settings);
        let sink = Arc::new(ClickHouse {
            current: ArcSwap::from_pointee(config.clone()),
            config,
            connector,
            http,
            servers,
            encoders,
            clock,
            schema: watch::Sender::new(Arc::new(schema)),
            unfit: Mutex::default(),
            reread: reread.clone(),
            changes: watch::Sender::new(0),
            heard,
            asked: tokio::sync::Mutex::default(),
            read: tokio::sync::Mutex::new(Instant::now()),
        });
        if changed && let Err(error) = sink.read_again(false).await {
            // What cannot be written any more is held from the first insert on.
            tracing::warn!(%error, "ClickHouse's tables are taken to be as they were last");
        }
        tokio::spawn(keep_reading(Arc::downgrade(&sink), reread, away));
        if sink.servers.len() > 1 {
            tokio::spawn(keep_asking(Arc::downgrade(&sink)));
        }
        Ok(sink)
    }

    /// Reads the facts of the server that is used now, and takes up what of them can be written.
    pub(super) async fn read_again(&self, settle: bool) -> Result<(), StartError> {
        let (server, config) = (self.servers.current(), self.current.load_full());
        let settled = match settle {
            true => Some(settle_any(&self.connector, &self.http, &self.servers, &config).await),
            false => None,
        };
        let Found { schema: found, now } = match settled {
            // A table that cannot be written concerns nobody but its own batches.
            None | Some(Err(StartError::Schema(_))) => {
                let client = client(&self.connector, &self.servers, &config);
                schema::read(&client, &config.database, &written(), &config.schema.suffix).await?
            }
            Some(settled) => settled?,
        };
        self.clock.set(now);
        let known = self.schema.borrow().clone();
        let Taken { schema, unfit } = change::take(&config.database, &known, found);
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
            let (settings, unclear) = encoder_settings(&schema, &config, &self.clock)?;
            say_unclear(
                &unclear,
                &encoder_settings(&known, &config, &self.clock).map_or_else(|_| Vec::new(), |known| known.1),
            );
            self.encoders.replace(settings);
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
            reread.notified().await;
        }
        let Some(sink) = sink.upgrade() else { return };
        match sink.read_again(away).await {
            Ok(()) => away = false,
            Err(error) => tracing::warn!(%error, "ClickHouse's tables are taken to be as they were last"),
        }
    }
}

/// Several servers: those that were away are asked until they are back, because what the others hold is tried again then. Ends with the
/// sink.
async fn keep_asking(sink: Weak<ClickHouse>) {
    loop {
        tokio::time::sleep(SOON).await;
        let Some(sink) = sink.upgrade() else { return };
        for server in sink.servers.away() {
            // What is said of it is kept there.
            let _ = sink.ask(server).await;
        }
    }
}

/// Tries each server once; the last one's error is what is said.
async fn settle_any(
    connector: &Connector,
    http: &Http,
    servers: &Servers,
    config: &config::ClickHouse,
) -> Result<Found, StartError> {
    let mut attempts = servers.len();
    loop {
        let server = servers.current();
        let settled = settle(&client(connector, servers, config), http, servers.uri(server), config).await;
        attempts -= 1;
        if settled.is_ok() {
            create_missing_elsewhere(http, servers, config).await;
        }
        if settled.is_ok() || attempts == 0 {
            return settled;
        }
        servers.failed(server);
    }
}

async fn settle(
    client: &clickhouse::Client,
    http: &Http,
    server: &Uri,
    config: &config::ClickHouse,
) -> Result<Found, StartError> {
    let query = Query::new(http, server);
    if let Err(failure) = query.within(FIRST_ANSWER).run("SELECT 1").await {
        let secure = failure.is_silence() && speaks_tls(http, server).await;
        return Err(if secure { StartError::SpeaksTls(failure) } else { failure.into() });
    }
    let settled = settle_tables(client, http, server, config).await;
    match settled {
        // Without its database everything else is said in words that lead elsewhere: no such table, no right.
        Err(_) if has_no_database(query, config).await => Err(StartError::NoDatabase(config.database.clone())),
        settled => settled,
    }
}

async fn settle_tables(
    client: &clickhouse::Client,
    http: &Http,
    server: &Uri,
    config: &config::ClickHouse,
) -> Result<Found, StartError> {
    let query = Query::new(http, server);
    if config.create_schema {
        for done in schema::create_missing(query, config).await?.iter().filter(|done| done.created) {
            tracing::info!(table = done.name, "created");
        }
    }
    let (user, _) = config.login(server);
    for warning in schema::warnings(user, &config.database, &schema::show_grants(client).await?) {
        tracing::warn!("{warning}");
    }
    let found = schema::read(client, &config.database, &written(), &config.schema.suffix).await?;
    for setting in insert::left_out(&found.schema) {
        tracing::warn!("inserts go without a setting that the server does not let this user choose: {setting}");
    }
    let (settings, _) = encoder_settings(&found.schema, config, &ServerClock::default())?;
    may_insert(http, server, config, &found.schema, &settings.plans).await?;
    Ok(found)
}

/// Every table takes an insert of nothing. What passes by itself is no reason not to start.
async fn may_insert(
    http: &Http,
    server: &Uri,
    config: &config::ClickHouse,
    schema: &ServerSchema,
    plans: &Plans,
) -> Result<(), StartError> {
    let mut refused = Vec::new();
    for kind in TableKind::ALL {
        let (plan, facts) = (plans.get(kind), schema.tables.get(kind.table()));
        let options = Options { timeout: FIRST_ANSWER, ..Options::new(config, schema, facts) };
        let table = (plan.table(), facts);
        match insert::would_be_taken(http, server, &config.database, table, plan.columns(), options).await {
            Ok(()) => {}
            Err(failure) if failure.is_for_people() => refused.push(NotTaken { table: kind.table(), failure }),
            Err(failure) => tracing::warn!(table = kind.table(), %failure, "an insert of nothing was not taken"),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(StartError::Insert(refused)) }
}

/// Whether the database is not there. An insert tells, whatever the user may do; other statements ask for a right first.
async fn has_no_database(query: Query<'_>, config: &config::ClickHouse) -> bool {
    let insert = format!("INSERT INTO {}.otel_logs (Body) FORMAT Native", schema::identifier(&config.database));
    query.run(&insert).await.is_err_and(|failure| failure.is_missing_database())
}

/// Whether an address that is spoken to without TLS and says nothing would rather be spoken to with it.
pub(super) async fn speaks_tls(http: &Http, server: &Uri) -> bool {
    if server.scheme_str() != Some("http") {
        return false;
    }
    let mut parts = server.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    let Ok(secure) = Uri::from_parts(parts) else {
        return false;
    };
    match Query::new(http, &secure).within(FIRST_ANSWER).run("SELECT 1").await {
        Ok(_) | Err(Failure::Exception { .. } | Failure::Http { .. }) => true,
        Err(failure) => failure.is_certificate(),
    }
}

/// The names of the tables that are written.
fn written() -> Vec<&'static str> {
    TableKind::ALL.iter().map(|kind| kind.table()).collect()
}

/// The crate's client for the server that is used now.
fn client(connector: &Connector, servers: &Servers, config: &config::ClickHouse) -> clickhouse::Client {
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector.clone());
    let server = servers.uri(servers.current());
    let (user, password) = config.login(server);
    clickhouse::Client::with_http_client(http).with_url(base(server)).with_user(user).with_password(password.expose())
}

/// What rows are encoded by, and what of the tables' time to live is not understood.
pub(super) fn encoder_settings(
    schema: &ServerSchema,
    config: &config::ClickHouse,
    clock: &ServerClock,
) -> Result<(EncoderSettings, Vec<String>), StartError> {
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
    let (keeps, unclear) = Keeps::of(schema, &plans, &zone, clock);
    let (compression, transform_logs) = (config.compression, config.clickstack_transform);
    Ok((EncoderSettings { plans, zone, keeps, compression, transform_logs }, unclear))
}

/// Says what of the tables' time to live is not understood, unless it was said `before`.
fn say_unclear(unclear: &[String], before: &[String]) {
    for clause in unclear.iter().filter(|clause| !before.contains(clause)) {
        tracing::warn!(clause, "rows that this clause drops are sent all the same: it is not known when it does");
    }
}
