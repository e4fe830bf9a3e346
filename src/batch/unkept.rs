//! Records that are not stored since their table would not keep them: counted by key, and said in a line a key and table from time to time, not a line a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::chunk::Unkept;
use crate::keys::Key;
use crate::metrics::{Metrics, OfUnkept};

/// What goes on is said again after this long.
const AGAIN: Duration = Duration::from_secs(3600);

/// Counts them. Bounded by the names of keys, which the configuration bounds.
pub(super) struct UnkeptRecords {
    metrics: Arc<Metrics>,
    said: Mutex<HashMap<OfUnkept, Said>>,
}

struct Said {
    at: Instant,
    since: u64,
}

impl UnkeptRecords {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        UnkeptRecords { metrics, said: Mutex::default() }
    }

    /// A request of this key is kept but for these.
    pub(super) fn count(&self, key: &Key, unkept: &[Unkept]) {
        for Unkept { table, reason, records, why } in unkept {
            key.state.unkept(*records);
            let of = OfUnkept { key: key.entry.name.as_str().into(), table, reason };
            self.metrics.records_unkept.get_or_create(&of).inc_by(*records);
            let Some(others) = self.may_say(of, *records) else { continue };
            let key = &key.entry.name;
            tracing::warn!(key, table, why, since_last_said = others, "records are not stored; their client is told");
        }
    }

    /// If it may be said, how many records were not named since it was said last.
    fn may_say(&self, of: OfUnkept, records: u64) -> Option<u64> {
        let now = Instant::now();
        let mut said = self.said.lock();
        let Some(last) = said.get_mut(&of) else {
            said.insert(of, Said { at: now, since: 0 });
            return Some(0);
        };
        if now.duration_since(last.at) < AGAIN {
            last.since += records;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_an_hour_by_key_and_table() {
        let records = UnkeptRecords::new(Arc::default());
        let of = |key: &str, table| OfUnkept { key: key.into(), table, reason: "too_old" };
        assert_eq!(records.may_say(of("a", "otel_logs"), 3), Some(0));
        assert_eq!(records.may_say(of("a", "otel_logs"), 3), None);
        assert_eq!(records.may_say(of("a", "otel_logs"), 4), None);
        assert_eq!(records.may_say(of("a", "otel_traces"), 1), Some(0));
        assert_eq!(records.may_say(of("b", "otel_logs"), 1), Some(0));
        tokio::time::advance(AGAIN).await;
        assert_eq!(records.may_say(of("a", "otel_logs"), 5), Some(7));
        assert_eq!(records.may_say(of("a", "otel_logs"), 5), None);
    }
}
