//! One part of a batch, from its first attempt until it is in, held or given up.
//!
//! Invariants: an attempt is noted before it is made, a division before its pieces are sent, and a piece that is in before the next piece is
//! sent. So a restart knows of every piece that may be in, looks for it or repeats it under the same token, and sends no other again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubt::{Insert, Step, Verdict};
use super::pace::{Pace, Pass};
use super::piece::{Piece, cuts, rows};
use super::shipment::Shipment;
use super::table::{Standing, Stuck};
use super::watch::{Report, Watch};
use crate::blocking;
use crate::sink::{AfterUnknown, Outcome, PartDelivery, Sink};
use crate::spool::{BatchPart, Contents, Extent, Note, Refused};

/// Longest wait between attempts at something that the disk refuses.
const DISK_PAUSE: Duration = Duration::from_secs(5);

/// Requests in a row that are too much for the sink alone: then it takes nothing now, and the rest waits as it is.
const TOO_MUCH_ALONE: u32 = 2;

/// A part that waits for its turn or is being delivered.
pub(super) struct Job {
    pub(super) shipment: Arc<Shipment>,
    pub(super) part: BatchPart,
    /// Its place in the batch.
    pub(super) place: usize,
    /// What is still to be delivered, the next piece last; made when the part is first read.
    pieces: Option<Vec<Piece>>,
    /// An earlier process tried it.
    pub(super) tried_before: bool,
    /// Notes of what has happened already; they go with the next one.
    owed: Vec<Note>,
    /// In the sink's words, why it came to wait for a person.
    pub(super) held: Option<Arc<str>>,
    /// How it stands with its table's workers, in this turn.
    pub(super) standing: Arc<Standing>,
}

/// How a turn ended.
pub(super) enum Turn {
    /// Nothing is left to do for the part.
    Settled,
    /// It waits for a person to mend something and tries again at a slow pace.
    Held,
}

enum Settled {
    In,
    /// Nothing of it is in, as far as is known, and its halves are to be sent; or, of one request, it is refused.
    Divide(Arc<str>),
    /// Not in, and too much at once: its halves are to be sent; or, of one request, it waits.
    TooMuch(Arc<str>),
    /// Not sent, because fewer rows may be under way now.
    Smaller,
    Held(Arc<str>),
    GivenUp,
}

impl Job {
    pub(super) fn new(shipment: Arc<Shipment>, part: BatchPart, place: usize) -> Self {
        let tried_before = shipment.batch.state(part.id).is_tried();
        Job {
            shipment,
            part,
            place,
            pieces: None,
            tried_before,
            owed: Vec::new(),
            held: None,
            standing: Arc::default(),
        }
    }

    /// How long ago the oldest attempt was of which nobody knows what came, as an earlier process noted it.
    pub(super) fn unknown_for(&self) -> Duration {
        let state = self.shipment.batch.state(self.part.id);
        let open = state.pieces.iter().filter(|piece| !piece.is_in);
        open.map(|piece| Piece::known(piece, state.split).insert.unknown_for()).max().unwrap_or_default()
    }

    /// Delivers until the part is settled or held.
    pub(super) async fn turn(&mut self, sink: &dyn Sink, watch: &Watch, pace: &Arc<Pace>, stuck: &Stuck<'_>) -> Turn {
        if self.shipment.is_given_up() {
            return Turn::Settled;
        }
        let Some(contents) = self.read().await else {
            return Turn::Settled;
        };
        let mut pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => self.first_pieces(sink, &contents).await,
        };
        let (mut aside, mut alone) = (Vec::new(), 0);
        while let Some(mut piece) = pieces.pop() {
            match self.settle(&mut piece, &contents, sink, watch, pace, stuck).await {
                Settled::In => {
                    alone = 0;
                    self.shipment.is_in(self.place);
                    self.is_in(&piece);
                }
                Settled::Divide(why) => {
                    watch.report(&self.part.name.table, Report::Refused(&why));
                    match piece.halves(&contents) {
                        Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                        None => self.quarantine(&piece, &contents, &why).await,
                    }
                }
                Settled::Smaller => match piece.smaller(&contents) {
                    Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                    None => pieces.push(piece),
                },
                Settled::TooMuch(why) => match piece.smaller(&contents) {
                    Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                    None => {
                        // It keeps none of the others waiting, unless they fare no better.
                        self.held = Some(self.is_too_much_alone(&piece, &contents, &why, watch));
                        aside.push(piece);
                        alone += 1;
                        if alone == TOO_MUCH_ALONE {
                            break;
                        }
                    }
                },
                Settled::Held(why) => {
                    pieces.push(piece);
                    aside.extend(pieces);
                    self.pieces = Some(aside);
                    self.held = Some(why);
                    self.settle_owed().await;
                    return Turn::Held;
                }
                Settled::GivenUp => {
                    self.settle_owed().await;
                    return Turn::Settled;
                }
            }
        }
        if !aside.is_empty() {
            // What was set aside comes last.
            aside.append(&mut pieces);
            self.pieces = Some(aside);
            self.settle_owed().await;
            return Turn::Held;
        }
        self.note(Note::In { part: self.part.id }).await;
        Turn::Settled
    }

    async fn read(&self) -> Option<Contents> {
        let (batch, part) = (self.shipment.batch.clone(), self.part.id);
        self.until_it_works("read", move || {
            let batch = batch.clone();
            blocking::run_io(move || batch.read(part))
        })
        .await
    }

    /// What is still to be delivered, the next piece last; as an earlier process left it.
    async fn first_pieces(&mut self, sink: &dyn Sink, contents: &Contents) -> Vec<Piece> {
        let (batch, id) = (self.shipment.batch.clone(), self.part.id);
        let mut state = batch.state(id);
        if let Some(notes) = cuts(id, &state, contents) {
            self.owed.extend(notes);
            self.settle_owed().await;
            state = batch.state(id);
        }
        let open = state.pieces.iter().rev().filter(|piece| !piece.is_in);
        let pieces: Vec<Piece> = open.map(|piece| Piece::known(piece, state.split)).collect();
        for piece in pieces.iter().filter(|piece| !piece.insert.known_absent()) {
            sink.tried_before(&piece.delivery(&batch, &self.part, contents));
        }
        pieces
    }

    async fn settle(
        &mut self,
        piece: &mut Piece,
        contents: &Contents,
        sink: &dyn Sink,
        watch: &Watch,
        pace: &Arc<Pace>,
        stuck: &Stuck<'_>,
    ) -> Settled {
        let table = self.part.name.table.clone();
        loop {
            let delivery = piece.delivery(&self.shipment.batch, &self.part, contents);
            if delivery.rows == 0 {
                // All of it is damaged.
                return Settled::In;
            }
            let is_too_large = |piece: &Piece| {
                let more = |limit: u64| delivery.rows_sent() > limit;
                piece.is_fresh() && pace.limit().is_some_and(more) && piece.smaller(contents).is_some()
            };
            if is_too_large(piece) {
                return Settled::Smaller;
            }
            let rule = delivery.can_be_found().then(|| sink.after_unknown(&table, piece.insert.unknown_for()));
            let pass = match piece.insert.step(rule) {
                Step::Look => None,
                Step::Send => tokio::select! {
                    pass = pace.admit(delivery.rows_sent()) => Some(pass),
                    () = self.shipment.given_up() => return Settled::GivenUp,
                },
            };
            // It may have waited for others that were too much.
            if is_too_large(piece) {
                return Settled::Smaller;
            }
            if !self.shipment.may_send(self.place) {
                return Settled::GivenUp;
            }
            if let Some(note) = piece.announce(self.part.id) {
                self.owed.push(note);
                if self.shipment.note(self.owed.clone()).await.is_err() {
                    // Nothing is under way while the disk fails.
                    drop(pass);
                    if !self.settle_owed().await {
                        return Settled::GivenUp;
                    }
                    continue;
                }
                self.owed.clear();
            }
            let verdict = match pass {
                Some(pass) => self.send(&mut piece.insert, &delivery, rule, sink, watch, &pass).await,
                None => {
                    let look = sink.look(&delivery).await;
                    watch.report(&table, Report::Looked(&look));
                    piece.insert.looked(look)
                }
            };
            if piece.insert.known_absent() && !matches!(verdict, Verdict::In { .. }) {
                self.shipment.absent(self.place);
            }
            match verdict {
                Verdict::In { despite } => {
                    stuck.set(false);
                    watch.report(&table, Report::In(&delivery));
                    watch.report(&table, Report::Without(&sink.columns_gone(&delivery), delivery.rows_sent()));
                    if let Some(why) = despite {
                        watch.report(&table, Report::InDespite(&why));
                    }
                    return Settled::In;
                }
                Verdict::Again(pause) => {
                    stuck.set(!pause.is_zero());
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shipment.given_up() => return Settled::GivenUp,
                    }
                }
                Verdict::TooMuch { why, pause } => {
                    stuck.set(true);
                    // One request alone waits longer than that.
                    let pause = piece.smaller(contents).map_or(Duration::ZERO, |_| pause);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shipment.given_up() => return Settled::GivenUp,
                    }
                    return Settled::TooMuch(why.into());
                }
                Verdict::Held { why } => {
                    watch.report(&table, Report::Held(&why));
                    return Settled::Held(why.into());
                }
                Verdict::Refused { why } => return Settled::Divide(why.into()),
            }
        }
    }

    /// An attempt, and what the table may be given from now on.
    async fn send(
        &self,
        insert: &mut Insert,
        delivery: &PartDelivery,
        rule: Option<AfterUnknown>,
        sink: &dyn Sink,
        watch: &Watch,
        pass: &Pass,
    ) -> Verdict {
        let table = &delivery.name.table;
        let began = Instant::now();
        let outcome = sink.deliver(delivery).await;
        watch.report(table, Report::Sent(&outcome, began.elapsed()));
        match &outcome {
            Outcome::Delivered => pass.was_taken(),
            Outcome::DeliveredBut { rejected, why } => {
                pass.was_taken();
                self.shipment.rejected(&self.part, *rejected, why);
            }
            outcome if outcome.is_too_much() => {
                if let Some(limit) = pass.was_too_much() {
                    watch.report(table, Report::Less(limit, delivery.rows_sent()));
                }
            }
            _ => {}
        }
        insert.sent(outcome, rule)
    }

    /// A piece is in. Its note is synced with that of the next attempt, before it is made.
    fn is_in(&mut self, piece: &Piece) {
        if piece.extent != Extent::Whole {
            self.owed.push(Note::PieceIn { part: self.part.id, extent: piece.extent });
        }
    }

    /// A request that the sink does not take alone is no mistake of its sender: it waits for a sink that does.
    fn is_too_much_alone(&self, piece: &Piece, contents: &Contents, why: &str, watch: &Watch) -> Arc<str> {
        let rows = rows(piece.extent, contents).map_or(0, |(_, (_, rows))| rows);
        let why = format!(
            "{why}; it is one request of {rows} rows, which cannot be divided: it is stored when the limit that this names is raised, or \
             whatever stands behind it is mended"
        );
        watch.report(&self.part.name.table, Report::Held(&why));
        why.into()
    }

    /// A piece goes as its halves from now on, the first of them next.
    async fn divide(&mut self, piece: &Piece, halves: [Piece; 2]) -> impl Iterator<Item = Piece> + use<> {
        let into = halves.iter().map(|half| half.extent).collect();
        // A record of its own: should it be lost, the pieces' own notes tell that they were.
        self.note(Note::Divided { part: self.part.id, extent: piece.extent, into }).await;
        halves.into_iter().rev()
    }

    /// The rows of one request are refused for good.
    async fn quarantine(&mut self, piece: &Piece, contents: &Contents, why: &Arc<str>) {
        let Some((segment, (start, rows))) = rows(piece.extent, contents) else {
            return;
        };
        let place = contents.segments.iter().position(|one| one.frame == segment.frame);
        let refused = Refused { part: self.part.id, frame: segment.frame, start, rows, why: why.clone() };
        self.is_in(piece);
        self.note(Note::Refused(refused)).await;
        self.shipment.refused(&self.part, place.unwrap_or(0), (start, rows), why);
        let (table, partition) = (&self.part.name.table, self.part.name.partition);
        tracing::warn!(%table, partition, rows, %why, "the sink refuses rows of one request for good");
    }

    /// A note comes before what it announces, so there is nothing to do but to wait for the disk. False when the batch was given up meanwhile.
    async fn note(&mut self, note: Note) -> bool {
        self.owed.push(note);
        self.settle_owed().await
    }

    async fn settle_owed(&mut self) -> bool {
        let notes = std::mem::take(&mut self.owed);
        notes.is_empty() || self.until_it_works("note", || self.shipment.note(notes.clone())).await.is_some()
    }

    /// Waits for the disk as long as it takes; `None` when the batch was given up meanwhile. What fails more than once concerns this batch's file,
    /// as far as can be told: its table's other jobs do not wait for it.
    async fn until_it_works<T, F>(&self, what: &'static str, work: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = std::io::Result<T>>,
    {
        let batch = self.shipment.batch.sequence();
        let mut failures = 0u32;
        loop {
            let error = match work().await {
                Ok(done) if failures == 0 => return Some(done),
                Ok(done) => {
                    tracing::info!(batch, what, "a spool file can be used again; its delivery goes on");
                    return Some(done);
                }
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            match failures {
                1 => {
                    tracing::error!(batch, what, %error, "a spool file cannot be used; its delivery waits until it can")
                }
                _ => {
                    tracing::debug!(batch, what, %error, failures, "a spool file cannot be used yet");
                    self.standing.step_aside();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(DISK_PAUSE) => {}
                () = self.shipment.given_up() => return None,
            }
        }
    }
}
