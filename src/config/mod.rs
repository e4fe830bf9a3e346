//! What the person running otelgate wrote, and what of it is valid.
//!
//! Two types, two steps: `yaml` reads the text into a tree that knows its lines, and `check` turns that into a
//! [`Config`] or into every mistake at once. Both are pure: they open no socket, and see the environment and other
//! files only through [`Surroundings`]. Everything behind them may trust a [`Config`].
//!
//! [`load()`] is the way in; `section` is how fields are asked for, and why an unknown one cannot pass.

mod change;
mod check;
mod check_acme;
mod check_forward;
mod check_keys;
mod check_listen;
mod check_oidc;
mod check_shared;
mod check_sink;
mod check_telemetry;
mod check_tls;
mod clickhouse_url;
mod key_entry;
mod keys_edit;
mod keys_file;
mod load;
mod of_keys;
mod of_sink;
mod of_tls;
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

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::proxied::Forwarders;
use crate::signal::Signal;

pub(crate) use change::{Next, TTL, read_again};
pub(crate) use clickhouse_url::place;
pub(crate) use key_entry::KeyRules;
pub use keys_edit::EditError;
pub(crate) use keys_edit::KeysText;
pub(crate) use keys_file::read_keys;
pub use load::{Loaded, load, load_keys_place, load_places};
pub use of_keys::KeyEntry;
pub(crate) use of_keys::{
    ClickStackKeys, KeyDefaults, KeyLimits, Keys, OidcIssuer, OidcRule, SharedLimits, SharedServer,
};
pub use of_sink::{BlockCompression, ClickHouse, Forward, Layout, Login, Quorum, Replicated, SinkConfig, Ttl};
pub(crate) use of_sink::{Endpoint, ForwardCompression, ForwardProtocol};
pub(crate) use of_tls::{Acme, CertificateFiles, Challenge, Eab, Tls, TlsFiles, TlsVersion};
pub(crate) use origin::AllowedOrigins;
pub(crate) use recorder::{Recorder, Seen};
pub use remark::{Mistakes, Remark};
pub use secret::Secret;
pub(crate) use secret::digest_of;
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
    /// What otelgate writes of itself.
    pub telemetry: Telemetry,
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
    /// TLS handshakes a second, whole process, resumed ones not counted; as many at once as there may be connections.
    pub(crate) max_handshakes_per_second: u32,
    /// The same of one IPv4 address or IPv6 /64.
    pub(crate) max_handshakes_per_second_per_ip: u32,
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
    /// Where otelgates tell each other of which requests they have digests; nowhere when absent.
    pub(crate) shared_digests: Option<SharedServer>,
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

/// Section `telemetry`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// How often metrics are written; `None`: never.
    pub(crate) metrics: Option<Duration>,
    /// Lines of the log that are written: these and worse.
    pub logs: Option<tracing::Level>,
    /// Which share of requests is written as traces, from 0 to 1.
    pub traces: f64,
    /// Bytes of the spool that it may take.
    pub(crate) max_spool_bytes: u64,
}

impl Telemetry {
    /// Whether anything is written.
    pub(crate) fn is_on(&self) -> bool {
        self.metrics.is_some() || self.logs.is_some() || self.traces > 0.0
    }
}

/// A size as one writes it in the configuration.
pub fn show_size(bytes: u64) -> String {
    value::show_size(bytes)
}

/// Where a running process is asked, and where its files are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The configuration's file.
    pub file: PathBuf,
    /// `listen.admin`.
    pub listener: SocketAddr,
    /// Section `admin`.
    pub admin: Admin,
    /// The spool; none where the configuration says so.
    pub spool: Option<Spool>,
    /// `keys.file`; none where keys come from elsewhere only.
    pub keys_file: Option<PathBuf>,
    /// Whether the sink is a collector.
    forwards: bool,
}

impl Places {
    /// Whether the sink has a place for the signal of this name: ClickStack has no table for profiles.
    pub fn takes(&self, signal: &str) -> bool {
        self.forwards || signal != Signal::Profiles.name()
    }
}
