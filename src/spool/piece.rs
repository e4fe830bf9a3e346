//! What a part is sent as: whole, or, once it was divided, in pieces that are inserts of their own.
//!
//! Invariant: a piece's cut, and so its token, is noted before it is sent, and is the same after a restart. A piece that was tried and has no
//! note that it is in may be in.

/// (first row, how many) in a part's share of a frame.
pub(crate) type Rows = (u64, u64);

/// Rows of a part that are sent together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// All of the part.
    Whole,
    /// All of its rows in the frames from `first` to `last`, by their places in the file.
    Frames {
        /// The first frame.
        first: u32,
        /// The last one.
        last: u32,
    },
    /// Some of its rows in one frame: those of requests that follow one another.
    Rows {
        /// The frame's place in its file.
        frame: u32,
        /// First row, counted in the part's rows of that frame.
        start: u64,
        /// How many rows.
        rows: u64,
    },
}

/// How the delivery of a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PieceState {
    /// Which rows.
    pub extent: Extent,
    /// Counts the tokens that proved nothing; part of its token.
    pub generation: u32,
    /// The first attempt under this token whose outcome may be unknown.
    pub tried: Option<Attempt>,
    /// Nothing more is to be done for it: it is in, but for what was refused.
    pub is_in: bool,
}

/// An attempt that may have left something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When it began, in milliseconds since 1970; `None` where that is not known.
    pub at_ms: Option<u64>,
}

impl Extent {
    /// The rows of a frame, out of the part's `all` there, that belong to it.
    pub(crate) fn rows_in(&self, frame: u32, all: u64) -> Option<Rows> {
        match *self {
            Extent::Whole => Some((0, all)),
            Extent::Frames { first, last } => (first..=last).contains(&frame).then_some((0, all)),
            Extent::Rows { frame: of, start, rows } => (of == frame).then_some((start, rows)),
        }
    }
}

impl PieceState {
    /// Not tried yet, under its first token.
    pub(crate) fn new(extent: Extent) -> PieceState {
        PieceState { extent, generation: 0, tried: None, is_in: false }
    }
}
