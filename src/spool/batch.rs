//! A sealed batch: immutable but for its notes.
//!
//! What is known of a part is what its notes say, one after another, and nothing else: a process that starts reads the same notes and knows the same. So
//! a state never changes but by a note ([`PartState::take`]), and a note is on the disk before it counts.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::counts::Counts;
use super::disk::{DiskFile, is_gone};
use super::format::note::{Note, Refused};
use super::format::record::Header;
use super::index::{BatchPart, Index};
use super::piece::{Attempt, Extent, PieceState, Rows};
use super::store::Store;
use super::tail::Tail;
use crate::signal::Signal;

/// What is known of a part's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartState {
    /// Known to be in, but for what was refused.
    pub(crate) is_in: bool,
    /// It was divided, and nobody knows how, or not all of it: any rows of what is not known to be in may be.
    pub(crate) split: bool,
    /// Which token it goes under as a whole; the tokens of its pieces begin with that.
    pub(crate) generation: u32,
    /// What it is sent as: whole, unless it was divided.
    pub(crate) pieces: Vec<PieceState>,
    /// Rows that are refused for good.
    pub(crate) refused: Vec<Refused>,
    /// Set by a person's retry: only these rows, refused once, are still to be delivered.
    pub(crate) only: Option<Vec<Refused>>,
    /// The sink's shard that all of it goes to, as it was called when the note was written.
    pub(crate) shard: Option<Arc<str>>,
}

impl Default for PartState {
    fn default() -> Self {
        let pieces = vec![PieceState::new(Extent::Whole)];
        PartState { is_in: false, split: false, generation: 0, pieces, refused: Vec::new(), only: None, shard: None }
    }
}

impl PartState {
    /// Whether an attempt at any of it was begun, here or in a process before.
    pub(crate) fn is_tried(&self) -> bool {
        self.is_in || self.split || self.pieces.iter().any(|piece| piece.tried.is_some() || piece.is_in)
    }

    /// Whether its pieces leave out what is not to be sent.
    pub(crate) fn is_cut(&self) -> bool {
        let whole = self.pieces.iter().any(|piece| piece.extent == Extent::Whole);
        !whole || (self.only.is_none() && self.refused.is_empty())
    }

    /// What of these rows of a frame is not known to be in, nor refused.
    pub(crate) fn unsettled_of(&self, rows: &[Rows], frame: u32, all: u64) -> Vec<Rows> {
        without(rows.to_vec(), &self.settled_in(frame, all))
    }

    /// The rows of a frame, out of `all`, that are known to be in, or refused.
    pub(crate) fn settled_in(&self, frame: u32, all: u64) -> Vec<Rows> {
        let done = self.pieces.iter().filter(|piece| self.is_in || piece.is_in);
        done.filter_map(|piece| piece.extent.rows_in(frame, all)).collect()
    }

    fn piece(&mut self, extent: Extent) -> Option<&mut PieceState> {
        let found = self.pieces.iter_mut().find(|piece| piece.extent == extent);
        if found.is_none() {
            // The note that it came to be is lost.
            self.split = true;
        }
        found
    }

    /// The rows of a frame that are refused.
    pub(crate) fn refused_in(&self, frame: u32) -> Vec<Rows> {
        ranges(&self.refused, frame)
    }

    /// The rows of a frame, out of `all`, that the file answers for.
    pub(crate) fn scope(&self, retried: bool, frame: u32, all: u64) -> Vec<Rows> {
        match &self.only {
            Some(only) => ranges(only, frame),
            None if retried => Vec::new(),
            None => vec![(0, all)],
        }
    }

    /// The rows of a frame, out of `all`, that are still to be delivered: in the scope and not refused.
    pub(crate) fn to_send(&self, retried: bool, frame: u32, all: u64) -> Vec<Rows> {
        without(self.scope(retried, frame, all), &self.refused_in(frame))
    }
}

/// What is left of some rows without others.
pub(crate) fn without(mut left: Vec<Rows>, others: &[Rows]) -> Vec<Rows> {
    for (start, rows) in others {
        let end = start.saturating_add(*rows);
        let outside = left.iter().flat_map(|(first, count)| {
            let last = first.saturating_add(*count);
            let before = (*first, (*start).min(last).saturating_sub(*first));
            let after = (end.max(*first), last.saturating_sub(end.max(*first)));
            [before, after]
        });
        left = outside.filter(|(_, rows)| *rows > 0).collect();
    }
    left
}

fn ranges(all: &[Refused], frame: u32) -> Vec<Rows> {
    let here = all.iter().filter(|one| one.frame == frame);
    here.map(|one| (one.start, one.rows)).collect()
}

/// A sealed batch. Its frames never change; what becomes known about its parts is noted.
pub(crate) struct Batch {
    pub(crate) store: Arc<Store>,
    pub(crate) header: Header,
    pub(crate) index: Index,
    /// Its file.
    pub(crate) name: String,
    /// Bytes that the spool's room was charged for it.
    pub(crate) charged: u64,
    /// What it adds to what is waiting in the spool.
    pub(crate) waiting: Counts,
    /// Held while the disk works; never taken while `state` is held.
    pub(crate) tail: Mutex<Tail>,
    /// Held for a moment only: reactors ask.
    pub(crate) state: Mutex<State>,
}

/// What becomes known about a sealed batch.
#[derive(Clone)]
pub(crate) struct State {
    /// Length of the file.
    pub(crate) bytes: u64,
    pub(crate) parts: Vec<PartState>,
    /// (frame, part) of the segments that are not what was written.
    pub(crate) damaged: BTreeSet<(u32, u32)>,
    /// What frames held that cannot be read at all.
    pub(crate) lost: Counts,
    /// Reads that failed, without damage being proven.
    pub(crate) read_failures: u32,
    /// Times that the end of the batch could not be counted.
    pub(crate) count_failures: u32,
    pub(crate) logged: bool,
    /// The file is not there any more: nothing can be read, and what would be noted is known here alone, and has nobody left to read it.
    pub(crate) gone: bool,
}

impl Batch {
    pub(crate) fn new(
        store: Arc<Store>,
        header: Header,
        index: Index,
        name: String,
        tail: Tail,
        notes: Vec<Note>,
    ) -> Batch {
        let mut state = State {
            bytes: tail.len,
            parts: vec![PartState::default(); index.parts.len()],
            damaged: BTreeSet::new(),
            lost: Counts::default(),
            read_failures: 0,
            count_failures: 0,
            logged: false,
            gone: false,
        };
        for note in notes {
            state.take(&index, &note);
        }
        Batch {
            store,
            header,
            charged: tail.len,
            waiting: index.counts.clone(),
            index,
            name,
            tail: Mutex::new(tail),
            state: Mutex::new(state),
        }
    }

    /// Orders the batches.
    pub(crate) fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The lane.
    pub(crate) fn signal(&self) -> Signal {
        self.header.signal
    }

    /// When it was opened, in milliseconds since 1970.
    pub(crate) fn created_ms(&self) -> u64 {
        self.header.created_ms
    }

    /// Its parts: each is one insert.
    pub(crate) fn parts(&self) -> &[BatchPart] {
        &self.index.parts
    }

    /// Requests and rows of its whole frames, by key and table.
    pub(crate) fn counts(&self) -> &Counts {
        &self.index.counts
    }

    /// Bytes of its file.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Whether a part has rows that are still to be delivered. What is damaged is only known once the part was read.
    pub(crate) fn is_due(&self, part: u32) -> bool {
        let state = self.state.lock();
        let found = self.index.parts.iter().zip(&state.parts).find(|(one, _)| one.id == part);
        found.is_some_and(|(one, known)| {
            let due =
                |segment: &super::Segment| !known.to_send(state.is_retried(), segment.frame, segment.rows).is_empty();
            !known.is_in && one.segments.iter().any(due)
        })
    }

    /// Whether any part was tried, here or in a process before.
    pub(crate) fn is_tried(&self) -> bool {
        self.state.lock().parts.iter().any(PartState::is_tried)
    }

    /// What is known of a part; the default for a part that does not exist.
    pub(crate) fn state(&self, part: u32) -> PartState {
        let state = self.state.lock();
        let place = self.index.parts.iter().position(|one| one.id == part);
        place.and_then(|place| state.parts.get(place).cloned()).unwrap_or_default()
    }

    /// The token that a piece of a part goes under: the same for the same rows and generation, now and after a restart.
    pub(crate) fn token(&self, part: u32, extent: Extent, generation: u32) -> String {
        let whole = if extent == Extent::Whole { generation } else { self.state(part).generation };
        let (token, name) = (self.header.token, self.index.part(part).map(|part| &part.name));
        let (table, partition) = name.map_or(("", 0), |name| (&*name.table, name.partition));
        let token = format!("{token}-{part}-{table}-{partition}-{whole}");
        match extent {
            Extent::Whole => token,
            Extent::Frames { first, last } => format!("{token}-f{first}-{last}-{generation}"),
            Extent::Rows { frame, start, rows } => format!("{token}-f{frame}-r{start}-{rows}-{generation}"),
        }
    }

    /// The clock was set back since some attempt: how old any of them is, nobody knows.
    pub(crate) fn forget_times(&self) {
        let mut state = self.state.lock();
        let pieces = state.parts.iter_mut().flat_map(|part| &mut part.pieces);
        pieces.filter_map(|piece| piece.tried.as_mut()).for_each(|attempt| attempt.at_ms = None);
    }

    /// The latest time that the file knows of, in milliseconds since 1970.
    pub(crate) fn latest_ms(&self) -> u64 {
        let state = self.state.lock();
        let attempts = state.parts.iter().flat_map(|part| &part.pieces).filter_map(|piece| piece.tried?.at_ms);
        attempts.chain([self.index.newest_ms]).max().unwrap_or(0)
    }

    /// Writes notes down, synced when this returns `Ok`; they count from then on. Where the file has vanished no start can read it, so there is
    /// nothing to write. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says. What the notes announce must not be done then.
    pub(crate) fn note(&self, notes: &[Note]) -> io::Result<()> {
        let mut tail = self.tail.lock();
        // `tail` is held while the disk works, so that two notes never share a place in the file; `state` is not, for reactors ask for it.
        let written = self.store.with_reserve(|| match self.open()? {
            Some(mut file) => tail.append(&self.store, file.as_mut(), &self.header, notes),
            None => Ok(()),
        });
        match written {
            Err(error) if is_gone(&error, self.store.disk.as_ref()) => self.vanished(&error),
            written => {
                self.store.health.file_failed(self.sequence(), written.as_ref().err());
                written?;
            }
        }
        let mut state = self.state.lock();
        state.bytes = tail.len;
        notes.iter().for_each(|note| state.take(&self.index, note));
        Ok(())
    }
}

impl Batch {
    /// Whether what it does waits for a disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.store.disk.is_durable()
    }

    /// Its file; `None` when it has vanished.
    pub(crate) fn open(&self) -> io::Result<Option<Box<dyn DiskFile>>> {
        if self.state.lock().gone {
            return Ok(None);
        }
        match self.store.disk.open(&self.name) {
            Err(error) if is_gone(&error, self.store.disk.as_ref()) => {
                self.vanished(&error);
                Ok(None)
            }
            file => file.map(Some),
        }
    }

    /// Says once that the file is gone.
    fn vanished(&self, error: &io::Error) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.gone, true) {
            state.logged = true;
            tracing::error!(batch = self.header.sequence, %error, "a spool file has vanished; its rows that are not stored yet are lost");
        }
    }
}

impl State {
    /// Whether a person took the file out of quarantine.
    pub(crate) fn is_retried(&self) -> bool {
        self.parts.iter().any(|part| part.only.is_some())
    }

    /// What a note changes.
    pub(crate) fn take(&mut self, index: &Index, note: &Note) {
        let place = index.parts.iter().position(|part| part.id == note.part());
        if let Some(part) = place.and_then(|place| self.parts.get_mut(place)) {
            part.take(note);
        }
    }
}

impl PartState {
    fn take(&mut self, note: &Note) {
        match note {
            // Of older versions, which did not say which piece was tried, nor when: it may have been any of them.
            Note::Tried { .. } => {
                self.pieces.iter_mut().for_each(|piece| piece.tried = Some(Attempt { at_ms: None }));
            }
            Note::NewToken { generation, .. } => {
                self.generation = *generation;
                if let Some(whole) = self.piece(Extent::Whole) {
                    whole.generation = *generation;
                }
            }
            Note::In { .. } => self.is_in = true,
            Note::Split { .. } => self.split = true,
            Note::Refused(refused) => self.refused.push(refused.clone()),
            // What a person takes out of quarantine is what was refused, and nothing else: the rest is in. It goes under another token, for the old one may
            // be known to the table as that of an insert that is in. Two retries without a refusal between them are one.
            Note::Retry { .. } => {
                let mut only = self.only.take().unwrap_or_default();
                if !self.refused.is_empty() {
                    only = std::mem::take(&mut self.refused);
                }
                *self = PartState { generation: self.generation + 1, only: Some(only), ..PartState::default() };
            }
            Note::Attempt { extent, generation, at_ms, .. } => {
                if *extent == Extent::Whole {
                    self.generation = *generation;
                }
                if let Some(piece) = self.piece(*extent) {
                    piece.generation = *generation;
                    piece.tried = Some(Attempt { at_ms: Some(*at_ms) });
                }
            }
            Note::PieceIn { extent, .. } => {
                if let Some(piece) = self.piece(*extent) {
                    piece.is_in = true;
                }
            }
            Note::Divided { extent, into, .. } => self.divide(*extent, into),
            Note::Shard { shard, .. } => self.shard = Some(shard.clone()),
        }
    }

    fn divide(&mut self, extent: Extent, into: &[Extent]) {
        let new = into.iter().copied().map(PieceState::new);
        if extent == Extent::Whole {
            self.pieces = new.collect();
        } else if let Some(place) = self.pieces.iter().position(|piece| piece.extent == extent) {
            self.pieces.splice(place..=place, new);
        } else {
            self.split = true;
        }
    }
}
