//! The promise, tested against a disk that fails: random operations, crashes at any call, short writes, full disks, disks without inodes,
//! failed syncs, failed reads, files that vanish, flipped bits in batches and in the journal, starts on a full disk. What was acknowledged is recovered
//! exactly; what was refused never comes back; a flipped bit loses no more than its frame, a file that vanishes or cannot be read no more than
//! itself, and all of it is counted.
//!
//! A run says its seed when it fails. `SPOOL_MODEL_SEEDS=from..to` runs others than the usual ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::disk::faulty::{Faults, FaultyDisk};
use super::tests::read;
use super::*;
use crate::chunk::{PartName, SealedPart, Witness};

const SETTINGS: Settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(3600) };
const TABLES: [&str; 3] = ["otel_logs", "otel_traces", "hyperdx_sessions"];
const STEPS: usize = 80;

/// What the model knows of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Acknowledged: must be there.
    Kept,
    /// Nobody was told anything, or that nobody knows: may be there.
    Maybe,
    /// Its clients were told that nothing was kept: must never be there.
    Refused,
    /// This batch of it was begun to be finished: is there or is counted.
    Ending(u64),
    /// Its batch is finished: counted, and must never be there again.
    Ended,
    /// It was taken, some or all of it, and is counted.
    Damaged,
    /// The file of this batch of it is gone, or could not be read: counted as lost when the batch is finished, by this process or not at all; whole
    /// again after a start that can read the file.
    Losing(u64),
    /// A crash took it, or a flipped bit at the torn end of a file.
    Gone,
}

struct World {
    seed: u64,
    rng: StdRng,
    disk: FaultyDisk,
    spool: Spool,
    open: Vec<OpenBatch>,
    sealed: Vec<Batch>,
    frames: BTreeMap<u64, (Fate, Frame)>,
    /// What notes said that were written without an error.
    noted: HashMap<(u64, u32), super::batch::PartState>,
    /// The last note of each piece, as it was written.
    pieces: HashMap<(u64, u32, Extent), Note>,
    remembered: Option<Vec<Remembered>>,
    flipped: bool,
    /// Whether the journal was hit: what it counted may be less than it was.
    journal_hit: bool,
    /// Frames of each batch, as far as they were acknowledged.
    members: HashMap<u64, Vec<u64>>,
    /// Batches of this life whose file was removed.
    vanished: HashSet<u64>,
    any_vanished: bool,
    /// Rows and segments that a batch's file is known to have lost.
    losses: HashMap<u64, (u64, usize)>,
    crashes: u32,
    /// Rows in notes that they are refused, written or not.
    refused: u64,
    /// Rows that were refused in batches that are finished.
    quarantined: u64,
}

#[test]
fn what_was_acknowledged_is_recovered_and_what_was_refused_is_not() {
    let seeds = std::env::var("SPOOL_MODEL_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let mut crashes = 0;
    for seed in seeds.unwrap_or(0..100) {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        crashes += world.crashes;
    }
    assert!(crashes > 0, "no crash was tried");
}

impl World {
    fn new(seed: u64) -> World {
        let disk = FaultyDisk::new(seed);
        let (spool, recovered) = Spool::open(Box::new(disk.clone()), &SETTINGS).unwrap();
        assert!(recovered.clean && recovered.batches.is_empty());
        World {
            seed,
            rng: StdRng::seed_from_u64(!seed),
            disk,
            spool,
            open: Vec::new(),
            sealed: Vec::new(),
            frames: BTreeMap::new(),
            noted: HashMap::new(),
            pieces: HashMap::new(),
            remembered: None,
            flipped: false,
            journal_hit: false,
            members: HashMap::new(),
            vanished: HashSet::new(),
            any_vanished: false,
            losses: HashMap::new(),
            crashes: 0,
            refused: 0,
            quarantined: 0,
        }
    }

    fn step(&mut self) {
        let harsh = self.rng.random_bool(0.3);
        let often = if harsh { 0.3 } else { 0.02 };
        let crash_in = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..12));
        let read = if self.rng.random_bool(0.1) { 0.4 } else { 0.0 };
        self.disk.set(Faults { write: often, sync: often, create: often / 2.0, read, other: often, crash_in });
        match self.rng.random_range(0..100) {
            0..43 => self.append(),
            43..58 => self.seal(),
            58..73 => self.note(),
            73..88 => self.finish(),
            88..90 => self.vanish(),
            90..94 => self.stop(),
            _ => self.disk.set(Faults { crash_in: Some(0), ..Faults::default() }),
        }
        let _ = self.disk.list("");
        if self.disk.is_dead() || self.remembered.is_some() {
            self.restart();
        }
    }

    fn append(&mut self) {
        if self.open.is_empty() || self.rng.random_bool(0.2) {
            self.open.push(self.spool.batch(Signal::Logs));
        }
        let count = self.rng.random_range(1..4);
        let ids: Vec<u64> = (0..count).map(|_| self.new_frame()).collect();
        let frames: Vec<Frame> = ids.iter().map(|id| self.frames[id].1.clone()).collect();
        let place = self.rng.random_range(0..self.open.len());
        let mut sequence = self.open[place].header.sequence;
        let mut outcome = self.open[place].append(&frames);
        if outcome.is_err() {
            self.sealed.push(self.open.swap_remove(place).seal());
        }
        if matches!(outcome, Err(AppendError::NotKept(_))) && !self.disk.is_dead() {
            // As the lanes do it: once more, in a new file under a new token.
            let mut next = self.spool.batch(Signal::Logs);
            sequence = next.header.sequence;
            outcome = next.append(&frames);
            match outcome {
                Ok(()) => self.open.push(next),
                Err(_) => self.sealed.push(next.seal()),
            }
        }
        let fate = match outcome {
            Ok(()) => Fate::Kept,
            Err(AppendError::NotKept(_)) if !self.disk.is_dead() => Fate::Refused,
            Err(_) => Fate::Maybe,
        };
        ids.iter().for_each(|id| self.set(*id, fate));
        if fate == Fate::Kept {
            self.members.entry(sequence).or_default().extend(ids);
        }
    }

    fn new_frame(&mut self) -> u64 {
        let id = self.frames.len() as u64;
        let requests = self.rng.random_range(1..4u32);
        let of = |n: u32| FrameRequest {
            key: ["a", "b"][n as usize % 2].into(),
            bytes: 10,
            digest: Digest::of(&[&id.to_le_bytes()[..], &n.to_le_bytes()].concat()),
        };
        let parts = self.rng.random_range(1..=TABLES.len());
        let parts = TABLES[..parts].iter().map(|table| {
            let mut bytes = id.to_le_bytes().to_vec();
            bytes.resize(8 + self.rng.random_range(0..2000), 7);
            SealedPart {
                name: PartName { table: (*table).into(), partition: 20_000 },
                columns: [Arc::from("Timestamp")].into(),
                uncompressed: bytes.len() as u64,
                witnesses: vec![Witness(bytes[..8].to_vec())],
                bytes,
                rows_by_request: (0..requests).map(|n| (n, n + 1)).collect(),
            }
        });
        let parts = parts.collect();
        self.frames.insert(id, (Fate::Maybe, Frame::new((0..requests).map(of).collect(), parts)));
        id
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let place = self.rng.random_range(0..self.open.len());
            self.sealed.push(self.open.swap_remove(place).seal());
        }
    }

    fn note(&mut self) {
        self.sealed.retain(|batch| !batch.parts().is_empty());
        if self.sealed.is_empty() {
            return;
        }
        let batch = &self.sealed[self.rng.random_range(0..self.sealed.len())];
        let part = &batch.parts()[self.rng.random_range(0..batch.parts().len())];
        let mut notes = random_notes(&mut self.rng, part, &batch.state(part.id));
        if self.vanished.contains(&batch.sequence()) {
            // Only what could be read is noted as in, or refused.
            notes = vec![Note::Tried { part: part.id }];
        }
        if batch.note(&notes).is_ok() {
            self.noted.insert((batch.sequence(), part.id), batch.state(part.id));
            for note in &notes {
                match note {
                    Note::PieceIn { part, extent } | Note::Attempt { part, extent, .. } => {
                        drop(self.pieces.insert((batch.sequence(), *part, *extent), note.clone()));
                    }
                    Note::Divided { part, extent, .. } => {
                        drop(self.pieces.remove(&(batch.sequence(), *part, *extent)));
                    }
                    _ => {}
                }
            }
        }
        let refused = notes.iter().filter_map(|note| match note {
            Note::Refused(refused) => Some(refused.rows),
            _ => None,
        });
        self.refused += refused.sum::<u64>();
    }

    fn finish(&mut self) {
        self.sealed.retain(|batch| !batch.parts().is_empty());
        if self.sealed.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..self.sealed.len());
        let Some(ids) = read(&self.sealed[place]) else {
            return;
        };
        let sequence = self.sealed[place].sequence();
        // As a delivery does: a part is known to be in, or that nothing of it can be read, before its batch ends.
        for part in self.sealed[place].parts() {
            if self.sealed[place].note(&[Note::In { part: part.id }]).is_err() {
                return;
            }
        }
        let counted = self.sealed[place].store.has_ended(&self.sealed[place]);
        let before = self.spool.totals().lost.total_rows();
        let done = self.sealed[place].finish().is_ok();
        for id in ids.keys() {
            let before = self.frames[id].0;
            let maybe = matches!(before, Fate::Maybe | Fate::Refused);
            assert!(!maybe, "seed {}: frame {id} was {before:?} and is delivered", self.seed);
        }
        let mut lost = 0;
        for id in self.members.get(&sequence).cloned().unwrap_or_default() {
            let (fate, frame) = &self.frames[&id];
            if *fate == Fate::Damaged {
                continue;
            }
            let whole = ids.get(&id) == Some(&frame.parts.len());
            lost += if whole { 0 } else { 1 };
            let next = match (done, whole) {
                (true, true) => Fate::Ended,
                (true, false) => Fate::Damaged,
                (false, true) => Fate::Ending(sequence),
                (false, false) => Fate::Losing(sequence),
            };
            self.set(id, next);
        }
        if done {
            let grown = self.spool.totals().lost.total_rows() - before;
            assert!(lost == 0 || grown > 0 || counted, "seed {}: {lost} frames are lost and not counted", self.seed);
            let batch = self.sealed.swap_remove(place);
            // Refused rows that cannot be read any more are lost.
            self.quarantined += if lost == 0 { refused_rows(&batch) } else { 0 };
        }
    }

    /// Somebody removes the file of a batch that is to be delivered.
    fn vanish(&mut self) {
        let sound = |batch: &Batch| {
            let untouched = batch.parts().iter().all(|part| {
                let state = batch.state(part.id);
                !state.is_in && state.refused.is_empty() && state.pieces.iter().all(|piece| !piece.is_in)
            });
            let state = batch.state.lock();
            let whole = state.lost.is_empty() && state.damaged.is_empty();
            untouched && whole && !batch.parts().is_empty() && !batch.store.has_ended(batch)
        };
        let place = self.sealed.iter().position(sound);
        let Some(sequence) = place.map(|place| self.sealed[place].sequence()) else {
            return;
        };
        self.disk.vanish(&file_name(sequence));
        self.vanished.insert(sequence);
        for id in self.members.get(&sequence).cloned().unwrap_or_default() {
            if self.frames[&id].0 != Fate::Damaged {
                self.set(id, Fate::Losing(sequence));
            }
        }
    }

    fn stop(&mut self) {
        let some = Remembered { key: "a".into(), digest: Digest([1; 16]), at_ms: now_ms() };
        let stopped = self.spool.stop(std::slice::from_ref(&some));
        self.remembered = Some(vec![some]);
        if stopped.is_err() {
            // Whether the word is there is open; the process ends all the same.
            self.disk.set(Faults { crash_in: Some(0), ..Faults::default() });
        }
    }

    /// The process is gone; another starts, perhaps dies while it recovers, and starts again.
    fn restart(&mut self) {
        self.crashes += 1;
        self.open.clear();
        self.sealed.clear();
        let clean = self.remembered.take();
        let mut sure = !self.disk.is_dead();
        self.disk.restart();
        let flip = self.rng.random_bool(0.2).then(|| self.disk.flip(".batch")).flatten();
        self.flipped |= flip.is_some();
        if self.rng.random_bool(0.05) {
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

    fn check(&mut self, recovered: Recovered, clean: Option<Vec<Remembered>>, flip: Option<String>, sure: bool) {
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

    /// accepted = stored + waiting + lost, whatever happened.
    fn check_counts(&self, flip: Option<String>) {
        let rows = |wanted: Fate| -> u64 {
            let frames = self.frames.values().filter(|(fate, _)| *fate == wanted);
            frames.map(|(_, frame)| frame.rows()).sum()
        };
        let (totals, waiting) = (self.spool.totals(), self.spool.waiting());
        let delivered = totals.stored.total_rows() + totals.quarantined.total_rows();
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

    /// At the end the disk is well again, everything is delivered, and the books close.
    fn end(&mut self) {
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
    }

    fn set(&mut self, id: u64, fate: Fate) {
        if let Some(frame) = self.frames.get_mut(&id) {
            frame.0 = fate;
        }
    }
}

/// What may become known of a part, as deliveries note it.
fn random_notes(rng: &mut StdRng, part: &BatchPart, state: &PartState) -> Vec<Note> {
    let id = part.id;
    let open: Vec<&PieceState> = state.pieces.iter().filter(|piece| !piece.is_in).collect();
    let Some(piece) = open.get(rng.random_range(0..open.len().max(1))).filter(|_| !state.is_in) else {
        return vec![Note::In { part: id }];
    };
    let extent = piece.extent;
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
fn halves(extent: Extent, part: &BatchPart) -> Option<Vec<Extent>> {
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

/// Whether a state knows all that another did, and perhaps more.
fn remembers(state: &PartState, noted: &PartState) -> bool {
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
    pieces && refused && (state.is_in || !noted.is_in) && state.generation >= noted.generation
}

fn refused_rows(batch: &Batch) -> u64 {
    let states = batch.parts().iter().map(|part| batch.state(part.id));
    states.flat_map(|state| state.refused).map(|refused| refused.rows).sum()
}

/// The batch whose file was hit.
fn sequence_of(flip: Option<&String>) -> Option<u64> {
    flip?.split_once('.')?.0.parse().ok()
}

fn losses(batch: &Batch) -> (u64, (u64, usize)) {
    let state = batch.state.lock();
    (batch.sequence(), (state.lost.total_rows(), state.damaged.len()))
}
