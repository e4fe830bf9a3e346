//! Notes: what became known about a batch after it was sealed. A note is synced before what it announces.

use std::sync::Arc;

use super::wire::{Malformed, Reader, Writer};

/// One thing that a file remembers about a part of its batch (parts are named by [`crate::spool::Part::id`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An attempt begins: from now on its outcome may be unknown.
    Tried {
        /// The part.
        part: u32,
    },
    /// The part goes again under a new token: the old one proved nothing.
    NewToken {
        /// The part.
        part: u32,
        /// Counts from 0, the part's first token.
        generation: u32,
    },
    /// The part is in; it is not delivered again.
    In {
        /// The part.
        part: u32,
    },
    /// These rows are refused for good and are not delivered again; they are kept in quarantine.
    Refused(Refused),
    /// The sink refuses the part as a whole: from now on it goes piece by piece, each under a token of its own.
    Split {
        /// The part.
        part: u32,
    },
    /// A person asked for it: what was refused of the part is delivered once more.
    Retry {
        /// The part.
        part: u32,
    },
}

/// Rows that the sink refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The part.
    pub part: u32,
    /// The frame's place in its file, as in [`crate::spool::Segment::frame`].
    pub frame: u32,
    /// First row, counted in this part's rows of that frame.
    pub start: u64,
    /// How many rows.
    pub rows: u64,
    /// In the sink's words.
    pub why: Arc<str>,
}

impl Note {
    pub(crate) fn encode(&self, out: &mut Writer) {
        let (kind, part) = match self {
            Note::Tried { part } => (0, part),
            Note::NewToken { part, .. } => (1, part),
            Note::In { part } => (2, part),
            Note::Refused(refused) => (3, &refused.part),
            Note::Retry { part } => (4, part),
            Note::Split { part } => (5, part),
        };
        out.varint(kind);
        out.u32(*part);
        match self {
            Note::NewToken { generation, .. } => out.u32(*generation),
            Note::Refused(refused) => {
                out.u32(refused.frame);
                out.u64(refused.start);
                out.u64(refused.rows);
                out.text(&refused.why);
            }
            Note::Tried { .. } | Note::In { .. } | Note::Retry { .. } | Note::Split { .. } => {}
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Note, Malformed> {
        let (kind, part) = (from.varint()?, from.u32()?);
        Ok(match kind {
            0 => Note::Tried { part },
            1 => Note::NewToken { part, generation: from.u32()? },
            2 => Note::In { part },
            3 => Note::Refused(Refused {
                part,
                frame: from.u32()?,
                start: from.u64()?,
                rows: from.u64()?,
                why: from.text()?,
            }),
            4 => Note::Retry { part },
            5 => Note::Split { part },
            _ => return Err(Malformed),
        })
    }

    /// The notes of one record.
    pub(crate) fn decode_all(bytes: &[u8]) -> Result<Vec<Note>, Malformed> {
        let mut from = Reader(bytes);
        let notes = from.list(5, Note::decode)?;
        from.end()?;
        Ok(notes)
    }

    pub(crate) fn encode_all(notes: &[Note]) -> Vec<u8> {
        let mut out = Writer::default();
        out.count(notes.len());
        notes.iter().for_each(|note| note.encode(&mut out));
        out.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_round_trip() {
        let notes = vec![
            Note::Tried { part: 1 },
            Note::NewToken { part: 2, generation: 3 },
            Note::In { part: u32::MAX },
            Note::Refused(Refused { part: 0, frame: 4, start: 5, rows: 6, why: "no".into() }),
            Note::Retry { part: 7 },
            Note::Split { part: 8 },
        ];
        let bytes = Note::encode_all(&notes);
        assert_eq!(Note::decode_all(&bytes), Ok(notes));
        for len in 0..bytes.len() {
            assert_eq!(Note::decode_all(&bytes[..len]), Err(Malformed));
        }
    }
}
