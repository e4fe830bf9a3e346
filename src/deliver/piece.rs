//! Parts are delivered whole. Only what the sink does not take is halved: frames first, then the requests of one frame, until the
//! refused rows stand alone and everything around them is in. Cuts and tokens are noted, so that a restart finds the same.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubt::Insert;
use crate::sink::PartDelivery;
use crate::spool::{Batch, BatchPart, Contents, Extent, Note, PartState, PieceState, Rows, SegmentContents};

/// An insert that is known not to be in is noted again when its last note is as old as this: how long a token is remembered is counted
/// from there.
const NOTED_FOR: Duration = Duration::from_secs(5 * 60);

/// Some rows of a part, and how their delivery stands.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) extent: Extent,
    pub(super) insert: Insert,
    /// The generation that was noted last, and when.
    noted: Option<(u32, Instant)>,
}

impl Piece {
    /// A piece that was never sent.
    fn new(extent: Extent) -> Piece {
        Piece { extent, insert: Insert::new(0), noted: None }
    }

    /// A piece as the notes of an earlier process left it. Where they do not say how it was `split`, only a look can tell.
    pub(super) fn known(state: &PieceState, split: bool) -> Piece {
        let generation = state.generation;
        let insert = match state.tried {
            _ if split => Insert::unsure(generation),
            Some(attempt) => Insert::tried_before(generation, attempt.at_ms),
            None => Insert::new(generation),
        };
        Piece { insert, ..Piece::new(state.extent) }
    }

    /// Two halves; `None` when it is one request.
    pub(super) fn halves(&self, contents: &Contents) -> Option<[Piece; 2]> {
        halves(self.extent, contents).map(|extents| extents.map(Piece::new))
    }

    /// Two halves of a piece that is too much at once; `None` when it is one request.
    pub(super) fn smaller(&self, contents: &Contents) -> Option<[Piece; 2]> {
        let halves = self.halves(contents)?;
        Some(halves.map(|half| Piece { insert: self.insert.of_a_piece(), ..half }))
    }

    /// Whether it was never sent, as far as is known.
    pub(super) fn is_fresh(&self) -> bool {
        self.insert.attempts == 0 && self.insert.known_absent()
    }

    /// The note that is owed before it is sent; none while an older one still says when the first attempt was that may be in.
    pub(super) fn announce(&mut self, part: u32) -> Option<Note> {
        let generation = self.insert.generation;
        let is_noted = self.noted.is_some_and(|(of, at)| of == generation && at.elapsed() < NOTED_FOR);
        if is_noted || !self.insert.known_absent() {
            return None;
        }
        self.noted = Some((generation, Instant::now()));
        Some(Note::Attempt { part, extent: self.extent, generation, at_ms: crate::spool::now_ms() })
    }

    /// What is sent for it.
    pub(super) fn delivery(
        &self,
        batch: &Batch,
        part: &BatchPart,
        contents: &Contents,
        shard: Option<Arc<str>>,
    ) -> PartDelivery {
        let (chosen, only_rows) = choose(self.extent, contents);
        PartDelivery {
            name: part.name.clone(),
            columns: part.columns.clone(),
            token: batch.token(part.id, self.extent, self.insert.generation),
            attempt: self.insert.attempts,
            rows: chosen.rows(),
            body: chosen.body(),
            // Those of a frame do not say whose they are.
            witnesses: if only_rows.is_none() { chosen.witnesses() } else { Vec::new() },
            only_rows,
            shard,
        }
    }
}

/// The cuts of a part where it has to be cut before it is sent, as notes: because some rows are not to be sent (they were refused, or a
/// person asked for others), or because an earlier process did not say how it divided the part. What such a process sent is looked for
/// request by request: less than a request was never sent, and a witness tells nothing about its neighbours.
pub(super) fn cuts(part: u32, state: &PartState, contents: &Contents) -> Option<Vec<Note>> {
    let is_open = |piece: &&PieceState| !piece.is_in;
    let guess =
        state.split && state.pieces.iter().filter(is_open).any(|piece| halves(piece.extent, contents).is_some());
    if state.is_cut() && !guess {
        return None;
    }
    let tried = state.is_tried();
    let known: Vec<Extent> = state.pieces.iter().filter(|piece| piece.is_in).map(|piece| piece.extent).collect();
    let mut into = known.clone();
    let mut last = None;
    for (place, segment) in contents.segments.iter().enumerate() {
        let frame = segment.frame;
        let left = state.unsettled_of(&segment.to_send, frame, segment.rows);
        match into.last_mut() {
            _ if tried => into.extend(requests(segment, &left)),
            _ if left != [(0, segment.rows)] => {
                into.extend(left.iter().map(|(start, rows)| Extent::Rows { frame, start: *start, rows: *rows }));
            }
            Some(Extent::Frames { last: end, .. }) if last == Some(place) => {
                (*end, last) = (frame, Some(place + 1));
            }
            _ => {
                into.push(Extent::Frames { first: frame, last: frame });
                last = Some(place + 1);
            }
        }
    }
    let mut notes = vec![Note::Divided { part, extent: Extent::Whole, into }];
    if tried {
        notes.extend([Note::Split { part }, Note::Tried { part }]);
        notes.extend(known.into_iter().map(|extent| Note::PieceIn { part, extent }));
    }
    Some(notes)
}

/// Each request that has rows in one of the ranges.
fn requests(segment: &SegmentContents, ranges: &[Rows]) -> Vec<Extent> {
    let (frame, mut start, mut found) = (segment.frame, 0u64, Vec::new());
    for (_, rows) in &segment.rows_by_request {
        let rows = u64::from(*rows);
        let holds = |(first, count): &Rows| (*first..first.saturating_add(*count)).contains(&start);
        if rows > 0 && ranges.iter().any(holds) {
            found.push(Extent::Rows { frame, start, rows });
        }
        start = start.saturating_add(rows);
    }
    found
}

/// The segment and the rows (first, count) in it, of an extent within one segment.
pub(super) fn rows(extent: Extent, contents: &Contents) -> Option<(&SegmentContents, Rows)> {
    let segment = segments(extent, contents).first()?;
    extent.rows_in(segment.frame, segment.rows).map(|rows| (segment, rows))
}

/// The readable segments that an extent has rows in.
fn segments(extent: Extent, contents: &Contents) -> &[SegmentContents] {
    let belongs = |segment: &SegmentContents| extent.rows_in(segment.frame, segment.rows).is_some();
    let first = contents.segments.iter().position(belongs).unwrap_or(contents.segments.len());
    let rest = contents.segments.get(first..).unwrap_or_default();
    let count = rest.iter().take_while(|segment| belongs(segment)).count();
    rest.get(..count).unwrap_or_default()
}

fn choose(extent: Extent, contents: &Contents) -> (Contents, Option<Rows>) {
    let segments = segments(extent, contents).to_vec();
    let only_rows = match extent {
        Extent::Rows { start, rows, .. } => Some((start, rows)),
        Extent::Whole | Extent::Frames { .. } => None,
    };
    (Contents { segments }, only_rows)
}

fn halves(extent: Extent, contents: &Contents) -> Option<[Extent; 2]> {
    let segments = segments(extent, contents);
    if let (Some((left, right)), true) = (middle(0..segments.len()), segments.len() > 1) {
        let frames = |range: Range<usize>| {
            let half = segments.get(range)?;
            Some(Extent::Frames { first: half.first()?.frame, last: half.last()?.frame })
        };
        return Some([frames(left)?, frames(right)?]);
    }
    let segment = segments.first()?;
    let (start, count) = extent.rows_in(segment.frame, segment.rows)?;
    let end = start.saturating_add(count);
    let mut borders = Vec::new();
    let mut at = 0u64;
    for (_, rows) in &segment.rows_by_request {
        if (start..end).contains(&at) && *rows > 0 {
            borders.push(at);
        }
        at = at.saturating_add(u64::from(*rows));
    }
    let (left, _) = middle(0..borders.len())?;
    let border = *borders.get(left.end)?;
    let frame = segment.frame;
    let rows = |start: u64, end: u64| Extent::Rows { frame, start, rows: end - start };
    Some([rows(start, border), rows(border, end)])
}

fn middle(range: Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let middle = range.start + range.len() / 2;
    (range.len() > 1).then_some((range.start..middle, middle..range.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Witness;

    /// Segments of frames 3, 4, 6 (5 is damaged, or has no rows of the part): requests of 2, 1 and 3 rows each.
    fn contents() -> Contents {
        let segment = |frame: u32| SegmentContents {
            frame,
            bytes: Vec::new(),
            rows: 6,
            to_send: vec![(0, 6)],
            rows_by_request: vec![(0, 2), (1, 1), (4, 3)],
            witnesses: vec![Witness(vec![1].into())],
        };
        Contents { segments: [3, 4, 6].map(segment).to_vec() }
    }

    #[test]
    fn halves_end_with_one_request_each_and_cover_everything_once() {
        let contents = contents();
        let mut open = vec![Extent::Whole];
        let mut single = Vec::new();
        while let Some(extent) = open.pop() {
            match halves(extent, &contents) {
                Some(two) => open.extend(two),
                None => single.push(extent),
            }
        }
        single.sort();
        let mut expected = Vec::new();
        for frame in [3, 4, 6] {
            for (start, rows) in [(0, 2), (2, 1), (3, 3)] {
                expected.push(Extent::Rows { frame, start, rows });
            }
        }
        expected.sort();
        assert_eq!(single, expected);
    }

    #[test]
    fn what_is_not_to_be_sent_is_cut_out() {
        let mut contents = contents();
        assert_eq!(cuts(7, &PartState::default(), &contents), None);
        contents.segments[2].to_send = vec![(0, 2), (3, 3)];
        let state = PartState { only: Some(Vec::new()), ..PartState::default() };
        let into = vec![
            Extent::Frames { first: 3, last: 4 },
            Extent::Rows { frame: 6, start: 0, rows: 2 },
            Extent::Rows { frame: 6, start: 3, rows: 3 },
        ];
        assert_eq!(cuts(7, &state, &contents), Some(vec![Note::Divided { part: 7, extent: Extent::Whole, into }]));
    }

    #[test]
    fn what_was_split_is_cut_into_requests_around_what_is_known_to_be_in() {
        let mut contents = contents();
        contents.segments.pop();
        let known = Extent::Frames { first: 3, last: 3 };
        let piece = |extent, is_in| PieceState { is_in, ..PieceState::new(extent) };
        let open = Extent::Frames { first: 4, last: 4 };
        let mut state =
            PartState { split: true, pieces: vec![piece(known, true), piece(open, false)], ..PartState::default() };
        let notes = cuts(7, &state, &contents).unwrap();
        let single = |start, rows| Extent::Rows { frame: 4, start, rows };
        let into = vec![known, single(0, 2), single(2, 1), single(3, 3)];
        let divided = Note::Divided { part: 7, extent: Extent::Whole, into: into.clone() };
        let others = [Note::Split { part: 7 }, Note::Tried { part: 7 }, Note::PieceIn { part: 7, extent: known }];
        assert_eq!((&notes[0], &notes[1..]), (&divided, &others[..]));
        state.pieces = into.into_iter().map(|extent| piece(extent, extent == known)).collect();
        assert_eq!(cuts(7, &state, &contents), None, "the cuts stay as they are");
    }
}
