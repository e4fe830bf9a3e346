//! The end of a batch: what became of its rows is counted, then its file goes away.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::batch::{Batch, without};
use super::contents::read_meta;
use super::counts::{Counts, Totals};
use super::digests::Remembered;
use super::disk::DiskFile;
use super::format::frame::{Meta, PartMeta, rows};
use super::journal::Event;
use super::piece::Rows;

/// A file that could not be read this often when its batch ended is not waited for.
const COUNT_ATTEMPTS: u32 = 5;

impl Batch {
    /// The sink has everything of the batch that it will ever have: every row is counted as stored, quarantined or lost, and the
    /// file is removed, or kept in quarantine when rows of it were refused or damaged. Blocks.
    ///
    /// # Errors
    /// Whatever the disk says; try again later. Repeating it counts nothing twice.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.has_ended() {
            return self.end_again();
        }
        let (mut outcome, digests) = self.outcome()?;
        if !self.store.disk.is_durable() {
            // Who sent it was told so, and has it still: without a spool nothing that is refused was accepted.
            outcome.quarantined = Counts::default();
            outcome.stored.subtract(&self.refused_whole()?);
        }
        let imperfect = !outcome.quarantined.is_empty() || !outcome.lost.is_empty();
        let (keep, lost) = (imperfect && self.store.disk.is_durable(), outcome.lost.total_rows());
        self.end(outcome, digests, keep)?;
        if lost > 0 {
            self.store.health.lost(lost);
        }
        Ok(())
    }

    /// A person drops what is not known to be in: it is counted as dropped, and the file is removed. Blocks.
    ///
    /// # Errors
    /// As [`Batch::finish`].
    pub(crate) fn drop_rest(&self) -> io::Result<()> {
        if self.has_ended() {
            return self.end_again();
        }
        let (outcome, digests) = self.count(true)?;
        self.end(outcome, digests, false)
    }

    /// Requests of which every row was refused.
    fn refused_whole(&self) -> io::Result<Counts> {
        let mut whole = Counts::default();
        let state = self.state.lock().clone();
        let Some(file) = self.open()?.filter(|_| state.parts.iter().any(|part| !part.refused.is_empty())) else {
            return Ok(whole);
        };
        for at in &self.index.frames {
            let Some(meta) = read_meta(file.as_ref(), at)? else { continue };
            let mut left: BTreeMap<u32, u64> = BTreeMap::new();
            for part in &meta.parts {
                let place = self.index.parts.iter().position(|one| one.id == part.id);
                let known = place.and_then(|place| state.parts.get(place));
                let refused = known.map(|known| known.refused_in(at.frame)).unwrap_or_default();
                let mut start = 0;
                for (request, rows) in &part.rows_by_request {
                    let end = start + u64::from(*rows);
                    *left.entry(*request).or_default() += end - start - overlap(&refused, start, end);
                    start = end;
                }
            }
            for (request, _) in left.into_iter().filter(|(_, left)| *left == 0) {
                if let Some(request) = meta.requests.get(request as usize) {
                    whole.add_requests(&request.key, 1);
                }
            }
        }
        Ok(whole)
    }

    /// Nothing of the batch was acknowledged or is in the sink: its file goes away uncounted. Blocks.
    ///
    /// # Errors
    /// As [`Batch::finish`].
    pub(crate) fn abandon(&self) -> io::Result<()> {
        self.end(Totals::default(), Vec::new(), false)
    }

    /// Whether what became of the batch is counted already, and only its file is still to be taken away.
    pub(crate) fn has_ended(&self) -> bool {
        let journal = self.store.journal.as_ref();
        journal.is_some_and(|journal| journal.lock().known.ended.contains_key(&self.sequence()))
    }

    /// Counts what became of it, then takes its file away: out of the spool, or into quarantine.
    fn end(&self, outcome: Totals, digests: Vec<Remembered>, keep: bool) -> io::Result<()> {
        let store = &self.store;
        let moving = store.moving.read();
        if store.journal.is_none() {
            store.totals.lock().add(&outcome);
        }
        store.write(&Event::Ended { sequence: self.sequence(), keep, outcome, digests })?;
        store.waiting.lock().subtract(&self.waiting);
        drop(moving);
        self.leave(keep)
    }

    /// Tries once more to take away the file of a batch that is counted.
    fn end_again(&self) -> io::Result<()> {
        let journal = self.store.journal.as_ref();
        let ended = journal.map(|journal| journal.lock().known.ended.get(&self.sequence()).copied());
        self.leave(ended.flatten().unwrap_or(true))
    }

    fn leave(&self, keep: bool) -> io::Result<()> {
        let (store, sequence) = (&self.store, self.sequence());
        store.health.file_failed(sequence, None);
        store.put_away(&self.name, keep)?;
        // One that stays behind cuts nothing any more; the next start removes it.
        let _ = store.disk.remove(&super::cut_name(sequence));
        if let Some(journal) = &store.journal {
            journal.lock().forget(sequence);
        }
        store.room.release(self.charged, &self.index.shares);
        if store.reserve.is_spent() {
            // Without room for it now there may be after the next batch.
            let _ = store.reserve.make(store.disk.as_ref());
        }
        Ok(())
    }

    /// What became of every row, with the digests of the whole frames. What is neither damaged nor refused counts as stored.
    pub(crate) fn outcome(&self) -> io::Result<(Totals, Vec<Remembered>)> {
        self.count(false)
    }

    /// As [`Batch::outcome`]; with `drop`, all rows that are not known to be in count as dropped, refused or not.
    fn count(&self, drop: bool) -> io::Result<(Totals, Vec<Remembered>)> {
        let known = match self.open() {
            Ok(Some(file)) => self.count_rows(file.as_ref(), drop),
            Ok(None) => return Ok((self.count_without_file(false), Vec::new())),
            Err(error) => Err(error),
        };
        match known {
            // What is known without it says how many, and whose as good as can be told; only the digests are forgotten.
            Err(error) if self.is_settled_without(&error) => Ok((self.count_without_file(drop), Vec::new())),
            known => known,
        }
    }

    /// Whether the file is not waited for any more.
    fn is_settled_without(&self, error: &io::Error) -> bool {
        let mut state = self.state.lock();
        state.count_failures = state.count_failures.saturating_add(1);
        let settled = state.count_failures >= COUNT_ATTEMPTS && self.store.disk.is_there();
        if settled {
            tracing::error!(batch = self.sequence(), %error, "a spool file cannot be read; its rows are counted as they were kept");
        }
        settled
    }

    /// As [`Batch::count`], from what is known of the parts: of a table of which some parts are in, each key has its share. What is not in counts as
    /// lost, or as dropped.
    fn count_without_file(&self, drop: bool) -> Totals {
        let mut outcome = Totals::default();
        let state = self.state.lock();
        let mut tables = BTreeMap::<Arc<str>, (u64, u64)>::new();
        for ((_, table), rows) in &self.waiting.rows {
            tables.entry(table.clone()).or_default().1 += rows;
        }
        for (part, known) in self.index.parts.iter().zip(&state.parts) {
            let segments = part.segments.iter().filter(|one| !state.damaged.contains(&(one.frame, part.id)));
            let stored = segments.map(|one| {
                let scope = known.scope(state.is_retried(), one.frame, one.rows);
                let settled = if known.is_in { scope.clone() } else { known.settled_in(one.frame, one.rows) };
                let stored = without(settled, &known.refused_in(one.frame));
                stored.iter().map(|(first, rows)| overlap(&scope, *first, first.saturating_add(*rows))).sum::<u64>()
            });
            if let Some((stored_rows, all)) = tables.get_mut(&part.name.table) {
                *stored_rows = stored_rows.saturating_add(stored.sum()).min(*all);
            }
        }
        let anything = tables.values().any(|(stored, _)| *stored > 0);
        for ((key, table), rows) in &self.waiting.rows {
            let (left, all) = tables.entry(table.clone()).or_default();
            let share = u128::from(*rows) * u128::from(*left) / u128::from((*all).max(1));
            let stored = u64::try_from(share).unwrap_or(*rows).min(*rows);
            (*left, *all) = (*left - stored, *all - rows);
            outcome.stored.add_rows(key, table, stored);
            let rest = if drop { &mut outcome.dropped } else { &mut outcome.lost };
            rest.add_rows(key, table, rows - stored);
        }
        for (key, requests) in &self.waiting.requests {
            let counted = match (anything, drop) {
                (true, _) => &mut outcome.stored,
                (false, true) => &mut outcome.dropped,
                (false, false) => &mut outcome.lost,
            };
            counted.add_requests(key, *requests);
        }
        outcome
    }

    fn count_rows(&self, file: &dyn DiskFile, drop: bool) -> io::Result<(Totals, Vec<Remembered>)> {
        let mut outcome = Totals { lost: self.waiting.clone(), ..Totals::default() };
        let mut digests = Vec::new();
        let state = self.state.lock().clone();
        if self.index.frames.is_empty() {
            return Ok((outcome, digests));
        }
        let retried = state.is_retried();
        for at in &self.index.frames {
            let Some(meta) = read_meta(file, at)? else {
                continue;
            };
            digests.extend(meta.digests());
            if !retried {
                let mut known = Counts::default();
                meta.requests.iter().for_each(|request| known.add_requests(&request.key, 1));
                outcome.lost.subtract(&known);
                outcome.stored.add(&known);
            }
            for part in &meta.parts {
                let place = self.index.parts.iter().position(|one| one.id == part.id);
                let known = place.and_then(|place| state.parts.get(place));
                let (Some(known), false) = (known, state.damaged.contains(&(at.frame, part.id))) else {
                    continue;
                };
                let scope = known.scope(retried, at.frame, rows(&part.rows_by_request));
                let refused = known.refused_in(at.frame);
                let mut counted = split(&meta, part, &scope, &refused);
                let scoped = counted.sum();
                outcome.lost.subtract(&scoped);
                if drop {
                    // The file goes away with what was refused: nothing of it stays in quarantine.
                    let is_in = match known.is_in {
                        true => std::mem::take(&mut counted.stored),
                        false => {
                            split(&meta, part, &known.settled_in(at.frame, rows(&part.rows_by_request)), &refused)
                                .stored
                        }
                    };
                    let mut dropped = scoped;
                    dropped.subtract(&is_in);
                    counted = Totals { stored: is_in, dropped, ..Totals::default() };
                }
                outcome.add(&counted);
            }
        }
        digests.sort_by(|a, b| (a.at_ms, &a.key).cmp(&(b.at_ms, &b.key)));
        Ok((outcome, digests))
    }

    /// What of a batch in quarantine is counted as quarantined: what was refused, and what a retry that was never heard of again was to
    /// deliver.
    pub(crate) fn quarantined_rows(&self) -> io::Result<Counts> {
        let retried = self.state.lock().is_retried();
        let (mut outcome, _) = self.count(retried)?;
        outcome.quarantined.add(&outcome.dropped);
        Ok(outcome.quarantined)
    }

    /// What the file still answers for: all that its frames held, or after a person's retry only what was refused.
    pub(crate) fn answers_for(&self) -> io::Result<Counts> {
        let state = self.state.lock();
        if !state.is_retried() {
            let mut all = self.index.counts.clone();
            all.add(&state.lost);
            return Ok(all);
        }
        drop(state);
        let (outcome, _) = self.outcome()?;
        let mut scope = outcome.stored;
        scope.add(&outcome.quarantined);
        Ok(scope)
    }
}

/// What became of a whole segment's rows that lie in `scope`: stored, or in quarantine where they are refused.
fn split(meta: &Meta, part: &PartMeta, scope: &[Rows], refused: &[Rows]) -> Totals {
    let (mut counted, mut start) = (Totals::default(), 0u64);
    for (request, rows) in &part.rows_by_request {
        let end = start + u64::from(*rows);
        let rows = overlap(scope, start, end);
        let bad = overlap(refused, start, end).min(rows);
        if let Some(request) = meta.requests.get(*request as usize) {
            counted.stored.add_rows(&request.key, &part.name.table, rows - bad);
            counted.quarantined.add_rows(&request.key, &part.name.table, bad);
        }
        start = end;
    }
    counted
}

/// Rows of `start..end` that are in one of the ranges.
fn overlap(ranges: &[Rows], start: u64, end: u64) -> u64 {
    let each = ranges.iter().map(|(first, rows)| {
        let (from, to) = (start.max(*first), first.saturating_add(*rows).min(end));
        to.saturating_sub(from)
    });
    each.sum::<u64>().min(end - start)
}
