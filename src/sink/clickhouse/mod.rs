//! Direct mode: OTLP bytes become Native columns, and a part of a batch becomes one insert.
//!
//! | module | what it does |
//! | --- | --- |
//! | `encode` | OTLP bytes into Native blocks |
//! | `schema` | the tables: their statements, and what a server's are like |
//! | `start` | what is settled before the first insert, and again while the gateway runs |
//! | `insert` | one part, one insert |
//! | `look` | is a part in whose insert was not answered? |
//! | `error` | what a failure means |
//! | `servers` | several addresses |
//! | `http`, `query` | statements and answers over HTTP |

pub mod encode;
mod error;
mod http;
mod insert;
mod look;
mod query;
pub mod schema;
mod servers;
mod start;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use error::Failure;
pub use http::SetupError;
pub use start::{StartError, apply_schema};

use self::encode::EncoderFactory;
use self::http::{Connector, Http};
use self::insert::Options;
use self::query::Query;
use self::schema::ServerSchema;
use self::servers::Servers;
use crate::chunk::ChunkEncoder;
use crate::config;
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
    /// Something was held: the schema may have changed.
    reread: Arc<Notify>,
}

impl ClickHouse {
    /// What is known about the server's tables, now and whenever it changes: to be kept for a start while ClickHouse is away.
    pub fn schema(&self) -> watch::Receiver<Arc<ServerSchema>> {
        self.schema.subscribe()
    }

    fn query(&self, server: usize) -> Query<'_> {
        Query::new(&self.http, self.servers.uri(server))
    }

    async fn insert(&self, part: &PartDelivery) -> Outcome {
        let schema = self.schema.borrow().clone();
        let table = schema.tables.get(&*part.name.table);
        let replicated = table.is_some_and(schema::Table::is_replicated);
        let server = self.servers.for_insert(&part.token, replicated);
        let options = Options {
            timeout: self.config.insert_timeout,
            execution: self.config.max_execution_time,
            leave_indexes_to_merges: !self.config.materialize_skip_indexes_on_insert
                && schema.version().can_leave_indexes_to_merges(),
        };
        let uri = self.servers.uri(server);
        let inserted = insert::insert(&self.http, uri, &self.config.database, table, part, options).await;
        let Err(failure) = inserted else {
            // Elsewhere a look has the last word.
            if replicated || part.witnesses.is_empty() {
                self.servers.settled(&part.token);
            }
            return Outcome::Delivered;
        };
        let outcome = failure.outcome();
        if failure.is_servers() && self.servers.failed(server) {
            tracing::warn!(%failure, "another ClickHouse server is used from now on");
        }
        match &outcome {
            Outcome::Unknown { .. } => self.servers.doubted(&part.token, server),
            Outcome::Hold { .. } => self.reread.notify_one(),
            _ => {}
        }
        outcome
    }

    async fn find(&self, part: &PartDelivery) -> Look {
        let schema = self.schema.borrow().clone();
        let Some(table) = schema.tables.get(&*part.name.table) else {
            self.reread.notify_one();
            return Look::Unclear { why: format!("the table {} is not there", part.name.table) };
        };
        let last_attempt = self.servers.last_attempt(&part.token);
        for server in self.servers.suspects(&part.token) {
            let query = self.query(server);
            let found = look::look(query, &self.config.database, table, part, last_attempt).await;
            // Absent only where every server that may have it says so.
            if found != Look::Absent {
                if found == Look::Present {
                    self.servers.settled(&part.token);
                }
                return found;
            }
        }
        self.servers.settled(&part.token);
        Look::Absent
    }

    async fn answers(&self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..self.servers.len() {
            let server = self.servers.current();
            match self.query(server).within(READY_TIMEOUT).run("SELECT 1").await {
                Ok(_) => return Ok(()),
                Err(failure) => why = failure.to_string(),
            }
            self.servers.failed(server);
        }
        Err(why)
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
