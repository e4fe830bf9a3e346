//! Every metric of the process, in one struct; each name starts with `otelgate_`.
//!
//! To add a metric is to add a line to the list below: its field's name is its name in Prometheus (a counter's gets `_total`),
//! its help text is its documentation. Labels come from the configuration or from this code, never from a client: what a
//! stranger sends cannot make the set of series grow.

mod process;
pub mod text;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Label `reason`: one of a few words of this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    /// For example `per_address`.
    pub(crate) reason: &'static str,
}

/// Label `outcome`: one of a few words of this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// For example `ok`.
    pub(crate) outcome: &'static str,
}

/// Label `signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfSignal {
    /// [`Signal::name`](crate::signal::Signal::name).
    pub(crate) signal: &'static str,
}

/// Labels of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRequest {
    /// [`Signal::name`](crate::signal::Signal::name).
    pub(crate) signal: &'static str,
    /// `grpc`, `http-protobuf` or `http-json`.
    pub(crate) protocol: &'static str,
    /// `accepted`, `partial` or `refused`.
    pub(crate) outcome: &'static str,
}

/// Label `key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfKeyName {
    /// The key's name, never the key.
    pub(crate) key: Arc<str>,
}

/// Labels of a refusal of a key's request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRefusal {
    /// The key's name, never the key.
    pub(crate) key: Arc<str>,
    /// One of a few words of this code.
    pub(crate) reason: &'static str,
}

/// Labels of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfSource {
    /// `file`, `clickstack`, `oidc`.
    pub(crate) source: &'static str,
    /// `valid`, `vanished` or `refused`.
    pub(crate) state: &'static str,
}

/// Labels of what a key sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfKey {
    /// The key's name in the configuration, never the key.
    pub(crate) key: Arc<str>,
    /// [`Signal::name`](crate::signal::Signal::name).
    pub(crate) signal: &'static str,
}

/// Labels of a handshake, each one of a few words of this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfHandshake {
    /// `1.2` or `1.3`.
    pub(crate) version: &'static str,
    /// What the keys were agreed in, for example `X25519MLKEM768`; empty where a session of TLS 1.2 was resumed.
    pub(crate) group: &'static str,
    /// `full` or `resumed`.
    pub(crate) kind: &'static str,
}

/// Label `certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfCertificate {
    /// The configuration's field that names the file, for example `tls.cert_file`.
    pub(crate) certificate: Arc<str>,
}

/// Label `table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfTable {
    /// The table's name, without its database.
    pub(crate) table: Arc<str>,
}

/// Labels of records that are not stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfUnkept {
    /// The key's name in the configuration, never the key.
    pub(crate) key: Arc<str>,
    /// The table's name, without its database.
    pub(crate) table: &'static str,
    /// `too_old` or `too_late`.
    pub(crate) reason: &'static str,
}

/// Labels of an insert.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfInsert {
    /// The table's name, without its database.
    pub(crate) table: Arc<str>,
    /// `delivered`, `retry`, `unknown`, `too_much`, `hold` or `refused`.
    pub(crate) outcome: &'static str,
}

/// Label `zone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfZone {
    /// `own` or `other`.
    pub(crate) zone: &'static str,
}

/// Label `shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfShard {
    /// Its place in the configuration, from 1.
    pub(crate) shard: u64,
}

impl OfShard {
    /// The shard at this place, counted from 0.
    pub(crate) fn at(place: Option<usize>) -> Option<OfShard> {
        place.map(|place| OfShard { shard: place as u64 + 1 })
    }
}

/// Labels of an insert at a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfShardInsert {
    /// Its place in the configuration, from 1.
    pub(crate) shard: u64,
    /// `delivered`, `retry`, `unknown`, `too_much`, `hold` or `refused`.
    pub(crate) outcome: &'static str,
}

/// Labels of a table's column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfColumn {
    /// The table's name, without its database.
    pub(crate) table: Arc<str>,
    /// The column's name.
    pub(crate) column: Arc<str>,
}

/// Labels of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRows {
    /// The key's name in the configuration, never the key.
    pub(crate) key: Arc<str>,
    /// The table's name, without its database.
    pub(crate) table: Arc<str>,
    /// `accepted`, which is the sum of `stored`, `waiting`, `held`, `quarantined`, `lost` and `dropped`.
    pub(crate) state: &'static str,
}

/// Makes histograms of durations in seconds, from 1 ms to about 65 s, each bucket twice the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(std::iter::successors(Some(0.001), |bound| Some(bound * 2.0)).take(17))
    }
}

/// A histogram of durations for each value of a label.
pub(crate) type SecondsBy<Labels> = Family<Labels, Histogram, Seconds>;

/// Declares the struct and registers each family under its field's name.
macro_rules! families {
    ($($name:ident: $kind:ty = $help:literal $(, $make:expr)?;)+) => {
        /// Every metric family of the process; clones of a family share their values.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub(crate) $name: $kind,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("otelgate");
                $(
                    let $name = families!(@make $kind $(, $make)?);
                    registry.register(stringify!($name), $help, $name.clone());
                )+
                registry.register("build", "What runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
                registry.register_collector(Box::new(process::Process));
                Metrics { registry, $($name,)+ }
            }
        }
    };
    (@make $kind:ty) => { <$kind>::default() };
    (@make $kind:ty, $make:expr) => { $make };
}

families! {
    connections_open: Gauge = "Connections open now";
    connections_accepted: Counter = "Connections accepted";
    connections_refused: Family<Reason, Counter> = "Connections closed before their TLS handshake, by reason";
    connections_closed: Family<Reason, Counter> = "Connections that otelgate closed, by reason";
    accept_errors: Counter = "Errors of accept(), after which the listener backed off and went on";
    tls_handshakes: Family<OfHandshake, Counter> = "TLS handshakes that succeeded, by version, group of the key exchange, and kind: full, resumed";
    handshakes_failed: Family<Reason, Counter> = "TLS handshakes that failed, by reason";
    certificate_reloads: Family<Outcome, Counter> = "Attempts to load a changed certificate, by outcome";
    acme_orders: Family<Outcome, Counter> = "Attempts to order a certificate (tls.acme), by outcome: ok, failed";
    certificate_expiry_seconds: Family<OfCertificate, Gauge> = "When a certificate file's certificates are over, in seconds since 1970: a chain with the first of them, a file of CAs with the last";
    open_files_limit: Gauge = "Files that the process may have open";

    requests: Family<OfRequest, Counter> = "OTLP requests answered, by signal, protocol and outcome";
    requests_in_flight: Gauge = "Requests being served now";
    refusals: Family<Reason, Counter> = "Requests refused, by reason";
    request_seconds: SecondsBy<OfSignal> = "From a request's header to its answer, in seconds", Family::new_with_constructor(Seconds);
    key_requests: Family<OfKeyName, Counter> = "Requests with a valid key, whatever became of them, by key";
    key_refusals: Family<OfRefusal, Counter> = "Requests with a valid key refused, by key and reason";
    key_last_used_seconds: Family<OfKeyName, Gauge> = "When a key was used last, in seconds since 1970, by key";
    received_bytes: Family<OfKey, Counter> = "Uncompressed bytes accepted, by key and signal";
    received_records: Family<OfKey, Counter> = "Spans, log records and data points accepted, by key and signal";
    records_unkept: Family<OfUnkept, Counter> = "Records of accepted requests that were not stored, and their clients told so, by key, table and reason: too_old (past the table's time to live), too_late (no column can hold their time)";
    memory_held_bytes: Gauge = "Memory that requests hold now";
    digests_remembered: Gauge = "Requests whose answer may not have arrived, by which a repeat is known";

    telemetry_dropped_records: Family<OfSignal, Counter> = "Records of otelgate's own telemetry that found no room, by signal; what metrics count goes out later";
    log_lines_dropped: Counter = "Lines of the log that could not be written: nothing waits for who reads it";

    keys_valid: Gauge = "Keys that are valid now";
    keys: Family<OfSource, Gauge> = "Keys, by source and state: valid, vanished (their source no longer has them; good for its time of grace), expired, disabled";
    vanished_key_uses: Family<OfKeyName, Counter> = "Requests with a key that its source no longer has, by key";
    key_polls: Family<Outcome, Counter> = "Questions to ClickStack's app for its keys, by outcome";
    oidc_fetches: Family<Outcome, Counter> = "Fetches of OpenID Connect issuers' keys, by outcome";
    token_refusals: Family<Reason, Counter> = "Tokens refused, by reason";
    config_reloads: Family<Outcome, Counter> = "Attempts to take over a changed configuration, by outcome: ok, refused";
    config_refused: Gauge = "1 while the configuration file says something that is not taken over because it has mistakes";
    config_waiting: Gauge = "Settings that were changed in the configuration file and wait for a restart";
    key_reloads: Family<Outcome, Counter> = "Attempts to load changed keys, by outcome";
    shared_limit_calls: Family<Outcome, Counter> = "Calls by which replicas share what their keys used, by outcome";
    shared_limit_connected: Gauge = "1 while the server answers through which limits are shared, 0 while it does not";
    shared_limit_replicas: Gauge = "Replicas that share limits, seen last";
    shared_limit_divided_by: Gauge = "One in so many of each limit is this replica's own now: 1 while limits are shared";
    shared_digest_calls: Family<Outcome, Counter> = "Calls by which gateways tell each other of which requests they are at, by outcome";
    shared_digest_connected: Gauge = "1 while the server answers through which digests are shared, 0 while it does not";
    authentication_failures: Counter = "Requests without a valid key";

    rows: Family<OfRows, Gauge> = "What became of every accepted row, over all processes that the spool has seen, by key, table and state";
    recovered_files: Family<Reason, Counter> = "Spool files that the start did not find as they were written, by reason: torn, damaged (rows may be lost), unreadable (kept in quarantine), journal (counters may be less than they were)";
    spool_bytes: Gauge = "Bytes of all files in the spool";
    oldest_batch_seconds: Gauge = "Age of the oldest batch that is not known to be in, in seconds; 0 when there is none";
    requests_joined: Counter = "Requests that repeated one whose answer may not have arrived, and were not stored again";
    batches_sealed: Family<OfSignal, Counter> = "Batches sealed, by signal";
    batches_delivered: Family<OfSignal, Counter> = "Batches known to be in, by signal";
    batches_waiting: Family<OfSignal, Gauge> = "Sealed batches not yet known to be in, by signal";
    batch_bytes_waiting: Family<OfSignal, Gauge> = "Compressed bytes of sealed batches not yet known to be in, by signal";
    inserts: Family<OfInsert, Counter> = "Attempts to deliver a part, by table and outcome";
    insert_rows: Family<OfTable, Counter> = "Rows delivered, by table";
    insert_rows_limit: Family<OfTable, Gauge> = "Most rows of a table that are sent at once, because more were too much for the sink; 0: as many as there are";
    insert_rows_without: Family<OfColumn, Counter> = "Rows delivered without a column that their table no longer has, by table and column";
    insert_bytes: Family<OfTable, Counter> = "Compressed bytes delivered, by table";
    insert_seconds: SecondsBy<OfTable> = "Duration of an attempt to deliver a part, in seconds", Family::new_with_constructor(Seconds);
    shard_inserts: Family<OfShardInsert, Counter> = "Attempts to deliver a part to a shard, by the shard's place in the configuration and outcome";
    shard_insert_rows: Family<OfShard, Counter> = "Rows delivered, by the shard's place in the configuration";
    shard_parts_held: Family<OfShard, Gauge> = "Parts that wait for a person, by the place in the configuration of the shard that they were given to";
    forward_exports: Family<OfZone, Counter> = "Exports sent to a collector, whatever became of them, by whether its endpoint is in otelgate's own zone (every one is where no zones are configured): own, other";
    forward_unknown_records: Family<OfSignal, Counter> = "Records of exports whose outcome was unknown, by signal: each may be twice behind the collector";
    forward_rejected_records: Family<OfSignal, Counter> = "Records that the collector took an export without, by signal";
    parts_held: Family<OfTable, Gauge> = "Parts that wait for a person, by table";
}

impl Metrics {
    /// Counts lines of the log that could not be written.
    pub fn log_lines_dropped(&self) -> &Counter {
        &self.log_lines_dropped
    }

    /// A certificate file was read whose certificates are over at `ends`, in seconds since 1970.
    pub(crate) fn certificate_ends(&self, certificate: &str, ends: Option<i64>) {
        if let Some(ends) = ends {
            let certificate = certificate.into();
            self.certificate_expiry_seconds.get_or_create(&OfCertificate { certificate }).set(ends);
        }
    }

    /// All values in Prometheus' (OpenMetrics') text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::*;

    #[test]
    fn every_name_starts_with_otelgate_and_values_are_shared() {
        let metrics = Metrics::default();
        metrics.connections_accepted.inc();
        metrics.connections_refused.get_or_create(&Reason { reason: "per_address" }).inc_by(2);
        metrics.insert_seconds.get_or_create(&OfTable { table: "otel_logs".into() }).observe(0.25);
        let text = metrics.text().expect("a String takes all text");
        assert!(text.contains("otelgate_connections_accepted_total 1\n"), "{text}");
        assert!(text.contains("otelgate_connections_refused_total{reason=\"per_address\"} 2\n"));
        assert!(text.contains("otelgate_insert_seconds_bucket{le=\"0.256\",table=\"otel_logs\"} 1\n"), "{text}");
        assert!(
            text.contains(concat!("otelgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{text}"
        );
        for process in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"] {
            assert_eq!(
                text.contains(&format!("\notelgate_process_{process} ")),
                cfg!(target_os = "linux"),
                "{process}"
            );
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("otelgate_"), "{line}");
        }
    }
}
