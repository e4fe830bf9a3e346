//! A batch and its file: open while frames are appended, immutable but for its notes once it is sealed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::counts::Counts;
use super::disk::DiskFile;
use super::format::frame::{Frame, Meta};
use super::format::note::{Note, Refused};
use super::format::record::{Before, HEAD_LEN, Head, Header, Kind, Token};
use super::format::wire::Writer;
use super::index::{FrameAt, Index, Part};
use super::store::Store;
use crate::otlp::Signal;

/// Why frames were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing of them will come back: they may be appended to another batch, or refused.
    #[error("the frames were not kept: {0}")]
    NotKept(io::Error),
    /// The disk refuses every way of taking them back: they come back if the process dies before the batch is delivered.
    #[error("whether the frames are kept is not known: {0}")]
    Unknown(io::Error),
}

/// A batch that takes frames. Its file is made with the first of them.
pub struct OpenBatch {
    store: Arc<Store>,
    header: Header,
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

    /// Orders the batches; never used twice in a spool.
    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The lane.
    pub fn signal(&self) -> Signal {
        self.header.signal
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.index.frames.is_empty()
    }

    /// Whether an append failed: the batch takes no more frames, and only wants to be sealed.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Rows over all parts.
    pub fn rows(&self) -> u64 {
        self.index.total.rows
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Bytes of columns before compression.
    pub fn uncompressed(&self) -> u64 {
        self.index.uncompressed
    }

    /// Parts so far.
    pub fn parts(&self) -> usize {
        self.index.parts.len()
    }

    /// Appends the frames with one write and one sync (the first time also the directory's): when this returns `Ok` all of them
    /// survive a crash. Blocks.
    ///
    /// # Errors
    /// See [`AppendError`]; the batch takes no frames from then on, and what it had is still good.
    pub fn append(&mut self, frames: &[Frame]) -> Result<(), AppendError> {
        if self.failed {
            let why = io::Error::other("an earlier write to this file failed");
            return Err(AppendError::NotKept(why));
        }
        let staged = self.stage(frames);
        if let Err(error) = self.write(&staged.pieces) {
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
        Ok(())
    }

    /// Writes the footer: from then on only notes are added. A footer that cannot be written is not missed: the next start
    /// writes it.
    pub fn seal(mut self) -> Batch {
        self.index.parts.retain(|part| !part.segments.is_empty());
        let mut meta = Writer::default();
        self.index.counts.encode(&mut meta);
        let mut log = Log {
            name: self.name(),
            len: self.len,
            records: self.records,
            total: self.index.total,
            broken: self.failed,
        };
        let empty = self.is_empty();
        if let (Some(file), false) = (self.file.as_mut(), empty) {
            let name = &log.name.clone();
            if let Err(error) = log.append(file.as_mut(), self.header.token, Kind::Footer, meta.0) {
                tracing::warn!(file = name, %error, "the footer of a batch could not be written");
            }
        }
        Batch::new(self.store, self.header, self.index, log, VecDeque::new())
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
            let meta = Meta::of(frame, &ids);
            let encoded = meta.encode();
            let at = FrameAt {
                frame: number,
                meta_offset: self.len + staged.len + HEAD_LEN as u64,
                meta_len: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
                meta_sum: crc32c::crc32c(&encoded),
            };
            let body_len = meta.parts.iter().map(|part| part.len).sum();
            let head =
                Head { kind: Kind::Frame, number, meta_len: at.meta_len, body_len, before, meta_sum: at.meta_sum };
            staged.push(head.encode(self.header.token).into());
            staged.push(encoded.into());
            frame.parts.iter().for_each(|part| staged.push(part.bytes.clone()));
            before.requests += meta.requests.len() as u64;
            before.rows += meta.rows();
            staged.metas.push((meta, at, body_len));
        }
        staged
    }

    fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
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
        if cut.is_ok() {
            return Ok(());
        }
        if self.len == 0 {
            let removed = self.store.disk.remove(&name);
            if removed.and_then(|()| self.store.disk.sync_dir("")).is_ok() {
                self.file = None;
                return Ok(());
            }
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

/// The end of a sealed file, where notes go.
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) records: u32,
    pub(crate) total: Before,
    /// A write failed and could not be cut away: what follows `len` is not known, so nothing may be appended after it.
    pub(crate) broken: bool,
}

impl Log {
    /// Appends a record without a body and syncs it.
    pub(crate) fn append(
        &mut self,
        file: &mut dyn DiskFile,
        token: Token,
        kind: Kind,
        meta: Vec<u8>,
    ) -> io::Result<()> {
        if self.broken {
            file.truncate(self.len)?;
            file.sync()?;
            self.broken = false;
        }
        let head = Head {
            kind,
            number: self.records,
            meta_len: u32::try_from(meta.len()).map_err(io::Error::other)?,
            body_len: 0,
            before: self.total,
            meta_sum: crc32c::crc32c(&meta),
        };
        let mut record = head.encode(token);
        record.extend(meta);
        let len = record.len() as u64;
        let written = file.append(&[record.into()]).and_then(|()| file.sync());
        if let Err(error) = written {
            self.broken = true;
            return Err(error);
        }
        self.len += len;
        self.records += 1;
        Ok(())
    }
}

/// What is known of a part's delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartState {
    /// An attempt was begun once, here or in a process before: its outcome may be unknown.
    pub tried: bool,
    /// Known to be in.
    pub is_in: bool,
    /// Which token it goes under.
    pub generation: u32,
    /// Rows that are refused for good.
    pub refused: Vec<Refused>,
    /// Set by a person's retry: only these rows, refused once, are still to be delivered.
    pub only: Option<Vec<Refused>>,
}

/// A sealed batch. Its frames never change; what becomes known about its parts is noted.
pub struct Batch {
    pub(crate) store: Arc<Store>,
    pub(crate) header: Header,
    pub(crate) index: Index,
    pub(crate) state: Mutex<State>,
}

/// What changes about a sealed batch.
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) parts: Vec<PartState>,
    /// (frame, part) of the segments that are not what was written.
    pub(crate) damaged: Vec<(u32, u32)>,
    /// What frames held that cannot be read at all.
    pub(crate) lost: Counts,
    /// Reads that failed, without damage being proven.
    pub(crate) read_failures: u32,
    pub(crate) logged: bool,
}

impl Batch {
    pub(crate) fn new(store: Arc<Store>, header: Header, index: Index, log: Log, notes: VecDeque<Note>) -> Batch {
        let mut state = State {
            log,
            parts: vec![PartState::default(); index.parts.len()],
            damaged: Vec::new(),
            lost: Counts::default(),
            read_failures: 0,
            logged: false,
        };
        for note in notes {
            state.take(&index, &note);
        }
        Batch { store, header, index, state: Mutex::new(state) }
    }

    /// Orders the batches.
    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The lane.
    pub fn signal(&self) -> Signal {
        self.header.signal
    }

    /// When it was opened, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.header.created_ms
    }

    /// Its parts: each is one insert.
    pub fn parts(&self) -> &[Part] {
        &self.index.parts
    }

    /// Requests and rows of its whole frames, by key and table.
    pub fn counts(&self) -> &Counts {
        &self.index.counts
    }

    /// Rows over all parts.
    pub fn rows(&self) -> u64 {
        self.index.total.rows
    }

    /// Bytes of its file.
    pub fn bytes(&self) -> u64 {
        self.state.lock().log.len
    }

    /// Whether any part was tried, here or in a process before.
    pub fn is_tried(&self) -> bool {
        self.state.lock().parts.iter().any(|part| part.tried)
    }

    /// What is known of a part; the default for a part that does not exist.
    pub fn state(&self, part: u32) -> PartState {
        let state = self.state.lock();
        let place = self.index.parts.iter().position(|one| one.id == part);
        place.and_then(|place| state.parts.get(place).cloned()).unwrap_or_default()
    }

    /// The token that a part goes under now: the same for the same bytes, another after [`Note::NewToken`].
    pub fn token(&self, part: u32) -> String {
        let generation = self.state(part).generation;
        let (token, name) = (self.header.token, self.index.part(part).map(|part| &part.name));
        let (table, day) = name.map_or(("", 0), |name| (&*name.table, name.day));
        format!("{token}-{part}-{table}-{day}-{generation}")
    }

    /// Writes notes down, synced when this returns `Ok`; they count from then on. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says. What the notes announce must not be done then.
    pub fn note(&self, notes: &[Note]) -> io::Result<()> {
        let mut state = self.state.lock();
        let encoded = Note::encode_all(notes);
        self.store.with_reserve(|| {
            let mut file = self.store.disk.open(&state.log.name)?;
            state.log.append(file.as_mut(), self.header.token, Kind::Note, encoded.clone())
        })?;
        notes.iter().for_each(|note| state.take(&self.index, note));
        Ok(())
    }
}

impl State {
    /// What a note changes.
    pub(crate) fn take(&mut self, index: &Index, note: &Note) {
        let id = match note {
            Note::Tried { part } | Note::In { part } | Note::Retry { part } => *part,
            Note::NewToken { part, .. } => *part,
            Note::Refused(refused) => refused.part,
        };
        let place = index.parts.iter().position(|part| part.id == id);
        let Some(part) = place.and_then(|place| self.parts.get_mut(place)) else {
            return;
        };
        match note {
            Note::Tried { .. } => part.tried = true,
            Note::NewToken { generation, .. } => part.generation = *generation,
            Note::In { .. } => part.is_in = true,
            Note::Refused(refused) => part.refused.push(refused.clone()),
            Note::Retry { .. } => {
                *part = PartState {
                    generation: part.generation + 1,
                    only: Some(std::mem::take(&mut part.refused)),
                    ..PartState::default()
                };
            }
        }
    }
}
