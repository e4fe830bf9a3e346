//! The end of a process, and the start of the next on what it left.

use super::*;

impl World {
    /// The process is gone; another starts, perhaps dies while it recovers, and starts again.
    pub(super) fn restart(&mut self) {
        self.crashes += 1;
        self.open.clear();
        self.sealed.clear();
        let clean = self.remembered.take();
        let mut sure = !self.disk.is_dead();
        self.disk.restart();
        let hits = !self.is_gentle();
        let flip = (hits && self.rng.random_bool(0.2)).then(|| self.disk.flip(".batch")).flatten();
        self.flipped |= flip.is_some();
        if hits && self.rng.random_bool(0.05) {
            self.journal_hit |= self.disk.flip_where(|name| name.starts_with("journal-")).is_some();
            // It may have been what knew which numbers are used.
            self.noted.clear();
            self.pieces.clear();
        }
        // Nobody knows their numbers any more.
        self.any_vanished |= !self.vanished.is_empty();
        self.noted.retain(|(sequence, _), _| !self.vanished.contains(sequence));
        self.pieces.retain(|(sequence, ..), _| !self.vanished.contains(sequence));
        self.vanished.clear();
        let hit = sequence_of(flip.as_ref());
        self.noted.retain(|(sequence, _), _| Some(*sequence) != hit);
        self.pieces.retain(|(sequence, ..), _| Some(*sequence) != hit);
        loop {
            let dies = self.rng.random_bool(0.2);
            let often = if dies { 0.05 } else { 0.0 };
            let crash_in = dies.then(|| self.rng.random_range(0..40));
            self.disk.set(Faults { write: often, sync: often, other: often, crash_in, ..Faults::default() });
            // On a disk that is full to its last byte the reserve, where there is one, is enough for every start.
            let full = !dies && self.rng.random_bool(0.2) && self.disk.len_of("reserve") == Some(4 << 10);
            self.disk.fill_up(full.then_some(0));
            let opened = Spool::open(Box::new(self.disk.clone()), &SETTINGS);
            let died = self.disk.is_dead();
            assert!(!full || opened.is_ok(), "seed {}: no start on a full disk: {:?}", self.seed, opened.err());
            self.disk.fill_up(None);
            self.disk.set(Faults::default());
            match opened {
                Ok((spool, recovered)) if !died => {
                    self.spool = spool;
                    let clean = clean.filter(|_| sure || (recovered.clean && !recovered.digests.is_empty()));
                    return self.check(recovered, clean, flip, sure);
                }
                _ => {
                    // The word of a clean stop may be gone by now.
                    sure = false;
                    self.disk.restart();
                }
            }
        }
    }

    /// At the end the disk is well again, everything is delivered, and the books close.
    pub(super) fn end(&mut self) {
        self.disk.set(Faults { crash_in: Some(0), ..Faults::default() });
        let _ = self.disk.list("");
        self.restart();
        for batch in std::mem::take(&mut self.sealed) {
            batch.finish().unwrap();
            self.quarantined += refused_rows(&batch);
        }
        assert!(self.spool.waiting().is_empty());
        assert_eq!(self.spool.used(), (0, BTreeMap::new()));
        let left = self.disk.list("").unwrap();
        assert!(left.iter().all(|(name, _)| !name.ends_with(".batch") && !name.ends_with(".cut")), "{left:?}");
        for (fate, _) in self.frames.values_mut().filter(|(fate, _)| *fate == Fate::Kept) {
            *fate = Fate::Ended;
        }
        self.check_counts(None);
        if !self.flipped && !self.journal_hit && !self.any_vanished {
            let kept = self.spool.quarantined().unwrap();
            let kept: u64 = kept.iter().flat_map(|batch| &batch.parts).map(|part| part.refused_rows).sum();
            let counted = self.spool.totals().quarantined.total_rows();
            assert_eq!(counted, kept, "seed {}: counted as quarantined, and kept there", self.seed);
        }
    }
}
