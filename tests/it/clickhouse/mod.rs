//! The sink against a real ClickHouse: the tables that it creates, its inserts, what it makes of failures, its looks.

mod change;
mod cluster;
mod indexes;
mod insert;
mod look;
mod network;
mod place;
mod schema;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use otelgate::chunk::{Growth, SealedPart};
use otelgate::config::{BlockCompression, ClickHouse as Config, Secret, Ttl};
use otelgate::signal::Signal;
use otelgate::sink::clickhouse::ClickHouse;
use otelgate::sink::{PartDelivery, Sink as _};
use stack::ClickHouse as Server;
use stack::Samples;

use crate::support::clickhouse;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A database of its own on the shared server.
struct Database {
    server: &'static Server,
    name: String,
}

impl Database {
    async fn new(name: &str) -> Database {
        let server = clickhouse().await;
        let name = format!("otel_test_sink_{name}");
        server.query(&format!("DROP DATABASE IF EXISTS {name} SYNC"), "Null").await.unwrap();
        server.query(&format!("CREATE DATABASE {name}"), "Null").await.unwrap();
        Database { server, name }
    }

    /// One of this name that lies elsewhere.
    async fn of(name: &str) -> Database {
        Database { server: clickhouse().await, name: name.to_owned() }
    }

    fn config(&self) -> Config {
        Config {
            urls: vec![self.server.url.parse().unwrap()],
            shards: Vec::new(),
            cluster: None,
            logins: Vec::new(),
            ca_file: None,
            database: self.name.clone(),
            user: self.server.user.clone(),
            password: Secret::new(self.server.password.clone()),
            create_schema: true,
            ttl: Ttl { logs: 30 * DAY, traces: 30 * DAY, metrics: 30 * DAY, sessions: 30 * DAY },
            schema: Default::default(),
            insert_timeout: Duration::from_secs(30),
            max_execution_time: Duration::from_secs(25),
            schema_max_age: Duration::from_secs(60),
            answer_max_age: Duration::from_secs(60),
            inserts_per_table: None,
            compression: BlockCompression::default(),
            materialize_skip_indexes_on_insert: false,
            ignore_view_errors: false,
            insert_quorum: None,
            clickstack_transform: true,
        }
    }

    async fn sink(&self) -> Arc<ClickHouse> {
        ClickHouse::connect(self.config(), None).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.server.query(&sql.replace("{db}", &self.name), "Null").await.unwrap();
    }

    async fn number(&self, sql: &str) -> u64 {
        self.server.number(&sql.replace("{db}", &self.name)).await.unwrap()
    }

    async fn rows(&self, table: &str) -> u64 {
        self.number(&format!("SELECT count() FROM {{db}}.{table}")).await
    }
}

/// Noon of a day that lies whole in the time to live, so that no batch meets midnight.
fn noon() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    (now / DAY.as_secs() * DAY.as_secs() - DAY.as_secs() / 2) * 1_000_000_000
}

/// The sealed parts of a chunk of one request.
fn seal(sink: &ClickHouse, signal: Signal, request: &[u8]) -> Vec<SealedPart> {
    let mut chunk = sink.encoder(signal);
    chunk.append(request, &Growth::default()).unwrap();
    chunk.commit();
    chunk.seal()
}

/// The parts of a batch: each request is a chunk of its own.
fn batch(sink: &ClickHouse, signal: Signal, token: &str, requests: &[Vec<u8>]) -> Vec<PartDelivery> {
    let mut parts: Vec<PartDelivery> = Vec::new();
    for sealed in requests.iter().flat_map(|request| seal(sink, signal, request)) {
        let rows = sealed.rows();
        match parts.iter_mut().find(|part| part.name == sealed.name) {
            Some(part) => {
                part.rows += rows;
                part.body.extend(sealed.bytes);
                part.witnesses.extend(sealed.witnesses);
            }
            None => parts.push(PartDelivery {
                token: format!("{token}-{}", sealed.name.table),
                attempt: 0,
                rows,
                body: sealed.bytes,
                witnesses: sealed.witnesses,
                only_rows: None,
                shard: None,
                name: sealed.name,
                columns: sealed.columns,
            }),
        }
    }
    parts
}

/// One part of logs: so many requests of so many records.
fn logs(sink: &ClickHouse, token: &str, requests: usize, records: usize) -> PartDelivery {
    let mut samples = Samples::new(7).at(noon());
    let requests: Vec<Vec<u8>> = (0..requests).map(|_| samples.logs_bytes(records)).collect();
    let parts = batch(sink, Signal::Logs, token, &requests);
    parts.into_iter().max_by_key(|part| part.rows).unwrap()
}
