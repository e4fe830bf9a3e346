//! One part of a batch, from its first attempt until it is in, held or given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubt::{Insert, Step, Verdict};
use super::piece::{Extent, Piece, remaining};
use super::shipment::Shipment;
use super::table::Stuck;
use super::watch::{Report, Watch};
use crate::blocking;
use crate::sink::{AfterUnknown, Outcome, PartDelivery, Sink};
use crate::spool::{BatchPart, Contents, Note, Refused};

/// Longest wait between attempts at something that the disk refuses.
const DISK_PAUSE: Duration = Duration::from_secs(5);

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
    tried: bool,
    split: bool,
    /// In the sink's words, why it came to wait for a person.
    pub(super) held: Option<Arc<str>>,
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
    Refused(Arc<str>),
    Held(Arc<str>),
    GivenUp,
}

impl Job {
    pub(super) fn new(shipment: Arc<Shipment>, part: BatchPart, place: usize) -> Self {
        let state = shipment.batch.state(part.id);
        let tried = state.tried;
        Job { shipment, part, place, pieces: None, tried_before: tried, tried, split: state.split, held: None }
    }

    /// Delivers until the part is settled or held.
    pub(super) async fn turn(&mut self, sink: &dyn Sink, watch: &Watch, stuck: &Stuck<'_>) -> Turn {
        if self.shipment.is_given_up() {
            return Turn::Settled;
        }
        let contents = self.read().await;
        let mut pieces = self.pieces.take().unwrap_or_else(|| self.first_pieces(sink, &contents));
        while let Some(mut piece) = pieces.pop() {
            match self.settle(&mut piece, &contents, sink, watch, stuck).await {
                Settled::In => {
                    self.shipment.is_in(self.place);
                }
                Settled::Refused(why) => {
                    watch.report(&self.part.name.table, Report::Refused(&why));
                    match piece.range.halves(&contents) {
                        Some((left, right)) => {
                            self.split().await;
                            pieces.extend([right, left].map(Piece::new));
                        }
                        None => self.quarantine(&piece.range, &contents, &why).await,
                    }
                }
                Settled::Held(why) => {
                    pieces.push(piece);
                    self.pieces = Some(pieces);
                    self.held = Some(why);
                    return Turn::Held;
                }
                Settled::GivenUp => return Turn::Settled,
            }
        }
        self.note(Note::In { part: self.part.id }).await;
        Turn::Settled
    }

    async fn read(&self) -> Contents {
        let (batch, part) = (self.shipment.batch.clone(), self.part.id);
        self.until_it_works("read", move || {
            let batch = batch.clone();
            blocking::run_io(move || batch.read(part))
        })
        .await
    }

    fn first_pieces(&self, sink: &dyn Sink, contents: &Contents) -> Vec<Piece> {
        let state = self.shipment.batch.state(self.part.id);
        let untouched = !state.split && state.only.is_none() && state.refused.is_empty();
        let extents = match untouched && !contents.segments.is_empty() {
            true => vec![Extent::Whole],
            false => remaining(contents),
        };
        let rule = sink.after_unknown(&self.part.name.table, Duration::MAX);
        let insert = |range: &Extent| {
            let whole = *range == Extent::Whole;
            let generation = if whole { state.generation } else { 0 };
            if state.tried { Insert::tried_before(generation, rule) } else { Insert::new(generation) }
        };
        let pieces = extents.into_iter().rev().map(|range| Piece { insert: insert(&range), range });
        let pieces: Vec<Piece> = pieces.collect();
        if state.tried {
            let token = self.shipment.batch.token(self.part.id);
            for Piece { range, insert } in &pieces {
                sink.tried_before(&range.delivery(&self.part, contents, &token, insert));
            }
        }
        pieces
    }

    async fn settle(
        &mut self,
        piece: &mut Piece,
        contents: &Contents,
        sink: &dyn Sink,
        watch: &Watch,
        stuck: &Stuck<'_>,
    ) -> Settled {
        let table = self.part.name.table.clone();
        loop {
            if !self.shipment.may_send(self.place) {
                return Settled::GivenUp;
            }
            self.note_tried().await;
            let token = self.shipment.batch.token(self.part.id);
            let delivery = piece.range.delivery(&self.part, contents, &token, &piece.insert);
            let verdict = self.attempt(&mut piece.insert, &delivery, sink, watch).await;
            if piece.insert.known_absent() && verdict != Verdict::In {
                self.shipment.absent(self.place);
            }
            match verdict {
                Verdict::In => {
                    stuck.set(false);
                    watch.report(&table, Report::In(&delivery));
                    watch.report(&table, Report::Without(&sink.columns_gone(&delivery), delivery.rows_sent()));
                    return Settled::In;
                }
                Verdict::Again(pause) => {
                    stuck.set(!pause.is_zero());
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shipment.given_up() => return Settled::GivenUp,
                    }
                }
                Verdict::NewToken => self.new_token(piece).await,
                Verdict::Held { why } => {
                    watch.report(&table, Report::Held(&why));
                    return Settled::Held(why.into());
                }
                Verdict::Refused { why } => return Settled::Refused(why.into()),
            }
        }
    }

    /// One step of an insert: an attempt to send, or a look.
    async fn attempt(&self, insert: &mut Insert, delivery: &PartDelivery, sink: &dyn Sink, watch: &Watch) -> Verdict {
        let table = &delivery.name.table;
        let rule = if delivery.witnesses.is_empty() {
            // There is nothing to look for.
            AfterUnknown::Repeat
        } else {
            sink.after_unknown(table, insert.unknown_for())
        };
        match insert.step() {
            Step::Send => {
                let began = Instant::now();
                let outcome = sink.deliver(delivery).await;
                watch.report(table, Report::Sent(&outcome, began.elapsed()));
                if let Outcome::DeliveredBut { rejected, why } = &outcome {
                    self.shipment.rejected(&self.part, *rejected, why);
                }
                insert.sent(outcome, rule)
            }
            Step::Look => {
                let look = sink.look(delivery).await;
                watch.report(table, Report::Looked(&look));
                insert.looked(look)
            }
        }
    }

    async fn note_tried(&mut self) {
        if !std::mem::replace(&mut self.tried, true) {
            self.note(Note::Tried { part: self.part.id }).await;
        }
    }

    async fn split(&mut self) {
        if !std::mem::replace(&mut self.split, true) {
            self.note(Note::Split { part: self.part.id }).await;
        }
    }

    /// The old token proved nothing. A piece carries its generation in its own token; the whole part's is remembered.
    async fn new_token(&self, piece: &Piece) {
        if piece.range == Extent::Whole {
            let note = Note::NewToken { part: self.part.id, generation: piece.insert.generation };
            self.note(note).await;
        }
    }

    /// The rows of one request are refused for good.
    async fn quarantine(&self, range: &Extent, contents: &Contents, why: &Arc<str>) {
        let Some((segment, (start, rows))) = range.rows(contents) else {
            return;
        };
        let place = contents.segments.iter().position(|one| one.frame == segment.frame);
        let note = Note::Refused(Refused { part: self.part.id, frame: segment.frame, start, rows, why: why.clone() });
        self.note(note).await;
        self.shipment.refused(&self.part, place.unwrap_or(0), (start, rows), why);
        let (table, partition) = (&self.part.name.table, self.part.name.partition);
        tracing::warn!(%table, partition, rows, %why, "the sink refuses rows of one request for good");
    }

    /// A note comes before what it announces, so there is nothing to do but to wait for the disk.
    async fn note(&self, note: Note) {
        self.until_it_works("note", || self.shipment.note(vec![note.clone()])).await;
    }

    async fn until_it_works<T, F>(&self, what: &'static str, work: impl Fn() -> F) -> T
    where
        F: Future<Output = std::io::Result<T>>,
    {
        loop {
            match work().await {
                Ok(done) => return done,
                Err(error) => {
                    let batch = self.shipment.batch.sequence();
                    tracing::error!(batch, what, %error, "the spool's disk fails; the delivery waits for it");
                    tokio::time::sleep(DISK_PAUSE).await;
                }
            }
        }
    }
}

impl Piece {
    fn new(range: Extent) -> Self {
        let insert = Insert::new(0);
        Piece { range, insert }
    }
}
