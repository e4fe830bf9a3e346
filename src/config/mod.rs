//! What the person running otelgate wrote, and what of it is valid.
//!
//! Two types, two steps: `yaml` reads the text into a tree that knows its lines, and `check` turns that into a
//! [`Config`] or into every mistake at once. Both are pure: they open no socket, and see the environment and other
//! files only through [`Surroundings`]. Everything behind them may trust a [`Config`].
//!
//! [`load()`] is the way in; `section` is how fields are asked for, and why an unknown one cannot pass.

mod change;
mod check;
mod check_forward;
mod check_keys;
mod check_listen;
mod check_oidc;
mod check_shared;
mod check_sink;
mod clickhouse_url;
mod key_entry;
mod keys_edit;
mod keys_file;
mod load;
mod origin;
mod recorder;
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

pub(crate) use change::{Next, read_again};
pub(crate) use key_entry::KeyRules;
pub use keys_edit::EditError;
pub(crate) use keys_edit::KeysText;
pub(crate) use keys_file::read_keys;
pub use load::{Loaded, Places, load, load_keys_place, load_places};
pub(crate) use origin::AllowedOrigins;
pub(crate) use recorder::{Recorder, Seen};
pub use remark::{Mistakes, Remark};
pub use secret::Secret;
pub use surroundings::{Process, Surroundings};

/// Whether `name` can be a key's name: up to 64 letters, digits, `.`, `_`, `-`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn key_name(name: &str) -> Result<String, String> {
    value::name(name)
}

/// A time as the configuration has them: `24h`, `10m`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn time(text: &str) -> Result<Duration, String> {
    value::time(text)
}

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::certificate::CertificateName;
use crate::proxied::Forwarders;
use crate::signal::Signal;

/// A configuration in which every value is valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// What otelgate keeps between two starts lies in folders below this one.
    pub(crate) state_dir: PathBuf,
    /// Addresses and what connections may do.
    pub listen: Listen,
    /// Who may give orders on the admin listener.
    pub admin: Admin,
    /// How the OTLP listeners speak TLS.
    pub(crate) tls: Tls,
    /// Where keys come from.
    pub(crate) keys: Keys,
    /// Limits of a key that sets none.
    pub(crate) limits: KeyLimits,
    /// Through what replicas share the limits of keys.
    pub(crate) shared_limits: Option<SharedLimits>,
    /// Limits of one request and of memory.
    pub(crate) request: RequestLimits,
    /// Where telemetry goes.
    pub sink: SinkConfig,
    /// When chunks and batches are sealed.
    pub(crate) batch: Batch,
    /// The spool; none where the configuration says so: a request is acknowledged after the sink said yes then.
    pub spool: Option<Spool>,
    /// Which browsers may send.
    pub(crate) cors: Cors,
    /// How the process stops.
    pub(crate) shutdown: Shutdown,
    /// How logs are written.
    pub log: Log,
}

/// Section `listen`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// OTLP addresses; each speaks OTLP/gRPC and OTLP/HTTP.
    pub(crate) otlp: Vec<SocketAddr>,
    /// Health, metrics and status.
    pub admin: SocketAddr,
    /// Open connections, whole process.
    pub(crate) max_connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64.
    pub(crate) max_connections_per_ip: usize,
    /// Longest TLS handshake.
    pub(crate) handshake_timeout: Duration,
    /// Longest wait for a request's header.
    pub(crate) header_timeout: Duration,
    /// A connection without a request this long is closed.
    pub(crate) idle_timeout: Duration,
    /// A connection must have shown a valid key this long after it was accepted.
    pub(crate) first_key_timeout: Duration,
    /// Age at which a connection is asked to go (± 10 %).
    pub(crate) max_connection_age: Duration,
    /// How long an aged connection may finish what it began.
    pub(crate) connection_age_grace: Duration,
    /// HTTP/2 streams a connection.
    pub(crate) max_concurrent_streams: u32,
    /// Peers whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Vec<IpNet>,
    /// Peers whose requests say whom they are from.
    pub(crate) forwarded: Option<Forwarders>,
    /// How long a start waits for another otelgate that has its ports to stop and hand them over.
    pub(crate) handover: Duration,
    /// Whether gRPC's reflection is served.
    pub(crate) grpc_reflection: bool,
}

impl Listen {
    /// The peers behind which there are many clients.
    pub(crate) fn proxies(&self) -> Vec<IpNet> {
        let forwarders = self.forwarded.iter().flat_map(|forwarded| &forwarded.from);
        self.proxy_protocol.iter().chain(forwarders).copied().collect()
    }
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
pub(crate) enum Tls {
    /// Certificate and key, both reloaded when their files change.
    Files {
        /// PEM chain, leaf first.
        cert_file: PathBuf,
        /// PEM private key.
        key_file: PathBuf,
        /// When set, clients must show a certificate signed by one of these (mTLS).
        client_ca_file: Option<PathBuf>,
        /// What these have revoked.
        client_crl_file: Option<PathBuf>,
    },
    /// No TLS: said aloud in the configuration, and loopback only unless that was said too.
    Plaintext,
}

/// Section `keys`.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// keys.yaml; reread when it changes.
    pub(crate) file: Option<PathBuf>,
    /// ClickStack's app, which hands out its ingestion keys.
    pub(crate) clickstack: Option<ClickStackKeys>,
    /// Issuers of tokens that are keys.
    pub(crate) oidc: Vec<OidcIssuer>,
    /// Failed authentications a minute after which an address's next ones are refused at once.
    pub(crate) max_failures_per_minute: u32,
}

impl Keys {
    /// Whether keys.yaml is the only source.
    fn is_file_alone(&self) -> bool {
        self.clickstack.is_none() && self.oidc.is_empty()
    }
}

impl Tls {
    /// Whether clients are asked for certificates.
    fn asks_clients(&self) -> bool {
        matches!(self, Tls::Files { client_ca_file: Some(_), .. })
    }
}

/// Section `keys.clickstack`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClickStackKeys {
    /// The app's OpAMP endpoint.
    pub(crate) url: http::Uri,
    /// PEM file of the CA that signed the app's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// How often the app is asked.
    pub(crate) poll_interval: Duration,
    /// How long a key that the app no longer has stays valid.
    pub(crate) grace: Duration,
    /// Whether anybody may send when ClickStack does not enforce keys.
    pub(crate) open_ingestion: bool,
    /// What its keys may do.
    pub(crate) defaults: KeyDefaults,
}

/// An entry of section `keys.oidc`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OidcIssuer {
    /// Its address, to the letter as its tokens have it.
    pub(crate) issuer: String,
    /// A token must be meant for one of these.
    pub(crate) audience: Vec<String>,
    /// PEM file of the CA that signed the issuer's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// The claim that names a token's bearer.
    pub(crate) name_claim: String,
    /// What the names of its keys begin with.
    pub(crate) name_prefix: String,
    /// How many bearers get a key of their own; the others share one.
    pub(crate) max_names: usize,
    /// How far the issuer's clock may differ.
    pub(crate) leeway: Duration,
    /// How often its keys are fetched.
    pub(crate) refresh_interval: Duration,
    /// How long fetched keys count while the issuer is away.
    pub(crate) keys_max_age: Duration,
    /// What a token may do to which none of the rules fits.
    pub(crate) defaults: KeyDefaults,
    /// The first that fits counts.
    pub(crate) rules: Vec<OidcRule>,
}

/// What tokens with a certain claim may do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OidcRule {
    /// The claim's name.
    pub(crate) claim: String,
    /// What it is, lists, or has among its words.
    pub(crate) value: String,
    /// What they may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Their limits.
    pub(crate) limits: KeyLimits,
}

/// What the keys of a source may do that say nothing of it themselves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyDefaults {
    /// Their limits.
    pub(crate) limits: KeyLimits,
    /// What they may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Resource attributes that their telemetry gets.
    pub(crate) resource: BTreeMap<String, String>,
    /// The origins of the web pages that they are for; any, and none, when nothing is said.
    pub(crate) origins: AllowedOrigins,
}

impl KeyDefaults {
    /// The entry of a key of this source.
    pub(crate) fn entry(&self, name: String, sha256: [u8; 32]) -> KeyEntry {
        KeyEntry {
            name,
            sha256,
            certificate: None,
            signals: self.signals.clone(),
            expires: None,
            enabled: true,
            limits: self.limits,
            resource: self.resource.clone(),
            origins: self.origins.clone(),
        }
    }
}

/// Section `limits`: rates of one key, each with `burst` of its allowance saved up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KeyLimits {
    /// Requests, charged before the body is read.
    pub(crate) requests_per_second: u32,
    /// Uncompressed bytes, charged once known.
    pub(crate) bytes_per_second: u64,
    /// Spans, log records and data points, charged once known.
    pub(crate) records_per_second: u32,
    /// How much of a second's allowance may be saved up.
    pub(crate) burst: Duration,
}

/// Section `limits.shared`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedLimits {
    /// `redis://` or `rediss://`, without a password.
    pub(crate) url: String,
    /// What the server wants to hear.
    pub(crate) password: Option<Secret>,
    /// PEM file of the CA that signed the server's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// What the names of all that is kept there begin with: replicas with the same one share.
    pub(crate) prefix: String,
    /// How often replicas say what their keys used.
    pub(crate) flush: Duration,
}

/// The largest request, as far as its key pays for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Largest {
    /// Its body, in bytes.
    pub body_bytes: u64,
    /// Its records.
    pub records: u64,
}

impl RequestLimits {
    /// The largest request that is taken.
    pub(crate) fn largest(&self) -> Largest {
        Largest { body_bytes: self.max_body_bytes, records: self.max_records }
    }
}

/// Section `request`: what one request may be and grow into, and what all of them may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Body after decompression, in bytes.
    pub(crate) max_body_bytes: u64,
    /// Records in one request.
    pub(crate) max_records: u64,
    /// Columns it grows into, in bytes.
    pub(crate) max_column_bytes: u64,
    /// Tables and partitions it touches.
    pub(crate) max_parts: u32,
    /// Longest time from the header to the answer's first byte.
    pub(crate) timeout: Duration,
    /// A body that arrives slower than this many bytes a second over 10 s is refused.
    pub(crate) min_body_rate: u64,
    /// Memory that requests hold, whole process, in bytes.
    pub(crate) max_memory: u64,
    /// One key's share of `max_memory`, in bytes.
    pub(crate) max_memory_per_key: u64,
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
    pub(crate) endpoints: Vec<http::Uri>,
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
    /// Facts of the tables older than this are read again before an insert.
    pub schema_max_age: Duration,
    /// An answer older than this does not tell somebody who needs to know whether ClickHouse is there.
    pub answer_max_age: Duration,
    /// Inserts in flight for one table.
    pub inserts_per_table: usize,
    /// How blocks are compressed.
    pub compression: BlockCompression,
    /// ClickHouse's setting of that name: whether an insert builds skip indexes, or the first merge of its part.
    pub materialize_skip_indexes_on_insert: bool,
    /// Whether a materialized view that is not ClickStack's own may fail without failing the insert (`materialized_views_ignore_errors`).
    pub ignore_view_errors: bool,
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
pub(crate) struct Batch {
    /// A batch with this many rows is sealed.
    pub(crate) max_rows: u64,
    /// A batch with this many compressed bytes is sealed.
    pub(crate) max_bytes: u64,
    /// A batch with this many uncompressed bytes is sealed.
    pub(crate) max_uncompressed_bytes: u64,
    /// A batch that touches this many parts is sealed.
    pub(crate) max_parts: u32,
    /// A batch this old is sealed when its lane has nothing waiting for delivery.
    pub(crate) max_age: Duration,
    /// The longest a request waits for company before its chunk is sealed.
    pub(crate) commit_interval: Duration,
    /// A chunk with this many rows is sealed at once.
    pub(crate) max_chunk_rows: u64,
    /// Without a spool: all who wait for a batch that the sink has not taken this long after it was opened are refused
    /// together.
    pub(crate) deadline: Duration,
}

/// Section `spool`.
#[derive(Debug, Clone)]
pub struct Spool {
    /// Folder of the batch files; belongs to one process.
    pub dir: PathBuf,
    /// All files together.
    pub(crate) max_bytes: u64,
    /// One key's share of `max_bytes`.
    pub(crate) max_bytes_per_key: u64,
    /// The disk keeps at least this much free.
    pub(crate) min_free_bytes: u64,
    /// How long a digest of a request whose answer may not have arrived is kept.
    pub digest_ttl: Duration,
}

/// Section `cors`.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    /// `*`, or the origins that may send.
    pub(crate) allowed_origins: AllowedOrigins,
}

/// Section `shutdown`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shutdown {
    /// How long readiness is off before the listeners close; load balancers need it to look away.
    pub(crate) drain_delay: Duration,
    /// The process exits this long after SIGTERM at the latest.
    pub(crate) deadline: Duration,
}

/// Section `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of tracing-subscriber.
    pub level: String,
}

/// A size as one writes it in the configuration.
pub fn show_size(bytes: u64) -> String {
    value::show_size(bytes)
}

/// An entry of keys.yaml.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEntry {
    /// Appears in logs, metrics and `/status`.
    pub(crate) name: String,
    /// SHA-256 of the key, or what stands for the certificate's name among digests.
    pub(crate) sha256: [u8; 32],
    /// The client certificate that it belongs to, instead of a key.
    pub(crate) certificate: Option<CertificateName>,
    /// What the key may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Not valid from then on.
    pub(crate) expires: Option<std::time::SystemTime>,
    /// `false`: refused as if it were unknown.
    pub(crate) enabled: bool,
    /// Its limits, defaults filled in.
    pub(crate) limits: KeyLimits,
    /// Resource attributes that its telemetry gets, whatever the client sent.
    pub(crate) resource: BTreeMap<String, String>,
    /// The origins of the web pages that it is for: a request of another, or of none, is refused. Any: it is not for pages.
    pub(crate) origins: AllowedOrigins,
}
