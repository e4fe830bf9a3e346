//! A sealed chunk. A request lies in exactly one frame, whatever parts it feeds, so it is kept whole or not at all.
//!
//! Everything that is counted or looked up later (rows of a key in a table, who is behind refused rows, what a repeated request joins)
//! follows from a frame alone; nothing about its requests is kept anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sink::SealedPart;

/// A sealed chunk: the bytes of each part it touches, and the requests that they came from.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// One a table and partition, each in bytes that stand alone.
    pub parts: Vec<SealedPart>,
    /// The requests in order of commit; `SealedPart::rows_by_request` counts from the first of them.
    pub requests: Vec<RequestNote>,
}

/// What is remembered of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestNote {
    /// Name of the key that sent it.
    pub key: Arc<str>,
    /// By which the same bytes are known when they come again from the same key.
    pub digest: Digest,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Spans, log records or data points.
    pub records: u64,
}

/// 128 bits over a request's uncompressed bytes. Matched only among requests of the same key, so that nobody but a key's
/// holder could gain from a collision, and could only lose records of their own by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of one uncompressed OTLP request.
    pub fn of(request: &[u8]) -> Self {
        Digest(cityhash_rs::cityhash_110_128(request).to_le_bytes())
    }
}

/// What one key has in a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Requests.
    pub requests: u64,
    /// Uncompressed bytes of the requests.
    pub bytes: u64,
    /// Spans, log records or data points.
    pub records: u64,
    /// Rows by table.
    pub rows: BTreeMap<Arc<str>, u64>,
}

impl Frame {
    /// Rows over all parts.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(SealedPart::rows).sum()
    }

    /// Bytes of all parts as they are sent.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes.len() as u64).sum()
    }

    /// Bytes of all parts before compression.
    pub fn uncompressed(&self) -> u64 {
        self.parts.iter().map(|part| part.uncompressed).sum()
    }

    /// Counts by key.
    pub fn keys(&self) -> BTreeMap<Arc<str>, KeyCounts> {
        let mut keys: BTreeMap<Arc<str>, KeyCounts> = BTreeMap::new();
        for request in &self.requests {
            let counts = keys.entry(request.key.clone()).or_default();
            counts.requests += 1;
            counts.bytes += request.bytes;
            counts.records += request.records;
        }
        for part in &self.parts {
            for (request, rows) in &part.rows_by_request {
                let note = usize::try_from(*request).ok().and_then(|i| self.requests.get(i));
                let Some(counts) = note.and_then(|note| keys.get_mut(&note.key)) else {
                    continue;
                };
                *counts.rows.entry(part.name.table.clone()).or_default() += u64::from(*rows);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::PartName;

    #[test]
    fn counts_rows_by_key_and_table() {
        let note =
            |key: &str| RequestNote { key: key.into(), digest: Digest::of(key.as_bytes()), bytes: 10, records: 2 };
        let part = |table: &str, rows: &[(u32, u32)]| SealedPart {
            name: PartName { table: table.into(), day: 1 },
            columns: Arc::from([]),
            bytes: vec![0; 5],
            uncompressed: 50,
            rows_by_request: rows.to_vec(),
            witnesses: vec![],
        };
        let frame = Frame {
            parts: vec![part("gauge", &[(0, 1), (1, 2)]), part("sum", &[(0, 1), (2, 2)])],
            requests: vec![note("a"), note("b"), note("a")],
        };
        let keys = frame.keys();
        assert_eq!(keys["a"].requests, 2);
        assert_eq!(keys["a"].rows, BTreeMap::from([("gauge".into(), 1), ("sum".into(), 3)]));
        assert_eq!(keys["b"].rows, BTreeMap::from([("gauge".into(), 2)]));
        assert_eq!((frame.rows(), frame.bytes(), frame.uncompressed()), (6, 10, 100));
    }
}
