//! Requests become export requests by concatenation: what a client sent is checked, counted, and copied at most once, and nothing is decoded.
//!
//! A request's resources are top-level fields, and so are an export request's: repeated fields of concatenated messages append (protobuf,
//! "Last One Wins"). Invariants:
//!
//! - A **piece** is one such field, never larger than `max_message_bytes`, never without records. A request is one or more pieces.
//! - A part of a batch is one export request: pieces of one or several clients, together never larger than `max_message_bytes`. Which one a
//!   piece belongs to is settled when its chunk is sealed ([`Messages`]), so that frames of one batch may share an export request, and
//!   what becomes known about one says nothing about another.
//! - A request of profiles is one piece and one export request, whole: its profiles point into its own dictionary, and dictionaries that are appended
//!   to each other are another dictionary.
//! - Records of a part lie in the order of its requests, so that a range of records names a run of pieces ([`cut()`]).

mod chunk;
mod cut;
mod split;

#[cfg(test)]
mod tests;

use parking_lot::Mutex;

pub(super) use chunk::OtlpChunk;
pub(super) use cut::cut;

/// Numbers the export requests of a lane, and knows how far the current one is filled.
#[derive(Debug)]
pub(super) struct Messages {
    max_bytes: usize,
    current: Mutex<Message>,
}

#[derive(Debug, Default)]
struct Message {
    number: i32,
    bytes: usize,
}

impl Messages {
    pub(super) fn new(max_bytes: usize) -> Messages {
        Messages { max_bytes, current: Mutex::default() }
    }

    /// The numbers of the export requests that pieces of these lengths go into, in order; each has one of its own when it goes `alone`.
    fn place(&self, lengths: impl Iterator<Item = usize>, alone: bool) -> Vec<i32> {
        let mut current = self.current.lock();
        let place = |len: usize| {
            if alone || current.bytes.saturating_add(len) > self.max_bytes {
                // Numbers need only differ within a batch.
                current.number = current.number.checked_add(1).unwrap_or(0);
                current.bytes = 0;
            }
            current.bytes += len;
            current.number
        };
        lengths.map(place).collect()
    }
}
