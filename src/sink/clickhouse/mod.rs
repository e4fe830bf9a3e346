//! Direct mode: OTLP bytes become Native columns, and a part of a batch becomes one insert.
//!
//! | module | what it does |
//! | --- | --- |
//! | `encode` | OTLP bytes into Native blocks |
//! | `schema` | the tables: their statements, and what a server's are like |
//! | `create` | tables that are missing |
//! | `start` | what is settled before the first insert, and again while the gateway runs |
//! | `survey` | what a server tells somebody who is about to configure otelgate |
//! | `compare` | how the tables differ from what otelgate would make |
//! | `change` | tables that change while batches lie in the spool |
//! | `insert` | one part, one insert |
//! | `look`, `find` | is a part in whose insert was not answered; on which servers that is asked |
//! | `replica` | may a replica say that rows are absent? |
//! | `error`, `proof` | what a failure means; what an exception proves where views read a table |
//! | `servers` | several addresses |
//! | `shards`, `cluster` | several shards, each with its addresses; those that a server knows by name |
//! | `http`, `query` | statements and answers over HTTP |

mod change;
pub mod cluster;
mod compare;
mod create;
pub mod encode;
mod error;
mod find;
mod http;
mod insert;
mod look;
mod proof;
mod query;
mod replica;
pub mod schema;
mod servers;
mod shards;
mod start;
mod survey;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use compare::{Altered, Everywhere, Tables};
pub use create::{Applied, Done, apply_schema};
pub(crate) use error::Failure;
pub(crate) use shards::{Schemas, Shards};
pub use start::StartError;
pub(crate) use survey::Asker;
pub use survey::{Survey, survey};

use self::encode::{EncoderFactory, ServerClock, TableKind};
use self::http::{Credentials, Http, Server};
use self::insert::Options;
use self::query::Query;
use self::schema::ServerSchema;
use self::servers::Servers;
use crate::chunk::ChunkEncoder;
use crate::config::{self, SinkConfig};
use crate::https::Connector;
use crate::limited;
use crate::signal::Signal;
use crate::sink::{AfterUnknown, BoxFuture, Condition, Heard, Look, Outcome, PartDelivery, Renewal, Sink, Window};

/// Longest wait for the answer that readiness goes by.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two questions of somebody who needs an answer, however often they come.
const ASK_PAUSE: Duration = Duration::from_secs(2);
/// A server that was heard no longer ago than this is not knocked at.
const KNOCK_AFTER: Duration = Duration::from_secs(5);
/// Longest wait of an insert for the tables' facts.
const FRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// ClickHouse as a sink.
#[derive(Debug)]
pub struct ClickHouse {
    /// As it was at the start; what may change since (user, password, times to live) is out of date here.
    config: config::ClickHouse,
    /// As it is now.
    current: ArcSwap<config::ClickHouse>,
    connector: Connector,
    http: Http,
    servers: Servers,
    encoders: EncoderFactory,
    /// What time it is there.
    clock: ServerClock,
    schema: watch::Sender<Arc<ServerSchema>>,
    /// By server: tables that cannot be written as they are there, and what has to be done.
    unfit: Mutex<HashMap<usize, BTreeMap<String, String>>>,
    /// Something was held: the schema may have changed.
    reread: Arc<Notify>,
    /// Counts what held parts may have waited for.
    changes: watch::Sender<u64>,
    /// What inserts and questions were answered.
    heard: Heard,
    /// When a question was asked last.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// When the tables' facts were read last.
    read: tokio::sync::Mutex<Instant>,
}

impl ClickHouse {
    /// What is known about the server's tables, now and whenever it changes: to be kept for a start while ClickHouse is away.
    pub fn schema(&self) -> watch::Receiver<Arc<ServerSchema>> {
        self.schema.subscribe()
    }

    fn query(&self, server: usize) -> Query<'_> {
        Query::new(&self.http, self.servers.uri(server))
    }

    /// An attempt. A server that holds the insert for a person is no reason to wait for one while another takes it.
    async fn insert(&self, part: &PartDelivery) -> Outcome {
        self.keep_fresh().await;
        let outcome = self.insert_somewhere(part).await;
        self.hear(&part.name.table, &outcome);
        outcome
    }

    fn hear(&self, table: &Arc<str>, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered | Outcome::DeliveredBut { .. } => self.heard.takes(table),
            // The bytes are at fault, not the table.
            Outcome::Refused { .. } => self.heard.answered(),
            Outcome::Doubtful { or_else } => self.hear(table, or_else),
            Outcome::Retry { why, .. } | Outcome::Unknown { why } | Outcome::TooMuch { why, .. }
                if !self.heard.is_out() =>
            {
                self.heard.struggles(table, why.clone());
            }
            Outcome::Hold { why } if !self.heard.is_out() => self.heard.holds(table, why.clone()),
            Outcome::Retry { .. } | Outcome::Unknown { .. } | Outcome::TooMuch { .. } | Outcome::Hold { .. } => {}
        }
    }

    async fn insert_somewhere(&self, part: &PartDelivery) -> Outcome {
        let schema = self.schema.borrow().clone();
        let table = schema.tables.get(&*part.name.table);
        let replicated = table.is_some_and(schema::Table::is_replicated);
        let mut held = String::new();
        let servers = self.servers.for_insert(&part.token, replicated);
        for (place, server) in servers.iter().copied().enumerate() {
            let outcome = match place + 1 < servers.len() {
                true => self.insert_unless_held(server, &schema, part).await,
                false => self.insert_on(server, &schema, part).await,
            };
            match outcome {
                Outcome::Hold { why } => {
                    held = if held.is_empty() { why } else { format!("{held}; {why}") };
                }
                // The others want to be mended, but this one comes back by itself.
                Outcome::Retry { why, after } if place > 0 => {
                    return Outcome::Retry { why: format!("{held}; {why}"), after };
                }
                outcome => {
                    if matches!(&outcome, Outcome::Doubtful { or_else } if matches!(**or_else, Outcome::Hold { .. })) {
                        self.reread.notify_one();
                    }
                    if place > 0 && self.servers.prefer(server) {
                        tracing::warn!(why = held, "another ClickHouse server is used from now on");
                        self.reread.notify_one();
                    }
                    return outcome;
                }
            }
        }
        self.reread.notify_one();
        Outcome::Hold { why: held }
    }

    async fn insert_on(&self, server: usize, schema: &ServerSchema, part: &PartDelivery) -> Outcome {
        if let Some(why) = self.unfit(server, &part.name.table) {
            return Outcome::Hold { why };
        }
        let table = schema.tables.get(&*part.name.table);
        let options = Options::new(&self.config, schema, table);
        let uri = self.servers.uri(server);
        let inserted = insert::insert(&self.http, uri, &self.config.database, table, part, options).await;
        self.spoke(server, inserted.as_ref().err());
        let Err(failure) = inserted else {
            // Elsewhere a look has the last word.
            if table.is_some_and(schema::Table::is_replicated) || part.witnesses.is_empty() {
                self.servers.settled(&part.token);
            }
            return Outcome::Delivered;
        };
        if failure.is_servers() && self.servers.failed(server) {
            tracing::warn!(%failure, "another ClickHouse server is used from now on");
        }
        let name = table.map_or(&*part.name.table, |table| table.name(&part.name.table));
        let outcome = proof::weigh(self.query(server), &self.config.database, name, &failure).await;
        match (&outcome, &failure) {
            (Outcome::Doubtful { .. }, Failure::Exception { .. }) => self.servers.answered(&part.token, server),
            (Outcome::Unknown { .. } | Outcome::Doubtful { .. }, _) => self.servers.doubted(&part.token, server),
            _ => {}
        }
        outcome
    }

    /// An attempt on a server that is not the last one to try. What it wants mended is no reason not to try the next, unless the rows may be in.
    async fn insert_unless_held(&self, server: usize, schema: &ServerSchema, part: &PartDelivery) -> Outcome {
        match self.insert_on(server, schema, part).await {
            Outcome::Doubtful { or_else } if matches!(*or_else, Outcome::Hold { .. }) => match self.find(part).await {
                Look::Absent => *or_else,
                Look::Present | Look::Unclear { .. } => Outcome::Doubtful { or_else },
            },
            outcome => outcome,
        }
    }

    /// What has to be done before a server's table can be written.
    fn unfit(&self, server: usize, table: &str) -> Option<String> {
        let unfit = self.unfit.lock().get(&server)?.get(table).cloned()?;
        Some(format!("{}: {unfit}", Server(self.servers.uri(server))))
    }

    /// A server was spoken to. One that is back may take what others hold.
    fn spoke(&self, server: usize, failure: Option<&Failure>) {
        match failure.filter(|failure| failure.is_everybodys()) {
            Some(failure) => self.heard.out(failure.with_remedy()),
            None => self.heard.answered(),
        }
        if failure.is_some_and(Failure::is_silence) {
            self.servers.is_away(server);
        } else if self.servers.is_back(server) {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// For somebody who needs to know: asks when it was not heard for long, or did not do well when it was; not more often than every
    /// [`ASK_PAUSE`].
    async fn ask_anew(&self) -> Condition {
        let mut asked = self.asked.lock().await;
        let lately = asked.is_some_and(|at| at.elapsed() < ASK_PAUSE);
        if !lately && !self.heard.well_within(self.config.answer_max_age) {
            *asked = Some(Instant::now());
            if self.answers().await {
                for table in self.heard.troubled() {
                    self.ask_for(&table).await;
                }
            }
        }
        self.heard.condition()
    }

    /// For somebody who would like to know: whether anybody listens, which is no query, so that a service that sleeps while nobody asks it anything
    /// goes on sleeping.
    async fn knock_at(&self) -> Condition {
        let mut asked = self.asked.lock().await;
        let lately = asked.is_some_and(|at| at.elapsed() < ASK_PAUSE);
        if !lately && self.heard.condition() == Condition::Well && !self.heard.well_within(KNOCK_AFTER) {
            *asked = Some(Instant::now());
            let mut why = String::new();
            for server in 0..self.servers.len() {
                match http::knock(self.servers.uri(server), READY_TIMEOUT).await {
                    Ok(()) => return Condition::Well,
                    Err(error) => why = error,
                }
            }
            self.heard.out(why);
        }
        self.heard.condition()
    }

    /// Whether one of the servers answers, the one that is used first.
    async fn answers(&self) -> bool {
        for _ in 0..self.servers.len() {
            let server = self.servers.current();
            if self.ask(server).await.is_ok() {
                return true;
            }
            self.servers.failed(server);
        }
        false
    }

    /// Asks whether a table that took nothing would take an insert now: without a spool nobody sends what would tell.
    async fn ask_for(&self, table: &Arc<str>) {
        let server = self.servers.current();
        if let Some(why) = self.unfit(server, table) {
            return self.heard.holds(table, why);
        }
        let settings = self.encoders.settings();
        let Some(kind) = TableKind::ALL.into_iter().find(|kind| kind.table() == &**table) else { return };
        let schema = self.schema.borrow().clone();
        let (columns, facts) = (settings.plans.get(kind).columns(), schema.tables.get(&**table));
        let options = Options { timeout: READY_TIMEOUT, ..Options::new(&self.config, &schema, facts) };
        let uri = self.servers.uri(server);
        let taken =
            insert::would_be_taken(&self.http, uri, &self.config.database, (table, facts), columns, options).await;
        self.spoke(server, taken.as_ref().err());
        match taken {
            Ok(()) => self.heard.takes(table),
            Err(failure) if failure.is_everybodys() => {}
            Err(failure) if failure.is_for_people() => self.heard.holds(table, failure.with_remedy()),
            Err(failure) => self.heard.struggles(table, failure.to_string()),
        }
    }

    /// Reads the tables again when what is known of them is old, before something is written to them: an idle gateway reads nothing.
    async fn keep_fresh(&self) {
        let mut read = self.read.lock().await;
        if read.elapsed() < self.config.schema_max_age {
            return;
        }
        *read = Instant::now();
        let reading = tokio::time::timeout(FRESH_TIMEOUT, self.read_again(false)).await;
        let why = match reading {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {FRESH_TIMEOUT:?}"),
        };
        limited!(warn, why, "ClickHouse's tables are taken to be as they were last");
    }

    /// Whether a server answers.
    async fn ask(&self, server: usize) -> Result<(), Failure> {
        let answer = self.query(server).within(READY_TIMEOUT).run("SELECT 1").await;
        self.spoke(server, answer.as_ref().err());
        if let Err(failure) = &answer {
            self.heard.out(failure.with_remedy());
        }
        answer.map(drop)
    }
}

impl Sink for ClickHouse {
    fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder> {
        self.encoders.encoder(signal)
    }

    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome> {
        Box::pin(self.insert(part))
    }

    fn look<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Look> {
        Box::pin(self.find(part))
    }

    fn after_unknown(&self, table: &str, _: Option<&str>, since: Duration) -> AfterUnknown {
        let schema = self.schema.borrow();
        schema.tables.get(table).map_or(AfterUnknown::Look, |table| table.after_unknown(since))
    }

    fn shard(&self, noted: &str) -> Result<Option<Arc<str>>, String> {
        if shards::is(noted, &self.config.urls) { Ok(None) } else { Err(shards::gone(noted, 0)) }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn renewal(self: Arc<Self>, config: &SinkConfig) -> Result<Renewal, String> {
        let SinkConfig::ClickHouse(config) = config else { return Ok(Box::new(|| {})) };
        let (credentials, config) = (Credentials::new(config).map_err(|error| error.to_string())?, config.clone());
        Ok(Box::new(move || {
            self.http.renew(credentials);
            self.current.store(Arc::new(config));
            // What was held for want of a right may be taken now.
            self.reread.notify_one();
            self.changed();
        }))
    }

    fn columns_gone(&self, part: &PartDelivery) -> Vec<Arc<str>> {
        let schema = self.schema.borrow();
        change::named(schema.tables.get(&*part.name.table), &part.columns).gone
    }

    fn windows(&self) -> Vec<Window> {
        let schema = self.schema.borrow();
        let written = schema.tables.iter().filter(|(name, table)| table.refusal(name).is_none());
        let each = written.map(|(name, table)| Window {
            table: name.clone(),
            tokens: table.deduplication_window,
            remedy: table.window_remedy(&self.config.database, name),
        });
        each.collect()
    }

    fn condition(&self) -> Condition {
        self.heard.condition()
    }

    fn knock(&self) -> BoxFuture<'_, Condition> {
        Box::pin(self.knock_at())
    }

    fn ready(&self) -> BoxFuture<'_, Condition> {
        Box::pin(self.ask_anew())
    }
}
