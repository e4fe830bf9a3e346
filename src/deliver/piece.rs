//! Parts are delivered whole. Only what the sink refuses for good is halved: frames first, then the requests of one frame, until the
//! refused rows stand alone and everything around them is in.

use std::ops::Range;

use super::doubt::Insert;
use crate::sink::PartDelivery;
use crate::spool::{BatchPart, Contents, Rows, SegmentContents};

/// A range of a part, and how its delivery stands.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) range: Extent,
    pub(super) insert: Insert,
}

/// Which rows of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Whole segments, by place in [`Contents::segments`].
    Segments(Range<usize>),
    /// Entries of `rows_by_request` of one segment.
    Requests(usize, Range<usize>),
}

impl Extent {
    /// Two halves; `None` when it is one request.
    pub(super) fn halves(&self, contents: &Contents) -> Option<(Extent, Extent)> {
        match self {
            Extent::Whole => Extent::Segments(0..contents.segments.len()).halves(contents),
            Extent::Segments(range) if range.len() == 1 => {
                let segment = range.start;
                let requests = contents.segments.get(segment)?.rows_by_request.len();
                Extent::Requests(segment, 0..requests).halves(contents)
            }
            Extent::Segments(range) => {
                let (left, right) = halves(range)?;
                Some((Extent::Segments(left), Extent::Segments(right)))
            }
            Extent::Requests(segment, range) => {
                let (left, right) = halves(range)?;
                Some((Extent::Requests(*segment, left), Extent::Requests(*segment, right)))
            }
        }
    }

    /// The segment and the rows (first, count) in it, of an extent within one segment.
    pub(super) fn rows<'a>(&self, contents: &'a Contents) -> Option<(&'a SegmentContents, (u64, u64))> {
        match self {
            Extent::Whole => Extent::Segments(0..1).rows(contents),
            Extent::Segments(range) => {
                let segment = contents.segments.get(range.start)?;
                Some((segment, (0, segment.rows)))
            }
            Extent::Requests(segment, range) => {
                let segment = contents.segments.get(*segment)?;
                let rows = |range: Range<usize>| -> u64 {
                    let entries = segment.rows_by_request.get(range).unwrap_or_default();
                    entries.iter().map(|(_, rows)| u64::from(*rows)).sum()
                };
                Some((segment, (rows(0..range.start), rows(range.clone()))))
            }
        }
    }

    /// What is sent for it. The whole part's token is `token`; every other extent has one of its own, the same after a restart.
    pub(super) fn delivery(&self, part: &BatchPart, contents: &Contents, token: &str, insert: &Insert) -> PartDelivery {
        let (chosen, only_rows) = self.choose(contents);
        let frames = chosen.segments.first().zip(chosen.segments.last());
        let (first, last) = frames.map_or((0, 0), |(first, last)| (first.frame, last.frame));
        let generation = insert.generation;
        let token = match (self, only_rows) {
            (Extent::Whole, _) => token.to_owned(),
            (_, None) => format!("{token}-f{first}-{last}-{generation}"),
            (_, Some((start, rows))) => format!("{token}-f{first}-r{start}-{rows}-{generation}"),
        };
        PartDelivery {
            name: part.name.clone(),
            columns: part.columns.clone(),
            token,
            attempt: insert.attempts,
            rows: chosen.rows(),
            body: chosen.body(),
            witnesses: chosen.witnesses(),
            only_rows,
        }
    }

    fn choose(&self, contents: &Contents) -> (Contents, Option<(u64, u64)>) {
        match self {
            Extent::Whole => (contents.clone(), None),
            Extent::Segments(range) => {
                let segments = contents.segments.get(range.clone()).unwrap_or_default();
                let segments = segments.to_vec();
                (Contents { segments }, None)
            }
            Extent::Requests(place, _) => {
                let segment = contents.segments.get(*place).cloned();
                // A witness does not say whose it is.
                let segment = segment.map(|segment| SegmentContents { witnesses: Vec::new(), ..segment });
                let segments = segment.into_iter().collect();
                (Contents { segments }, self.rows(contents).map(|(_, rows)| rows))
            }
        }
    }
}

/// What is still to be sent of a part that the sink refused as a whole, or of which rows are in quarantine: whole frames, and request by
/// request where a frame is not sent whole.
pub(super) fn remaining(contents: &Contents) -> Vec<Extent> {
    let mut extents = Vec::new();
    for (place, segment) in contents.segments.iter().enumerate() {
        if segment.to_send == [(0, segment.rows)] {
            extents.push(Extent::Segments(place..place + 1));
            continue;
        }
        let mut start = 0u64;
        for (entry, (_, rows)) in segment.rows_by_request.iter().enumerate() {
            let holds = |(first, count): &Rows| (*first..first.saturating_add(*count)).contains(&start);
            if segment.to_send.iter().any(holds) {
                extents.push(Extent::Requests(place, entry..entry + 1));
            }
            start += u64::from(*rows);
        }
    }
    extents
}

fn halves(range: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let middle = range.start + range.len() / 2;
    (range.len() > 1).then_some((range.start..middle, middle..range.end))
}
