//! Section `sink`: where everything is brought.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// Section `sink`: exactly one.
#[derive(Debug, Clone)]
pub enum SinkConfig {
    /// Direct mode.
    ClickHouse(ClickHouse),
    /// Forwarding to a collector, or to any other OTLP endpoint.
    Forward(Forward),
}

/// Section `sink.forward`.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Where to.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The zone that otelgate is in, whose endpoints are used as long as one of them is well; none: all are alike.
    pub(crate) zone: Option<String>,
    /// How requests are written.
    pub(crate) protocol: ForwardProtocol,
    /// How their bytes are compressed.
    pub(crate) compression: ForwardCompression,
    /// What is sent as `authorization`; nothing when absent.
    pub(crate) token: Option<Secret>,
    /// PEM file of the CA that signed the endpoints' certificates; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM files of the certificate and private key that otelgate shows.
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    /// Uncompressed bytes of one export request.
    pub(crate) max_message_bytes: usize,
    /// Longest time from an export's first byte to its answer.
    pub(crate) timeout: Duration,
    /// Exports in flight for one signal.
    pub(crate) exports_per_signal: usize,
}

/// One of `sink.forward.endpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, host, port; with `protocol: http` also the path before `/v1/…`.
    pub(crate) url: http::Uri,
    /// Where it stands, as a person named it.
    pub(crate) zone: Option<String>,
}

/// `sink.forward.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardProtocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

/// `sink.forward.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardCompression {
    /// As they are.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// `sink.clickhouse.compression`: how sealed blocks are compressed, in the spool and on the way. ClickHouse reads all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockCompression {
    /// Fast, and costs ClickHouse nothing.
    #[default]
    Lz4,
    /// Smaller; for a narrow way to ClickHouse or a small spool.
    Zstd,
    /// For a network and a disk that cost nothing.
    None,
}

/// Section `sink.clickhouse`.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    /// HTTP(S) addresses: one, or replicas of the same tables; of all shards, one shard after another.
    pub urls: Vec<http::Uri>,
    /// The addresses of each shard; empty where rows are not divided over shards.
    pub shards: Vec<Vec<http::Uri>>,
    /// The cluster of `system.clusters` whose shards are taken, asked at `urls`, which lend it scheme and port; `shards` is empty then.
    pub cluster: Option<String>,
    /// Who logs in at servers where it is not `user`.
    pub logins: Vec<(http::Uri, Login)>,
    /// PEM file of the CA that signed the server's certificate; the public CAs when absent.
    pub ca_file: Option<PathBuf>,
    /// Database of the tables.
    pub database: String,
    /// The ingest user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Create what is missing at start.
    pub create_schema: bool,
    /// How long rows are kept, in tables that otelgate creates.
    pub ttl: Ttl,
    /// What those tables are where there is more than one server.
    pub schema: Box<Layout>,
    /// Client's timeout of one insert.
    pub insert_timeout: Duration,
    /// `max_execution_time` of an insert, shorter than `insert_timeout`.
    pub max_execution_time: Duration,
    /// Facts of the tables older than this are read again before an insert.
    pub schema_max_age: Duration,
    /// An answer older than this does not tell somebody who needs to know whether ClickHouse is there.
    pub answer_max_age: Duration,
    /// Inserts in flight for one table; none: as many as the server has cores for.
    pub inserts_per_table: Option<usize>,
    /// How blocks are compressed.
    pub compression: BlockCompression,
    /// ClickHouse's setting of that name: whether an insert builds skip indexes, or the first merge of its part.
    pub materialize_skip_indexes_on_insert: bool,
    /// Whether a materialized view that is not ClickStack's own may fail without failing the insert (`materialized_views_ignore_errors`).
    pub ignore_view_errors: bool,
    /// How many replicas have to have an insert before it counts as stored; none where the user's profile says.
    pub insert_quorum: Option<Quorum>,
    /// Section `logs`: whether logs are changed as ClickStack's collector changes them (JSON and map bodies into attributes, severity from
    /// text).
    pub clickstack_transform: bool,
}

/// `sink.clickhouse.insert_quorum`: replicas of a Replicated table that must have a part before ClickHouse says yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// The one that was asked.
    Off,
    /// More than half of the table's replicas.
    Auto,
    /// So many.
    Of(u32),
}

/// A user of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl ClickHouse {
    /// The same for the servers of one shard alone.
    pub(crate) fn of_shard(&self, place: usize) -> ClickHouse {
        let urls = self.shards.get(place).cloned().unwrap_or_default();
        ClickHouse { urls, shards: Vec::new(), ..self.clone() }
    }

    /// The same for one of its servers alone.
    pub(crate) fn of_server(&self, url: &http::Uri) -> ClickHouse {
        let (user, password) = self.login(url);
        let (user, password, urls) = (user.to_owned(), password.clone(), vec![url.clone()]);
        ClickHouse { urls, shards: Vec::new(), logins: Vec::new(), user, password, ..self.clone() }
    }

    /// The same for each user alone, with the servers where it logs in. One name with two passwords is two users.
    pub fn of_each_user(&self) -> Vec<ClickHouse> {
        let mut all = Vec::<ClickHouse>::new();
        for url in &self.urls {
            let one = self.of_server(url);
            match all.iter_mut().find(|known| (&known.user, &known.password) == (&one.user, &one.password)) {
                Some(known) => known.urls.extend(one.urls),
                None => all.push(one),
            }
        }
        all
    }

    /// Who logs in at this address.
    pub fn login(&self, url: &http::Uri) -> (&str, &Secret) {
        let own = self.logins.iter().find(|(of, _)| of == url);
        own.map_or((&self.user, &self.password), |(_, login)| (&login.user, &login.password))
    }
}

/// Section `sink.clickhouse.schema`: tables of several servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Replicated tables; none: each server's tables are its own.
    pub replicated: Option<Replicated>,
    /// The cluster of `system.clusters` over which Distributed tables read.
    pub cluster: Option<String>,
    /// What follows ClickStack's names in the names of the tables that hold rows; empty: nothing.
    pub suffix: String,
    /// Whether tables of ClickStack's names read what lies in those of all servers.
    pub distributed: bool,
}

/// The arguments of a Replicated table's engine, in which ClickHouse replaces its macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicated {
    /// Where the replicas of a table meet.
    pub path: String,
    /// Which of them this is.
    pub replica: String,
}

/// Time to live of rows by what they are.
#[derive(Debug, Clone, Copy)]
pub struct Ttl {
    /// `otel_logs` and its rollup.
    pub logs: Duration,
    /// `otel_traces` and its rollup.
    pub traces: Duration,
    /// The five metrics tables.
    pub metrics: Duration,
    /// `hyperdx_sessions`.
    pub sessions: Duration,
}
