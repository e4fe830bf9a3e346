//! An open batch: frames are appended to its file until it is sealed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::Batch;
use super::counts::Counts;
use super::disk::DiskFile;
use super::format::frame::{Frame, Meta};
use super::format::record::{HEAD_LEN, Head, Header, Kind};
use super::index::{FrameAt, Index};
use super::store::Store;
use super::tail::{Footer, Tail};

/// Why frames were not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing of them will come back: they may be appended to another batch, or refused.
    #[error("the frames were not kept: {0}")]
    NotKept(io::Error),
    /// The disk refuses every way of taking them back: they come back if the process dies before the batch is delivered.
    #[error("whether the frames are kept is not known: {0}")]
    Unknown(io::Error),
}

/// A batch that takes frames. Its file is made with the first of them.
pub(crate) struct OpenBatch {
    store: Arc<Store>,
    pub(crate) header: Header,
    file: Option<Box<dyn DiskFile>>,
    /// Bytes that are synced: what the file is cut back to when an append fails.
    len: u64,
    records: u32,
    index: Index,
    failed: bool,
}

impl OpenBatch {
    pub(crate) fn new(store: Arc<Store>, header: Header) -> OpenBatch {
        OpenBatch { store, header, file: None, len: 0, records: 0, index: Index::default(), failed: false }
    }

    /// Whether nothing was appended yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.frames.is_empty()
    }

    /// Rows over all parts.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> u64 {
        self.index.total.rows
    }

    /// Parts so far.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> usize {
        self.index.parts.len()
    }

    /// Appends the frames with one write and one sync (the first time also the directory's): when this returns `Ok` all of them
    /// survive a crash. Blocks.
    ///
    /// # Errors
    /// See [`AppendError`]; the batch takes no frames from then on, and what it had is still good.
    pub(crate) fn append(&mut self, frames: &[Frame]) -> Result<(), AppendError> {
        if self.failed {
            let why = io::Error::other("an earlier write to this file failed");
            return Err(AppendError::NotKept(why));
        }
        let staged = self.stage(frames);
        let written = self.write(&staged.pieces);
        self.store.health.appended(written.as_ref().copied());
        if let Err(error) = written {
            self.failed = true;
            tracing::warn!(file = self.name(), %error, "a write to the spool failed; what was written is taken back");
            return Err(match self.take_back() {
                Ok(()) => AppendError::NotKept(error),
                Err(_) => AppendError::Unknown(error),
            });
        }
        let shares = self.index.shares.clone();
        for (meta, at, body_len) in &staged.metas {
            // A frame that this process has just encoded agrees with itself.
            if self.index.push(meta, *at, *body_len).is_err() {
                tracing::error!(file = self.name(), "a frame does not agree with its own index");
            }
        }
        self.records += staged.metas.len() as u32;
        self.len += staged.len;
        self.store.room.charge(staged.len, &self.index.shares, &shares);
        let mut waiting = self.store.waiting.lock();
        staged.metas.iter().for_each(|(meta, ..)| waiting.add(&Counts::of(meta)));
        Ok(())
    }

    /// Writes the footer: from then on only notes are added. A footer that cannot be written now is written with the first note.
    pub(crate) fn seal(mut self) -> Batch {
        self.index.parts.retain(|part| !part.segments.is_empty());
        let name = self.name();
        let mut tail = Tail {
            len: self.len,
            records: self.records,
            total: self.index.total,
            broken: self.failed,
            footer: Some(Footer { counts: self.index.counts.clone(), torn: Vec::new() }),
        };
        let empty = self.is_empty();
        if let (Some(file), false) = (self.file.as_mut(), empty)
            && let Err(error) = tail.append(&self.store, file.as_mut(), &self.header, &[])
        {
            tracing::warn!(file = name, %error, "the footer of a batch could not be written yet");
        }
        let mut batch = Batch::new(self.store, self.header, self.index, name, tail, Vec::new());
        batch.charged = self.len;
        batch
    }

    fn name(&self) -> String {
        super::file_name(self.header.sequence)
    }

    fn stage(&mut self, frames: &[Frame]) -> Staged {
        let mut staged = Staged::default();
        if self.file.is_none() {
            staged.push(self.header.encode().into());
        }
        let mut before = self.index.total;
        for (number, frame) in (self.records..).zip(frames) {
            let ids = self.index.ids(frame);
            let meta = Meta::of(frame, &ids, |bytes| self.store.sum(bytes));
            let encoded = meta.encode();
            let at = FrameAt {
                frame: number,
                meta_offset: self.len + staged.len + HEAD_LEN as u64,
                meta_len: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
                meta_sum: crc32c::crc32c(&encoded),
            };
            let body_len = meta.parts.iter().map(|part| part.len).sum();
            let head = Head {
                kind: Kind::Frame,
                number,
                group: self.records,
                meta_len: at.meta_len,
                body_len,
                before,
                meta_sum: at.meta_sum,
            };
            staged.push(head.encode(self.header.token).into());
            staged.push(encoded.into());
            frame.parts.iter().flat_map(|part| &part.bytes).for_each(|slice| staged.push(slice.clone()));
            before.requests += meta.requests.len() as u64;
            before.rows += meta.rows();
            staged.metas.push((meta, at, body_len));
        }
        staged
    }

    fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        self.store.goes_on()?;
        let first = self.file.is_none();
        if first {
            self.file = Some(self.store.disk.create(&self.name())?);
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.append(pieces)?;
        file.sync()?;
        if first {
            self.store.disk.sync_dir("")?;
        }
        Ok(())
    }

    /// Makes sure that nothing past `len` comes back at the next start: cuts the file, or removes it, or leaves a word beside it.
    fn take_back(&mut self) -> io::Result<()> {
        let name = self.name();
        let Some(file) = self.file.as_mut() else {
            return Ok(());
        };
        let cut = file.truncate(self.len).and_then(|()| file.sync());
        if self.len == 0 {
            self.file = None;
            let removed = self.store.disk.remove(&name);
            if removed.and_then(|()| self.store.disk.sync_dir("")).is_ok() {
                return Ok(());
            }
        }
        if cut.is_ok() {
            return Ok(());
        }
        self.store.write_cut(self.header.sequence, self.len)
    }
}

#[derive(Default)]
struct Staged {
    pieces: Vec<Bytes>,
    len: u64,
    metas: Vec<(Meta, FrameAt, u64)>,
}

impl Staged {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len() as u64;
        self.pieces.push(piece);
    }
}
