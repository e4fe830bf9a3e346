//! What the person running otelgate wrote, and what of it is valid.
//!
//! Two types, two steps: `yaml` reads the text into a tree that knows its lines, and `check` turns that into a
//! [`Config`] or into every mistake at once. Both are pure: they open no socket, and see the environment and other
//! files only through [`Surroundings`]. Everything behind them may trust a [`Config`].
//!
//! [`load`] is the way in; `section` is how fields are asked for, and why an unknown one cannot pass.

mod check;
mod check_forward;
mod check_keys;
mod check_sink;
mod keys_file;
mod load;
mod remark;
mod rules;
mod secret;
mod section;
mod substitute;
mod surroundings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls_files;
mod value;
mod yaml;

pub use keys_file::read_keys;
pub use load::{Loaded, load};
pub use remark::{Mistakes, Remark};
pub use secret::Secret;
pub use surroundings::{Process, Surroundings};
pub use yaml::Mark;

/// Whether `name` can be a key's name: up to 64 letters, digits, `.`, `_`, `-`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn key_name(name: &str) -> Result<String, String> {
    value::name(name)
}

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::signal::Signal;

/// A configuration in which every value is valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// What otelgate keeps between two starts lies in folders below this one.
    pub state_dir: PathBuf,
    /// Addresses and what connections may do.
    pub listen: Listen,
    /// Who may give orders on the admin listener.
    pub admin: Admin,
    /// How the OTLP listeners speak TLS.
    pub tls: Tls,
    /// Where keys come from.
    pub keys: Keys,
    /// Limits of a key that sets none.
    pub limits: KeyLimits,
    /// Limits of one request and of memory.
    pub request: RequestLimits,
    /// Where telemetry goes.
    pub sink: SinkConfig,
    /// When chunks and batches are sealed.
    pub batch: Batch,
    /// The spool; without it a request is acknowledged after the sink said yes.
    pub spool: Option<Spool>,
    /// Which browsers may send.
    pub cors: Cors,
    /// How the process stops.
    pub shutdown: Shutdown,
    /// How logs are written.
    pub log: Log,
}

/// Section `listen`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// OTLP addresses; each speaks OTLP/gRPC and OTLP/HTTP.
    pub otlp: Vec<SocketAddr>,
    /// Health, metrics and status.
    pub admin: SocketAddr,
    /// Open connections, whole process.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64.
    pub max_connections_per_ip: usize,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for a request's header.
    pub header_timeout: Duration,
    /// A connection without a request this long is closed.
    pub idle_timeout: Duration,
    /// A connection must have shown a valid key this long after it was accepted.
    pub first_key_timeout: Duration,
    /// Age at which a connection is asked to go (± 10 %).
    pub max_connection_age: Duration,
    /// How long an aged connection may finish what it began.
    pub connection_age_grace: Duration,
    /// HTTP/2 streams a connection.
    pub max_concurrent_streams: u32,
}

/// Section `admin`.
#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// What an order over `listen.admin` shows; without it orders are taken from this machine only.
    pub token: Option<Secret>,
    /// A Unix socket for its owner and group, who may give orders without the token.
    pub socket: Option<PathBuf>,
}

/// Section `tls`.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Certificate and key, both reloaded when their files change.
    Files {
        /// PEM chain, leaf first.
        cert_file: PathBuf,
        /// PEM private key.
        key_file: PathBuf,
        /// When set, clients must show a certificate signed by one of these (mTLS).
        client_ca_file: Option<PathBuf>,
    },
    /// No TLS: said aloud in the configuration, and loopback only unless that was said too.
    Plaintext,
}

/// Section `keys`.
#[derive(Debug, Clone)]
pub struct Keys {
    /// keys.yaml; reread when it changes.
    pub file: Option<PathBuf>,
    /// ClickStack's app, which hands out its ingestion keys.
    pub clickstack: Option<ClickStackKeys>,
    /// Failed authentications a minute after which an address's next ones are refused at once.
    pub max_failures_per_minute: u32,
}

/// Section `keys.clickstack`.
#[derive(Debug, Clone)]
pub struct ClickStackKeys {
    /// The app's OpAMP endpoint.
    pub url: http::Uri,
    /// PEM file of the CA that signed the app's certificate; the public CAs when absent.
    pub ca_file: Option<PathBuf>,
    /// How often the app is asked.
    pub poll_interval: Duration,
    /// How long a key that the app no longer has stays valid.
    pub grace: Duration,
    /// Whether anybody may send when ClickStack does not enforce keys.
    pub open_ingestion: bool,
    /// What its keys may do.
    pub defaults: KeyDefaults,
}

/// What the keys of a source may do that say nothing of it themselves.
#[derive(Debug, Clone)]
pub struct KeyDefaults {
    /// Their limits.
    pub limits: KeyLimits,
    /// What they may send.
    pub signals: BTreeSet<Signal>,
    /// Resource attributes that their telemetry gets.
    pub resource: BTreeMap<String, String>,
}

impl KeyDefaults {
    /// The entry of a key of this source.
    pub fn entry(&self, name: String, sha256: [u8; 32]) -> KeyEntry {
        KeyEntry {
            name,
            sha256,
            signals: self.signals.clone(),
            expires: None,
            enabled: true,
            limits: self.limits,
            resource: self.resource.clone(),
        }
    }
}

/// Section `limits`: rates of one key, each with `burst` of its allowance saved up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyLimits {
    /// Requests, charged before the body is read.
    pub requests_per_second: u32,
    /// Uncompressed bytes, charged once known.
    pub bytes_per_second: u64,
    /// Spans, log records and data points, charged once known.
    pub records_per_second: u32,
    /// How much of a second's allowance may be saved up.
    pub burst: Duration,
}

/// Section `request`: what one request may be and grow into, and what all of them may hold.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Body after decompression, in bytes.
    pub max_body_bytes: u64,
    /// Records in one request.
    pub max_records: u64,
    /// Columns it grows into, in bytes.
    pub max_column_bytes: u64,
    /// Tables and partitions it touches.
    pub max_parts: u32,
    /// Longest time from the header to the answer's first byte.
    pub timeout: Duration,
    /// A body that arrives slower than this many bytes a second over 10 s is refused.
    pub min_body_rate: u64,
    /// Memory that requests hold, whole process, in bytes.
    pub max_memory: u64,
    /// One key's share of `max_memory`, in bytes.
    pub max_memory_per_key: u64,
}

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
    /// Where to: scheme, host, port; with `protocol: http` also the path before `/v1/…`.
    pub endpoints: Vec<http::Uri>,
    /// How requests are written.
    pub protocol: ForwardProtocol,
    /// How their bytes are compressed.
    pub compression: ForwardCompression,
    /// What is sent as `authorization`; nothing when absent.
    pub token: Option<Secret>,
    /// PEM file of the CA that signed the endpoints' certificates; the public CAs when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate and private key that otelgate shows.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Uncompressed bytes of one export request.
    pub max_message_bytes: usize,
    /// Longest time from an export's first byte to its answer.
    pub timeout: Duration,
    /// Exports in flight for one signal.
    pub exports_per_signal: usize,
}

/// `sink.forward.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardProtocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

/// `sink.forward.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardCompression {
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
    /// HTTP(S) addresses: one, or replicas of the same tables.
    pub urls: Vec<http::Uri>,
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
    /// Client's timeout of one insert.
    pub insert_timeout: Duration,
    /// `max_execution_time` of an insert, shorter than `insert_timeout`.
    pub max_execution_time: Duration,
    /// Inserts in flight for one table.
    pub inserts_per_table: usize,
    /// How blocks are compressed.
    pub compression: BlockCompression,
    /// ClickHouse's setting of that name: whether an insert builds skip indexes, or the first merge of its part.
    pub materialize_skip_indexes_on_insert: bool,
    /// Section `logs`: whether logs are changed as ClickStack's collector changes them (JSON and map bodies into attributes, severity from
    /// text).
    pub clickstack_transform: bool,
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

/// Section `batch`.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// A batch with this many rows is sealed.
    pub max_rows: u64,
    /// A batch with this many compressed bytes is sealed.
    pub max_bytes: u64,
    /// A batch with this many uncompressed bytes is sealed.
    pub max_uncompressed_bytes: u64,
    /// A batch that touches this many parts is sealed.
    pub max_parts: u32,
    /// A batch this old is sealed when its lane has nothing waiting for delivery.
    pub max_age: Duration,
    /// The longest a request waits for company before its chunk is sealed.
    pub commit_interval: Duration,
    /// A chunk with this many rows is sealed at once.
    pub max_chunk_rows: u64,
    /// Without a spool: all who wait for a batch that the sink has not taken this long after it was opened are refused
    /// together.
    pub deadline: Duration,
}

/// Section `spool`.
#[derive(Debug, Clone)]
pub struct Spool {
    /// Folder of the batch files; belongs to one process.
    pub dir: PathBuf,
    /// All files together.
    pub max_bytes: u64,
    /// One key's share of `max_bytes`.
    pub max_bytes_per_key: u64,
    /// The disk keeps at least this much free.
    pub min_free_bytes: u64,
    /// How long a digest of a request whose answer may not have arrived is kept.
    pub digest_ttl: Duration,
}

/// Section `cors`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// `*`, or the origins that may send.
    pub allowed_origins: AllowedOrigins,
}

/// Which origins a browser may send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These, compared as ASCII without case.
    List(BTreeSet<String>),
}

/// Section `shutdown`.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How long readiness is off before the listeners close; load balancers need it to look away.
    pub drain_delay: Duration,
    /// The process exits this long after SIGTERM at the latest.
    pub deadline: Duration,
}

/// Section `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of tracing-subscriber.
    pub level: String,
}

/// An entry of keys.yaml.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEntry {
    /// Appears in logs, metrics and `/status`.
    pub name: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What the key may send.
    pub signals: BTreeSet<Signal>,
    /// Not valid from then on.
    pub expires: Option<std::time::SystemTime>,
    /// `false`: refused as if it were unknown.
    pub enabled: bool,
    /// Its limits, defaults filled in.
    pub limits: KeyLimits,
    /// Resource attributes that its telemetry gets, whatever the client sent.
    pub resource: BTreeMap<String, String>,
}
