//! Reading a part's bytes back. No byte that was on a disk is handed out that does not have the checksum it was written with.

use std::io;

use bytes::Bytes;

use super::batch::Batch;
use super::disk::{DiskFile, may_pass};
use super::format::frame::{Meta, PartMeta};
use super::index::{BatchPart, FrameAt, Segment};
use super::piece::Rows;
use crate::chunk::Witness;

/// Witnesses that a part is looked for by.
const WITNESSES: usize = 8;
/// A segment that could not be read this often is given up as damaged.
const READ_ATTEMPTS: u32 = 5;

/// A part's bytes, frame by frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// The whole segments, in the order of the file.
    pub(crate) segments: Vec<SegmentContents>,
}

/// One frame's share of a part.
#[derive(Debug, Clone)]
pub(crate) struct SegmentContents {
    /// The frame's place in its file.
    pub(crate) frame: u32,
    /// What is sent, as slices that follow one another.
    pub(crate) bytes: Vec<Bytes>,
    /// Rows in `bytes`.
    pub(crate) rows: u64,
    /// The rows that are still to be delivered, as (first, how many): all of them in one range, unless some were refused.
    pub(crate) to_send: Vec<Rows>,
    /// (index of the request in the frame, its rows), in the order of the rows.
    pub(crate) rows_by_request: Vec<(u32, u32)>,
    /// Rows that tell whether the part is in.
    pub(crate) witnesses: Vec<Witness>,
}

impl Contents {
    /// The bytes to send, one after another.
    pub(crate) fn body(&self) -> Vec<Bytes> {
        self.segments.iter().flat_map(|segment| segment.bytes.iter().cloned()).collect()
    }

    /// Rows in the body.
    pub(crate) fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.rows).sum()
    }

    /// Up to eight witnesses, from as many frames as there are, spread over the part.
    pub(crate) fn witnesses(&self) -> Vec<Witness> {
        let with: Vec<_> = self.segments.iter().filter(|one| !one.witnesses.is_empty()).collect();
        let step = with.len().div_ceil(WITNESSES).max(1);
        let spread: Vec<_> = with.iter().step_by(step).collect();
        let each = (WITNESSES / spread.len().max(1)).max(1);
        let chosen = spread.iter().flat_map(|segment| segment.witnesses.iter().take(each));
        chosen.take(WITNESSES).cloned().collect()
    }
}

impl Batch {
    /// Reads a part. Segments that are damaged, or whose file has vanished, are left out, logged once a file, and counted when the batch is
    /// finished. Blocks.
    ///
    /// # Errors
    /// The disk cannot be read now; a segment that cannot be read five times counts as damaged, unless the error says nothing about it (a
    /// right that is missing, say).
    pub(crate) fn read(&self, part: u32) -> io::Result<Contents> {
        let Some(part) = self.index.part(part) else {
            return Ok(Contents::default());
        };
        let read = self.read_part(part);
        self.store.health.file_failed(self.sequence(), read.as_ref().err());
        read
    }

    fn read_part(&self, part: &BatchPart) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let file = match self.open() {
            Err(error) if !self.is_given_up(&error) => return Err(error),
            Ok(Some(file)) => file,
            Ok(None) | Err(_) => {
                part.segments.iter().for_each(|segment| self.damaged(segment.frame, part.id));
                return Ok(contents);
            }
        };
        let (known, retried) = (self.state(part.id), self.state.lock().is_retried());
        for segment in &part.segments {
            match self.read_segment(file.as_ref(), part, segment, |segment| {
                known.to_send(retried, segment.frame, segment.rows)
            }) {
                Ok(Some(whole)) => contents.segments.push(whole),
                Err(error) if !self.is_given_up(&error) => return Err(error),
                Ok(None) | Err(_) => self.damaged(segment.frame, part.id),
            }
        }
        Ok(contents)
    }

    /// Whether reading is not tried again after this error.
    pub(crate) fn is_given_up(&self, error: &io::Error) -> bool {
        if may_pass(error) {
            return false;
        }
        let mut state = self.state.lock();
        state.read_failures = state.read_failures.saturating_add(1);
        state.read_failures >= READ_ATTEMPTS || error.kind() == io::ErrorKind::UnexpectedEof
    }

    fn read_segment(
        &self,
        file: &dyn DiskFile,
        part: &BatchPart,
        segment: &Segment,
        to_send: impl Fn(&Segment) -> Vec<Rows>,
    ) -> io::Result<Option<SegmentContents>> {
        let len = usize::try_from(segment.len).map_err(io::Error::other)?;
        let bytes = file.read_slices(segment.offset, len)?;
        if self.store.sum(&bytes) != segment.sum {
            return Ok(None);
        }
        let Some(meta) = self.index.frame(segment.frame).map(|at| read_meta(file, at)).transpose()?.flatten() else {
            return Ok(None);
        };
        let entry = meta.parts.into_iter().find(|one| one.id == part.id);
        Ok(entry.map(|entry: PartMeta| SegmentContents {
            frame: segment.frame,
            bytes,
            rows: segment.rows,
            to_send: to_send(segment),
            rows_by_request: entry.rows_by_request,
            witnesses: entry.witnesses,
        }))
    }

    fn damaged(&self, frame: u32, part: u32) {
        let mut state = self.state.lock();
        state.damaged.insert((frame, part));
        if !std::mem::replace(&mut state.logged, true) {
            let file = &self.name;
            tracing::error!(
                file,
                frame,
                "a spool file is damaged; its whole frames are delivered, the file is kept in quarantine"
            );
        }
    }
}

/// A frame's meta, or `None` when it is not what was written.
pub(crate) fn read_meta(file: &dyn DiskFile, at: &FrameAt) -> io::Result<Option<Meta>> {
    let bytes = file.read_at(at.meta_offset, at.meta_len as usize)?;
    if crc32c::crc32c(&bytes) != at.meta_sum {
        return Ok(None);
    }
    Ok(Meta::decode(&bytes).ok())
}
