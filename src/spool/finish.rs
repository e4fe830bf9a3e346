//! The end of a batch: what became of its rows is counted, then its file goes away.

use std::io;

use super::batch::Batch;
use super::contents::read_meta;
use super::counts::Counts;
use super::format::frame::{Meta, PartMeta};
use super::format::note::Refused;
use super::store::Totals;

impl Batch {
    /// The sink has everything of the batch that it will ever have: every row is counted as stored, quarantined or lost, and the
    /// file is removed, or kept in quarantine when rows of it were refused or damaged. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; try again later. The file is still there then, and the counts are as they were.
    pub fn finish(&self) -> io::Result<()> {
        let outcome = self.outcome()?;
        let keep = !outcome.quarantined.is_empty() || !outcome.lost.is_empty();
        self.store.end(self, outcome, keep)
    }

    fn outcome(&self) -> io::Result<Totals> {
        let mut outcome = Totals { lost: self.index.counts.clone(), ..Totals::default() };
        let state = self.state.lock();
        let file = self.store.disk.open(&state.log.name)?;
        for at in &self.index.frames {
            let Some(meta) = read_meta(file.as_ref(), at)? else {
                continue;
            };
            let mut known = Counts::default();
            for request in &meta.requests {
                known.add_requests(&request.key, 1);
            }
            outcome.stored.add(&known);
            outcome.lost.subtract(&known);
            for part in &meta.parts {
                if state.damaged.contains(&(at.frame, part.id)) {
                    continue;
                }
                let of = self.index.parts.iter().position(|one| one.id == part.id);
                let refused = of.and_then(|place| state.parts.get(place)).map(|part| &part.refused);
                split(&meta, part, at.frame, refused.map_or(&[], Vec::as_slice), &mut outcome);
            }
        }
        outcome.lost.add(&state.lost);
        Ok(outcome)
    }
}

/// Counts a whole segment's rows as stored or quarantined.
fn split(meta: &Meta, part: &PartMeta, frame: u32, refused: &[Refused], outcome: &mut Totals) {
    let mut start = 0u64;
    for (request, rows) in &part.rows_by_request {
        let (rows, end) = (u64::from(*rows), start + u64::from(*rows));
        let overlap = |one: &Refused| {
            let (from, to) = (one.start.max(start), one.start.saturating_add(one.rows).min(end));
            to.saturating_sub(from)
        };
        let here = refused.iter().filter(|one| one.frame == frame);
        let bad = here.map(overlap).sum::<u64>().min(rows);
        if let Some(request) = meta.requests.get(*request as usize) {
            let mut all = Counts::default();
            all.add_rows(&request.key, &part.name.table, rows);
            outcome.lost.subtract(&all);
            outcome.stored.add_rows(&request.key, &part.name.table, rows - bad);
            outcome.quarantined.add_rows(&request.key, &part.name.table, bad);
        }
        start = end;
    }
}
