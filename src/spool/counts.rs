//! How many requests and rows, by key and by table: the unit of every counter that must add up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::format::frame::Meta;
use super::format::wire::{Malformed, Reader, Writer};

/// Requests by key, and rows by key and table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests by key's name.
    pub(crate) requests: BTreeMap<Arc<str>, u64>,
    /// Rows by key's name and table.
    pub(crate) rows: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

impl Counts {
    /// What a frame holds.
    pub(crate) fn of(meta: &Meta) -> Counts {
        let mut counts = Counts::default();
        for request in &meta.requests {
            counts.add_requests(&request.key, 1);
        }
        for part in &meta.parts {
            for (request, rows) in &part.rows_by_request {
                if let Some(request) = meta.requests.get(*request as usize) {
                    counts.add_rows(&request.key, &part.name.table, u64::from(*rows));
                }
            }
        }
        counts
    }

    /// Adds requests of a key.
    pub(crate) fn add_requests(&mut self, key: &Arc<str>, requests: u64) {
        add(&mut self.requests, key.clone(), requests);
    }

    /// Adds rows of a key in a table.
    pub(crate) fn add_rows(&mut self, key: &Arc<str>, table: &Arc<str>, rows: u64) {
        add(&mut self.rows, (key.clone(), table.clone()), rows);
    }

    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Counts) {
        for (key, requests) in &other.requests {
            add(&mut self.requests, key.clone(), *requests);
        }
        for (of, rows) in &other.rows {
            add(&mut self.rows, of.clone(), *rows);
        }
    }

    /// Takes away all of `other`, down to nothing.
    pub(crate) fn subtract(&mut self, other: &Counts) {
        for (key, requests) in &other.requests {
            subtract(&mut self.requests, key, *requests);
        }
        for (of, rows) in &other.rows {
            subtract(&mut self.rows, of, *rows);
        }
    }

    /// Rows over all keys and tables.
    pub fn total_rows(&self) -> u64 {
        self.rows.values().sum()
    }

    /// Requests over all keys.
    pub(crate) fn total_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Whether nothing is counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.rows.is_empty()
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.count(self.requests.len());
        for (key, requests) in &self.requests {
            out.text(key);
            out.varint(*requests);
        }
        out.count(self.rows.len());
        for ((key, table), rows) in &self.rows {
            out.text(key);
            out.text(table);
            out.varint(*rows);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Counts, Malformed> {
        let requests = from.list(2, |from| Ok((from.text()?, from.varint()?)))?;
        let rows = from.list(3, |from| Ok(((from.text()?, from.text()?), from.varint()?)))?;
        Ok(Counts { requests: requests.into_iter().collect(), rows: rows.into_iter().collect() })
    }
}

fn add<K: Ord>(to: &mut BTreeMap<K, u64>, of: K, count: u64) {
    if count > 0 {
        let sum = to.entry(of).or_default();
        *sum = sum.saturating_add(count);
    }
}

fn subtract<K: Ord>(from: &mut BTreeMap<K, u64>, of: &K, count: u64) {
    if let Some(sum) = from.get_mut(of) {
        *sum = sum.saturating_sub(count);
        if *sum == 0 {
            from.remove(of);
        }
    }
}

/// What became of everything that was ever acknowledged here and is no longer waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// In the sink.
    pub(crate) stored: Counts,
    /// Refused for good by the sink, kept in the quarantine folder.
    pub(crate) quarantined: Counts,
    /// Damaged on disk.
    pub(crate) lost: Counts,
    /// Dropped by a person.
    pub(crate) dropped: Counts,
}

impl Totals {
    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Totals) {
        self.stored.add(&other.stored);
        self.quarantined.add(&other.quarantined);
        self.lost.add(&other.lost);
        self.dropped.add(&other.dropped);
    }

    /// All four together.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = self.stored.clone();
        sum.add(&self.quarantined);
        sum.add(&self.lost);
        sum.add(&self.dropped);
        sum
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        self.stored.encode(out);
        self.quarantined.encode(out);
        self.lost.encode(out);
        self.dropped.encode(out);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Totals, Malformed> {
        Ok(Totals {
            stored: Counts::decode(from)?,
            quarantined: Counts::decode(from)?,
            lost: Counts::decode(from)?,
            dropped: Counts::decode(from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_subtract_and_round_trip() {
        let (a, logs): (Arc<str>, Arc<str>) = ("a".into(), "otel_logs".into());
        let mut counts = Counts::default();
        counts.add_requests(&a, 2);
        counts.add_rows(&a, &logs, 5);
        let once = counts.clone();
        counts.add(&once);
        assert_eq!((counts.total_requests(), counts.total_rows()), (4, 10));
        let mut out = Writer::default();
        counts.encode(&mut out);
        assert_eq!(Counts::decode(&mut Reader(&out.0)), Ok(counts.clone()));
        counts.subtract(&once);
        counts.subtract(&once);
        assert!(counts.is_empty());
    }
}
