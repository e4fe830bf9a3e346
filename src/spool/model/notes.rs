//! What deliveries may note of a part, in any order that a delivery could.

use super::*;

/// What may become known of a part, as deliveries note it.
pub(super) fn random_notes(rng: &mut StdRng, part: &BatchPart, state: &PartState) -> Vec<Note> {
    let id = part.id;
    let open: Vec<&PieceState> = state.pieces.iter().filter(|piece| !piece.is_in).collect();
    let Some(piece) = open.get(rng.random_range(0..open.len().max(1))).filter(|_| !state.is_in) else {
        return vec![Note::In { part: id }];
    };
    let extent = piece.extent;
    if state.shard.is_none() && !state.is_tried() {
        let shard = ["a:8123", "b:8123"][rng.random_range(0..2usize)].into();
        return vec![
            Note::Shard { part: id, shard },
            Note::Attempt { part: id, extent, generation: piece.generation + 1, at_ms: now_ms() },
        ];
    }
    match rng.random_range(0..10) {
        0 => vec![Note::Tried { part: id }],
        1..5 => vec![Note::Attempt { part: id, extent, generation: piece.generation + 1, at_ms: now_ms() }],
        5..7 => match halves(extent, part) {
            Some(into) => vec![Note::Divided { part: id, extent, into }],
            None => {
                let Extent::Rows { frame, start, rows } = extent else { panic!("{extent:?} is not one request's") };
                let refused = Refused { part: id, frame, start, rows, why: "no".into() };
                vec![Note::PieceIn { part: id, extent }, Note::Refused(refused)]
            }
        },
        7..9 if extent != Extent::Whole => vec![Note::PieceIn { part: id, extent }],
        _ => vec![Note::In { part: id }],
    }
}

/// Frames, then the requests of a frame: the first has one row, the second two, and so on.
pub(super) fn halves(extent: Extent, part: &BatchPart) -> Option<Vec<Extent>> {
    let frames: Vec<&Segment> =
        part.segments.iter().filter(|segment| extent.rows_in(segment.frame, segment.rows).is_some()).collect();
    if let [first, .., last] = frames[..] {
        let middle = frames[frames.len() / 2 - 1].frame;
        let next = frames[frames.len() / 2].frame;
        let left = Extent::Frames { first: first.frame, last: middle };
        return Some(vec![left, Extent::Frames { first: next, last: last.frame }]);
    }
    let segment = frames.first()?;
    let frame = segment.frame;
    match extent {
        Extent::Rows { .. } => None,
        _ => {
            let mut start = 0;
            let mut into = Vec::new();
            while start < segment.rows {
                let rows = into.len() as u64 + 1;
                into.push(Extent::Rows { frame, start, rows });
                start += rows;
            }
            Some(into)
        }
    }
}
