//! A key's own series among the metrics, each looked up once: a lookup takes a lock that the requests of all keys share.

use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;

use crate::metrics::{Metrics, OfKey, OfKeyName};
use crate::signal::Signal;

/// The series of one key in one process's metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: OnceLock<Counter>,
    /// Bytes and records, a signal.
    received: [OnceLock<(Counter, Counter)>; Signal::ALL.len()],
}

impl Counts {
    /// A request of the key of this name came, whatever becomes of it.
    pub(crate) fn request(&self, metrics: &Metrics, key: &str) {
        let look_up = || metrics.key_requests.get_or_create_owned(&OfKeyName { key: key.into() });
        self.requests.get_or_init(look_up).inc();
    }

    /// So many bytes and records of it were accepted.
    pub(crate) fn received(&self, metrics: &Metrics, key: &str, signal: Signal, (bytes, records): (u64, u64)) {
        let look_up = || {
            let of = OfKey { key: key.into(), signal: signal.name() };
            (metrics.received_bytes.get_or_create_owned(&of), metrics.received_records.get_or_create_owned(&of))
        };
        let (of_bytes, of_records) = self.received[signal.index()].get_or_init(look_up);
        of_bytes.inc_by(bytes);
        of_records.inc_by(records);
    }
}
