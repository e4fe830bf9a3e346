//! Notes: what became known about a batch after it was sealed. A note is synced before what it announces.

use std::sync::Arc;

use super::wire::{Malformed, Reader, Writer};
use crate::spool::piece::Extent;

/// One thing that a file remembers about a part of its batch (parts are named by [`crate::spool::BatchPart::id`]).
///
/// A kind that is not known here makes the record damage: it counts as a note that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// An attempt begins, at a time that is not known: from now on the part's outcome, or that of any of its pieces, may be unknown.
    Tried {
        /// The part.
        part: u32,
    },
    /// The part goes again under a new token: the old one proved nothing. Read only; [`Note::Attempt`] says it now.
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
    /// The part was divided, and nobody knows how: what is known of its pieces is not all. Taken to be so where a note may be lost.
    Split {
        /// The part.
        part: u32,
    },
    /// A person asked for it: what was refused of the part is delivered once more.
    Retry {
        /// The part.
        part: u32,
    },
    /// An attempt begins, of the whole part or a piece of it, and nothing that was sent of it before is in.
    Attempt {
        /// The part.
        part: u32,
        /// What is sent.
        extent: Extent,
        /// Under which token, counted from 0.
        generation: u32,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// A piece is in, but for what was refused of it; it is not delivered again.
    PieceIn {
        /// The part.
        part: u32,
        /// The piece.
        extent: Extent,
    },
    /// This piece goes as these from now on, each under a token of its own. Of the whole part: all that was known of pieces before is replaced.
    Divided {
        /// The part.
        part: u32,
        /// The piece that was.
        extent: Extent,
        /// The pieces that are.
        into: Vec<Extent>,
    },
    /// Where the sink has several shards: all of the part goes to this one from now on, and nothing of it was sent before.
    Shard {
        /// The part.
        part: u32,
        /// The sink's name for it.
        shard: Arc<str>,
    },
}

/// Rows that the sink refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The part.
    pub(crate) part: u32,
    /// The frame's place in its file, as in [`crate::spool::Segment::frame`].
    pub(crate) frame: u32,
    /// First row, counted in this part's rows of that frame.
    pub(crate) start: u64,
    /// How many rows.
    pub(crate) rows: u64,
    /// In the sink's words.
    pub(crate) why: Arc<str>,
}

impl Note {
    /// The part that it is about.
    pub(crate) fn part(&self) -> u32 {
        match self {
            Note::Tried { part } | Note::In { part } | Note::Retry { part } | Note::Split { part } => *part,
            Note::NewToken { part, .. } | Note::Attempt { part, .. } => *part,
            Note::PieceIn { part, .. } | Note::Divided { part, .. } | Note::Shard { part, .. } => *part,
            Note::Refused(refused) => refused.part,
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.varint(match self {
            Note::Tried { .. } => 0,
            Note::NewToken { .. } => 1,
            Note::In { .. } => 2,
            Note::Refused(_) => 3,
            Note::Retry { .. } => 4,
            Note::Split { .. } => 5,
            Note::Attempt { .. } => 6,
            Note::PieceIn { .. } => 7,
            Note::Divided { .. } => 8,
            Note::Shard { .. } => 9,
        });
        out.u32(self.part());
        match self {
            Note::NewToken { generation, .. } => out.u32(*generation),
            Note::Refused(refused) => {
                out.u32(refused.frame);
                out.u64(refused.start);
                out.u64(refused.rows);
                out.text(&refused.why);
            }
            Note::Attempt { extent, generation, at_ms, .. } => {
                encode_extent(*extent, out);
                out.u32(*generation);
                out.u64(*at_ms);
            }
            Note::PieceIn { extent, .. } => encode_extent(*extent, out),
            Note::Divided { extent, into, .. } => {
                encode_extent(*extent, out);
                out.count(into.len());
                into.iter().for_each(|extent| encode_extent(*extent, out));
            }
            Note::Shard { shard, .. } => out.text(shard),
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
            6 => Note::Attempt { part, extent: decode_extent(from)?, generation: from.u32()?, at_ms: from.u64()? },
            7 => Note::PieceIn { part, extent: decode_extent(from)? },
            8 => Note::Divided { part, extent: decode_extent(from)?, into: from.list(1, decode_extent)? },
            9 => Note::Shard { part, shard: from.text()? },
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

fn encode_extent(extent: Extent, out: &mut Writer) {
    match extent {
        Extent::Whole => out.varint(0),
        Extent::Frames { first, last } => {
            out.varint(1);
            out.u32(first);
            out.u32(last);
        }
        Extent::Rows { frame, start, rows } => {
            out.varint(2);
            out.u32(frame);
            out.u64(start);
            out.u64(rows);
        }
    }
}

fn decode_extent(from: &mut Reader<'_>) -> Result<Extent, Malformed> {
    Ok(match from.varint()? {
        0 => Extent::Whole,
        1 => Extent::Frames { first: from.u32()?, last: from.u32()? },
        2 => Extent::Rows { frame: from.u32()?, start: from.u64()?, rows: from.u64()? },
        _ => return Err(Malformed),
    })
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
            Note::Attempt { part: 9, extent: Extent::Whole, generation: 1, at_ms: u64::MAX },
            Note::PieceIn { part: 10, extent: Extent::Rows { frame: 3, start: 5, rows: 8 } },
            Note::Divided {
                part: 11,
                extent: Extent::Whole,
                into: vec![Extent::Frames { first: 0, last: 4 }, Extent::Frames { first: 5, last: 5 }],
            },
            Note::Shard { part: 12, shard: "a:8123,b:8123".into() },
        ];
        let bytes = Note::encode_all(&notes);
        assert_eq!(Note::decode_all(&bytes), Ok(notes));
        for len in 0..bytes.len() {
            assert_eq!(Note::decode_all(&bytes[..len]), Err(Malformed));
        }
    }
}
