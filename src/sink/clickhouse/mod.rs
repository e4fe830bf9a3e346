//! Direct mode: OTLP bytes become Native columns, and a part of a batch becomes one insert.
//!
//! | module | what it does |
//! | --- | --- |
//! | `encode` | OTLP bytes into Native blocks |
//! | `schema` | the tables: their statements, and what a server's are like |
//! | `start` | what is settled before the first insert, and again while the gateway runs |
//! | `change` | tables that change while batches lie in the spool |
//! | `insert` | one part, one insert |
//! | `look` | is a part in whose insert was not answered? |
//! | `replica` | may a replica say that rows are absent? |
//! | `error` | what a failure means |
//! | `proof` | what an exception proves where views read a table |
//! | `servers` | several addresses |
//! | `http`, `query` | statements and answers over HTTP |

mod change;
pub mod encode;
mod error;
mod http;
mod insert;
mod look;
mod proof;
mod query;
mod replica;
pub mod schema;
mod servers;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub(crate) use error::Failure;
pub use start::{StartError, apply_schema};

use self::encode::EncoderFactory;
use self::http::{Http, Server};
use self::insert::Options;
use self::query::Query;
use self::schema::ServerSchema;
use self::servers::Servers;
use crate::chunk::ChunkEncoder;
use crate::config;
use crate::https::Connector;
use crate::signal::Signal;
use crate::sink::{AfterUnknown, BoxFuture, Look, Outcome, PartDelivery, Sink, Window};

/// Longest wait for the answer that readiness goes by.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// ClickHouse as a sink.
#[derive(Debug)]
pub struct ClickHouse {
    config: config::ClickHouse,
    connector: Connector,
    http: Http,
    servers: Servers,
    encoders: EncoderFactory,
    schema: watch::Sender<Arc<ServerSchema>>,
    /// By server: tables that cannot be written as they are there, and what has to be done.
    unfit: Mutex<HashMap<usize, BTreeMap<String, String>>>,
    /// Something was held: the schema may have changed.
    reread: Arc<Notify>,
    /// Counts what held parts may have waited for.
    changes: watch::Sender<u64>,
}

impl ClickHouse {
    /// What is known about the server's tables, now and whenever it changes: to be kept for a start while ClickHouse is away.
    pub fn schema(&self) -> watch::Receiver<Arc<ServerSchema>> {
        self.schema.subscribe()
    }

    /// When the CAs that its certificate is checked against are over, in seconds since 1970; none when these are the public ones.
    pub fn authorities_end(&self) -> Option<i64> {
        http::authorities_end(&self.config)
    }

    fn query(&self, server: usize) -> Query<'_> {
        Query::new(&self.http, self.servers.uri(server))
    }

    /// An attempt. A server that holds the insert for a person is no reason to wait for one while another takes it.
    async fn insert(&self, part: &PartDelivery) -> Outcome {
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
        let options = Options {
            timeout: self.config.insert_timeout,
            execution: self.config.max_execution_time,
            ignore_view_errors: self.config.ignore_view_errors
                && table.is_some_and(|table| table.has_foreign_views(&self.config.database)),
            leave_indexes_to_merges: !self.config.materialize_skip_indexes_on_insert
                && schema.version().can_leave_indexes_to_merges(),
        };
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
        let outcome = proof::weigh(self.query(server), &self.config.database, &part.name.table, &failure).await;
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
        if failure.is_some_and(Failure::is_silence) {
            self.servers.is_away(server);
        } else if self.servers.is_back(server) {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn find(&self, part: &PartDelivery) -> Look {
        let schema = self.schema.borrow().clone();
        let Some(table) = schema.tables.get(&*part.name.table) else {
            self.reread.notify_one();
            return Look::Unclear { why: format!("the table {} is not there", part.name.table) };
        };
        let old = self.servers.last_attempt(&part.token);
        let look = |server| look::look(self.query(server), &self.config.database, table, part, old);
        let found = if table.is_replicated() {
            // Any replica that has all that the others have may speak for them.
            let mut found = Look::Absent;
            for server in self.servers.all_from_current() {
                found = look(server).await;
                if !matches!(found, Look::Unclear { .. }) {
                    break;
                }
            }
            found
        } else {
            // Absent only where every server that may have it says so.
            let mut found = Look::Absent;
            for server in self.servers.suspects(&part.token) {
                found = look(server).await;
                if found != Look::Absent {
                    break;
                }
            }
            found
        };
        if !matches!(found, Look::Unclear { .. }) {
            self.servers.settled(&part.token);
        }
        found
    }

    async fn answers(&self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..self.servers.len() {
            let server = self.servers.current();
            match self.ask(server).await {
                Ok(()) => return Ok(()),
                Err(failure) => why = failure.to_string(),
            }
            self.servers.failed(server);
        }
        Err(why)
    }

    /// Whether a server answers.
    async fn ask(&self, server: usize) -> Result<(), Failure> {
        let answer = self.query(server).within(READY_TIMEOUT).run("SELECT 1").await;
        self.spoke(server, answer.as_ref().err());
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

    fn after_unknown(&self, table: &str, since: Duration) -> AfterUnknown {
        let schema = self.schema.borrow();
        schema.tables.get(table).map_or(AfterUnknown::Look, |table| table.after_unknown(since))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn columns_gone(&self, part: &PartDelivery) -> Vec<Arc<str>> {
        let schema = self.schema.borrow();
        change::named(schema.tables.get(&*part.name.table), &part.columns).gone
    }

    fn windows(&self) -> Vec<Window> {
        let schema = self.schema.borrow();
        let each = schema.tables.iter().map(|(name, table)| Window {
            table: name.clone(),
            tokens: table.deduplication_window,
            remedy: table.window_remedy(&self.config.database, name),
        });
        each.collect()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.answers())
    }
}
