//! What `/status` says of keys: what each may do, what it did, and what it may do now.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::{Account, milliseconds};
use crate::keys::{Amounts, Key, KeyRing};
use crate::sink::Sink;

/// All keys of one name: one mostly, more while a key is rotated, and none once it is gone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct KeyStatus {
    /// Their rows.
    #[serde(flatten)]
    pub(crate) rows: Account,
    /// Each of them.
    pub(crate) entries: Vec<EntryStatus>,
}

/// A key.
#[derive(Debug, Serialize)]
pub(crate) struct EntryStatus {
    /// Where it comes from.
    pub(crate) source: &'static str,
    /// `valid`, `vanished` (its source no longer has it; good for its time of grace), `expired` or `disabled`.
    pub(crate) state: &'static str,
    /// What it may send, of what the sink takes.
    pub(crate) signals: Vec<&'static str>,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires_ms: Option<u64>,
    /// When it was used last, in milliseconds since 1970, as far as this process knows.
    pub(crate) last_used_ms: Option<u64>,
    /// Records of accepted requests that were not stored, for their table would not keep them (too old, or too late), as far as this process knows.
    pub(crate) unkept_records: u64,
    /// What was charged since this process knows the key with these limits.
    pub(crate) used: Amounts,
    /// What would fit now; a burst's worth when it has rested.
    pub(crate) left: Amounts,
    /// What it may use.
    pub(crate) limits: LimitsStatus,
}

/// A key's limits.
#[derive(Debug, Serialize)]
pub(crate) struct LimitsStatus {
    requests_per_second: u32,
    bytes_per_second: u64,
    records_per_second: u32,
    burst_ms: u64,
}

/// Every key that there is, by name, without its rows.
pub(super) fn of(ring: &KeyRing, sink: &dyn Sink) -> BTreeMap<String, KeyStatus> {
    let (now, mut keys) = (SystemTime::now(), BTreeMap::<String, KeyStatus>::new());
    for key in ring.all() {
        keys.entry(key.entry.name.clone()).or_default().entries.push(EntryStatus::of(&key, sink, now));
    }
    keys
}

impl EntryStatus {
    fn of(key: &Key, sink: &dyn Sink, now: SystemTime) -> EntryStatus {
        let limits = &key.entry.limits;
        EntryStatus {
            source: key.source.name(),
            state: key.word(now),
            signals: key
                .entry
                .signals
                .iter()
                .filter(|signal| sink.takes(**signal))
                .map(|signal| signal.name())
                .collect(),
            expires_ms: key.entry.expires.map(milliseconds),
            last_used_ms: key.state.last_seen_ms(),
            unkept_records: key.state.records_unkept(),
            used: key.state.limiter.total(),
            left: key.state.limiter.left(),
            limits: LimitsStatus {
                requests_per_second: limits.requests_per_second,
                bytes_per_second: limits.bytes_per_second,
                records_per_second: limits.records_per_second,
                burst_ms: u64::try_from(limits.burst.as_millis()).unwrap_or(u64::MAX),
            },
        }
    }
}
