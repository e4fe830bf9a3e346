//! What a start must have found, and what the books must say, after all that was done.

use super::*;

impl World {
    pub(super) fn check(
        &mut self,
        recovered: Recovered,
        clean: Option<Vec<Remembered>>,
        flip: Option<String>,
        sure: bool,
    ) {
        let seed = self.seed;
        let order: Vec<_> = recovered.batches.iter().map(|batch| (!batch.is_tried(), batch.sequence())).collect();
        assert!(order.is_sorted(), "seed {seed}: order {order:?}");
        let mut found = BTreeMap::<u64, usize>::new();
        self.members.clear();
        for batch in &recovered.batches {
            for (id, parts) in read(batch).unwrap() {
                assert_eq!(found.insert(id, parts), None, "seed {seed}: frame {id} is there twice");
                self.members.entry(batch.sequence()).or_default().push(id);
            }
            for part in batch.parts() {
                if let Some(noted) = self.noted.get(&(batch.sequence(), part.id)) {
                    let state = batch.state(part.id);
                    assert!(
                        remembers(&state, noted),
                        "seed {seed}: a note is gone: {noted:?} {state:?} {:?} {flip:?}",
                        batch.header
                    );
                }
            }
        }
        self.check_pieces(&recovered.batches);
        let losses: HashMap<u64, (u64, usize)> = recovered.batches.iter().map(losses).collect();
        let counted = losses
            .iter()
            .any(|(sequence, lost)| self.losses.get(sequence).is_none_or(|known| known < lost) && *lost > (0, 0));
        self.losses = losses;
        let still_there = |sequence: &u64| recovered.batches.iter().any(|batch| batch.sequence() == *sequence);
        let hit = sequence_of(flip.as_ref()).filter(still_there);
        let mut missing = 0;
        let ids: Vec<u64> = self.frames.keys().copied().collect();
        for id in ids {
            let (fate, frame) = &self.frames[&id];
            let parts = found.get(&id).copied();
            let whole = parts == Some(frame.parts.len());
            let next = match (*fate, parts) {
                (Fate::Refused | Fate::Ended | Fate::Gone, None) => *fate,
                // Finished before the crash, or gone and never counted.
                (Fate::Losing(_), None) => Fate::Gone,
                (Fate::Losing(_), Some(_)) if whole => Fate::Kept,
                (Fate::Damaged, _) => Fate::Damaged,
                (Fate::Kept | Fate::Maybe | Fate::Ending(_), Some(_)) if whole => Fate::Kept,
                (Fate::Maybe, None) => Fate::Gone,
                (Fate::Ending(of), None) if Some(of) != hit => Fate::Ended,
                (Fate::Kept | Fate::Ending(_) | Fate::Maybe, _) if flip.is_some() => {
                    missing += 1;
                    assert!(
                        counted || recovered.torn > 0 || !sure,
                        "seed {seed}: frame {id}, {fate:?}, is lost and not counted: {flip:?} {parts:?} {:?}",
                        self.losses
                    );
                    if counted { Fate::Damaged } else { Fate::Gone }
                }
                (fate, parts) => panic!("seed {seed}: frame {id} was {fate:?}, and now {parts:?} parts are there"),
            };
            self.set(id, next);
        }
        assert!(missing <= 1, "seed {seed}: {flip:?} lost {missing} frames");
        self.check_digests(&recovered, clean);
        self.check_counts(flip);
        self.sealed = recovered.batches;
    }

    /// What was noted of pieces is known.
    fn check_pieces(&self, batches: &[Batch]) {
        for ((sequence, part, extent), note) in &self.pieces {
            let batch = batches.iter().find(|batch| batch.sequence() == *sequence);
            let state = batch.map(|batch| batch.state(*part)).filter(|state| !state.is_in);
            let pieces = state.map(|state| state.pieces).unwrap_or_default();
            let kept = match (pieces.iter().find(|piece| piece.extent == *extent), note) {
                (Some(piece), Note::PieceIn { .. }) => piece.is_in,
                (Some(piece), Note::Attempt { generation, at_ms, .. }) => {
                    let when = piece.tried.map(|attempt| attempt.at_ms.unwrap_or(u64::MAX));
                    piece.is_in || (piece.generation >= *generation && when.is_some_and(|when| when >= *at_ms))
                }
                // The batch has ended, or the piece was divided by a note of which nobody knew that it was written.
                (None, note) => pieces.is_empty() || matches!(note, Note::Attempt { .. }),
                _ => true,
            };
            assert!(kept, "seed {}: of batch {sequence} {note:?} is forgotten: {pieces:?}", self.seed);
        }
    }

    fn check_digests(&self, recovered: &Recovered, clean: Option<Vec<Remembered>>) {
        if let Some(remembered) = clean {
            assert_eq!((&recovered.digests, recovered.clean), (&remembered, true));
            return;
        }
        // What vanished, or what a damaged journal said, leaves nothing behind that could tell.
        let traceless = |fate: &Fate| match fate {
            Fate::Refused | Fate::Gone => true,
            Fate::Damaged => self.any_vanished,
            _ => self.journal_hit,
        };
        let nothing_before = self.frames.values().all(|(fate, _)| traceless(fate));
        assert!(!recovered.clean || nothing_before, "seed {}: no stop was clean", self.seed);
        let known = |fate: &Fate| *fate == Fate::Kept || (*fate == Fate::Ended && !self.journal_hit);
        for (fate, frame) in self.frames.values().filter(|(fate, _)| known(fate)) {
            for request in &frame.requests {
                let known = recovered.digests.iter().any(|one| one.digest == request.digest && one.key == request.key);
                assert!(known, "seed {}: a digest of a frame that was {fate:?} is gone", self.seed);
            }
        }
    }

    /// accepted = stored + quarantined + dropped + waiting + lost, whatever happened.
    pub(super) fn check_counts(&self, flip: Option<String>) {
        let rows = |wanted: Fate| -> u64 {
            let frames = self.frames.values().filter(|(fate, _)| *fate == wanted);
            frames.map(|(_, frame)| frame.rows()).sum()
        };
        let (totals, waiting) = (self.spool.totals(), self.spool.waiting());
        let delivered = totals.stored.total_rows() + totals.quarantined.total_rows() + totals.dropped.total_rows();
        let sum = delivered + totals.lost.total_rows() + waiting.total_rows();
        let expected = rows(Fate::Kept) + rows(Fate::Ended) + rows(Fate::Damaged);
        if self.journal_hit {
            return;
        }
        // Some of a frame that is lost in part is stored.
        let stored = rows(Fate::Ended)..=rows(Fate::Ended) + rows(Fate::Damaged) + rows(Fate::Gone);
        if !self.flipped {
            let refused = self.quarantined..=self.refused;
            let counted = totals.quarantined.total_rows();
            assert!(refused.contains(&counted), "seed {}: {refused:?} refused, {counted} counted", self.seed);
        }
        assert!(stored.contains(&delivered), "seed {}: stored", self.seed);
        // A bit flipped in a footer that knew of torn frames makes them look lost: a false alarm, never a silence. A file that is gone is counted by the
        // process that saw it, where its end was written down before the crash.
        let fits = (expected..=expected + rows(Fate::Gone)).contains(&sum);
        assert!(fits, "seed {}: {expected} accepted, {sum} counted, flip {flip:?}", self.seed);
    }
}

/// Whether a state knows all that another did, and perhaps more.
pub(super) fn remembers(state: &PartState, noted: &PartState) -> bool {
    let same = |piece: &PieceState| state.pieces.iter().find(|one| one.extent == piece.extent);
    let pieces = noted.pieces.iter().all(|piece| match same(piece) {
        Some(now) => {
            (now.is_in || !piece.is_in)
                && (now.tried.is_some() || piece.tried.is_none())
                && now.generation >= piece.generation
        }
        // It was divided since; what is in is not.
        None => !piece.is_in,
    });
    let refused = noted.refused.iter().all(|refused| state.refused.contains(refused));
    let shard = noted.shard.is_none() || state.shard == noted.shard;
    pieces && shard && refused && (state.is_in || !noted.is_in) && state.generation >= noted.generation
}

pub(super) fn refused_rows(batch: &Batch) -> u64 {
    let states = batch.parts().iter().map(|part| batch.state(part.id));
    states.flat_map(|state| state.refused).map(|refused| refused.rows).sum()
}

/// The batch whose file was hit.
pub(super) fn sequence_of(flip: Option<&String>) -> Option<u64> {
    flip?.split_once('.')?.0.parse().ok()
}

pub(super) fn losses(batch: &Batch) -> (u64, (u64, usize)) {
    let state = batch.state.lock();
    (batch.sequence(), (state.lost.total_rows(), state.damaged.len()))
}
