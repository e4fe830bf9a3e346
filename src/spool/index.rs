//! What lies where in a batch file: kept in memory while the batch lives, and lean, for a backlog is many batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counts::Counts;
use super::format::frame::{Frame, Meta, rows};
use super::format::record::{Before, HEAD_LEN};
use super::format::wire::Malformed;
use crate::chunk::PartName;

/// One part of a batch: what becomes one insert.
#[derive(Debug, Clone)]
pub(crate) struct BatchPart {
    /// The part's number in its batch; notes name it by this.
    pub(crate) id: u32,
    /// Table and partition.
    pub(crate) name: PartName,
    /// The columns that its bytes hold. Frames of one table with other columns are another part.
    pub(crate) columns: Arc<[Arc<str>]>,
    /// Its share of each frame, in the order of the file.
    pub(crate) segments: Vec<Segment>,
    /// Rows in all segments.
    pub(crate) rows: u64,
    /// Sealed bytes in all segments.
    pub(crate) bytes: u64,
    /// Bytes before compression in all segments.
    pub(crate) uncompressed: u64,
}

/// A part's share of one frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// The frame's place in its file.
    pub(crate) frame: u32,
    /// Rows.
    pub(crate) rows: u64,
    /// Where the bytes begin in the file.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) len: u64,
    /// Their CRC32C.
    pub(crate) sum: u32,
}

/// Where a frame's meta lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameAt {
    pub(crate) frame: u32,
    pub(crate) meta_offset: u64,
    pub(crate) meta_len: u32,
    pub(crate) meta_sum: u32,
}

/// The frames of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    pub(crate) parts: Vec<BatchPart>,
    pub(crate) frames: Vec<FrameAt>,
    pub(crate) counts: Counts,
    /// Bytes of the file by the key that they are charged to.
    pub(crate) shares: BTreeMap<Arc<str>, u64>,
    /// Requests and rows so far.
    pub(crate) total: Before,
    pub(crate) uncompressed: u64,
    /// When the youngest frame was sealed.
    pub(crate) newest_ms: u64,
    /// When the oldest was.
    pub(crate) oldest_ms: u64,
}

impl Index {
    /// The numbers of a frame's parts, new ones for those that the batch does not have yet.
    pub(crate) fn ids(&mut self, frame: &Frame) -> Vec<u32> {
        let ids = frame.parts.iter().map(|part| {
            let known = |one: &&BatchPart| one.name == part.name && one.columns == part.columns;
            if let Some(one) = self.parts.iter().find(known) {
                return one.id;
            }
            let id = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
            self.parts.push(BatchPart::new(id, &part.name, &part.columns));
            id
        });
        ids.collect()
    }

    /// Takes a frame up whose record begins at `offset`.
    ///
    /// # Errors
    /// The meta contradicts itself or the frames before it; nothing is taken up.
    pub(crate) fn push(&mut self, meta: &Meta, at: FrameAt, body_len: u64) -> Result<(), Malformed> {
        let lens = meta.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.len));
        if lens != Some(body_len) || meta.parts.iter().any(|part| !self.agrees(part)) {
            return Err(Malformed);
        }
        let mut offset = at.meta_offset + u64::from(at.meta_len);
        for part in &meta.parts {
            let rows = rows(&part.rows_by_request);
            let known = self.parts.iter().position(|one| one.id == part.id);
            let place = known.unwrap_or_else(|| {
                self.parts.push(BatchPart::new(part.id, &part.name, &part.columns));
                self.parts.len() - 1
            });
            let into = &mut self.parts[place];
            into.segments.push(Segment { frame: at.frame, rows, offset, len: part.len, sum: part.sum });
            into.rows = into.rows.saturating_add(rows);
            into.bytes += part.len;
            into.uncompressed = into.uncompressed.saturating_add(part.uncompressed);
            self.uncompressed = self.uncompressed.saturating_add(part.uncompressed);
            offset += part.len;
        }
        self.total.requests += meta.requests.len() as u64;
        self.total.rows = self.total.rows.saturating_add(meta.rows());
        self.counts.add(&Counts::of(meta));
        self.charge(meta, HEAD_LEN as u64 + u64::from(at.meta_len) + body_len);
        self.newest_ms = self.newest_ms.max(meta.sealed_ms);
        self.oldest_ms = if self.frames.is_empty() { meta.sealed_ms } else { self.oldest_ms.min(meta.sealed_ms) };
        self.frames.push(at);
        Ok(())
    }

    /// A whole frame by its number. A batch may have a hundred thousand, and each segment of each part asks: their numbers grow along the file.
    pub(crate) fn frame(&self, number: u32) -> Option<&FrameAt> {
        let place = self.frames.binary_search_by_key(&number, |at| at.frame).ok()?;
        self.frames.get(place)
    }

    /// Whether a part's number means the same part as in the frames before.
    fn agrees(&self, part: &super::format::frame::PartMeta) -> bool {
        let known = self.parts.iter().find(|one| one.id == part.id);
        known.is_none_or(|one| one.name == part.name && one.columns == part.columns)
    }

    /// Splits a record's bytes among the keys, by the size of their requests.
    fn charge(&mut self, meta: &Meta, len: u64) {
        let all: u128 = meta.requests.iter().map(|one| u128::from(one.bytes) + 1).sum();
        let mut by_key = BTreeMap::<&Arc<str>, u128>::new();
        for request in &meta.requests {
            *by_key.entry(&request.key).or_default() += u128::from(request.bytes) + 1;
        }
        for (key, bytes) in by_key {
            // At most `len`, for `bytes` is at most `all`.
            let share = u64::try_from(u128::from(len) * bytes / all).unwrap_or(len);
            *self.shares.entry(key.clone()).or_default() += share;
        }
    }

    pub(crate) fn part(&self, id: u32) -> Option<&BatchPart> {
        self.parts.iter().find(|part| part.id == id)
    }
}

impl BatchPart {
    fn new(id: u32, name: &PartName, columns: &Arc<[Arc<str>]>) -> BatchPart {
        BatchPart {
            id,
            name: name.clone(),
            columns: columns.clone(),
            segments: Vec::new(),
            rows: 0,
            bytes: 0,
            uncompressed: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_where_others_are_missing() {
        let at = |frame| FrameAt { frame, meta_offset: u64::from(frame) * 100, meta_len: 1, meta_sum: 0 };
        let index = Index { frames: [0, 2, 3, 7].map(at).into(), ..Index::default() };
        let found = (0..9).filter_map(|frame| index.frame(frame).map(|at| at.meta_offset));
        assert_eq!(found.collect::<Vec<_>>(), [0, 200, 300, 700]);
    }
}
