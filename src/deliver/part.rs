//! One part of a batch, from its first attempt until it is in, held or given up.
//!
//! Invariants: an attempt is noted before it is made, a division before its pieces are sent, and a piece that is in before the next piece is
//! sent. So a restart knows of every piece that may be in, looks for it or repeats it under the same token, and sends no other again.

mod disk;
mod shard;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubt::{Insert, PERHAPS, SURELY, Step, Verdict};
use super::pace::Pass;
use super::piece::{Piece, rows};
use super::shipment::Shipment;
use super::standing::{Standing, Stuck};
use super::turns::{Seat, Turns};
use super::watch::{Report, Watch};
use crate::signal::Signal;
use crate::sink::{AfterUnknown, Outcome, PartDelivery, Sink};
use crate::spool::{BatchPart, Contents, Note};

/// Two requests in a row that are too much for the sink alone, or more where only nobody understands why: then it takes nothing now, and the
/// rest waits as it is.
const TOO_MUCH_ALONE: u32 = 2 * SURELY;

/// Tried by an earlier process first (`false` sorts before `true`), then the oldest batch.
pub(super) type Rank = (bool, u64, u32);

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
    /// The shard that all of it goes to, as it was noted; none before it is chosen.
    pub(super) shard: Option<Arc<str>>,
    /// Its place among what is under way there.
    seat: Option<Seat>,
    /// The place in the configuration of the shard at which it is held.
    pub(super) held_at: Option<usize>,
    /// Notes of what has happened already; they go with the next one.
    owed: Vec<Note>,
    /// In the sink's words, why it came to wait for a person.
    pub(super) held: Option<Arc<str>>,
    /// It is held for requests that stand alone, and others of it are in.
    pub(super) apart: bool,
    took: bool,
    /// How it stands with its table's workers, in this turn.
    pub(super) standing: Arc<Standing>,
}

/// What a part's turn works with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) sink: &'a dyn Sink,
    pub(super) watch: &'a Watch,
    pub(super) turns: &'a Arc<Turns>,
    pub(super) stuck: &'a Stuck<'a>,
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
    TooMuch {
        why: Arc<str>,
        sure: bool,
    },
    /// Not sent, because fewer rows may be under way now.
    Smaller,
    Held(Arc<str>),
    GivenUp,
}

impl Job {
    pub(super) fn new(shipment: Arc<Shipment>, part: BatchPart, place: usize) -> Self {
        let state = shipment.batch.state(part.id);
        let tried_before = state.is_tried();
        Job {
            shard: state.shard,
            seat: None,
            held_at: None,
            shipment,
            part,
            place,
            pieces: None,
            tried_before,
            owed: Vec::new(),
            held: None,
            apart: false,
            took: false,
            standing: Arc::default(),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        (!self.tried_before, self.shipment.batch.sequence(), self.part.id)
    }

    /// The table whose queue it waits in, and the lane that waits for it.
    pub(super) fn lane(&self) -> (Arc<str>, Signal) {
        (self.part.name.table.clone(), self.shipment.batch.signal())
    }

    /// How long ago the oldest attempt was of which nobody knows what came, as an earlier process noted it.
    pub(super) fn unknown_for(&self) -> Duration {
        let state = self.shipment.batch.state(self.part.id);
        let open = state.pieces.iter().filter(|piece| !piece.is_in);
        open.map(|piece| Piece::known(piece, state.split).insert.unknown_for()).max().unwrap_or_default()
    }

    /// Delivers until the part is settled or held.
    pub(super) async fn turn(&mut self, context: Context<'_>) -> Turn {
        if self.shipment.is_given_up() {
            return Turn::Settled;
        }
        let Some(contents) = self.read().await else {
            return Turn::Settled;
        };
        let mut pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => self.first_pieces(context.sink, &contents).await,
        };
        if let Err(settled) = self.find_its_shard(&mut pieces, &contents, context).await {
            return self.end_early(settled, pieces).await;
        }
        let (mut aside, mut alone) = (Vec::new(), 0);
        while let Some(mut piece) = pieces.pop() {
            match self.settle(&mut piece, &contents, context).await {
                Settled::In => {
                    (alone, self.took) = (0, true);
                    self.shipment.is_in(self.place);
                    self.is_in(&piece);
                }
                Settled::Divide(why) => {
                    context.watch.report(&self.part.name.table, self.place_of_shard(), Report::Refused(&why));
                    match piece.halves(&contents) {
                        Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                        None => self.quarantine(&piece, &contents, &why).await,
                    }
                }
                Settled::Smaller => match piece.smaller(&contents) {
                    Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                    None => pieces.push(piece),
                },
                Settled::TooMuch { why, sure } => match piece.smaller(&contents) {
                    Some(halves) => pieces.extend(self.divide(&piece, halves).await),
                    None => {
                        // It keeps none of the others waiting, unless they fare no better.
                        self.held = Some(self.is_too_much_alone(&piece, &contents, &why, context.watch));
                        aside.push(piece);
                        alone += if sure { SURELY } else { PERHAPS };
                        if alone >= TOO_MUCH_ALONE {
                            break;
                        }
                    }
                },
                settled @ (Settled::Held(_) | Settled::GivenUp) => {
                    pieces.push(piece);
                    aside.extend(pieces);
                    return self.end_early(settled, aside).await;
                }
            }
        }
        if !aside.is_empty() {
            self.apart = self.took && alone < TOO_MUCH_ALONE;
            // What was set aside comes last.
            aside.append(&mut pieces);
            // Its shard may well take others.
            self.seat = None;
            return self.hold(aside).await;
        }
        self.note(Note::In { part: self.part.id }).await;
        Turn::Settled
    }

    /// The turn ends with these pieces still to be delivered.
    async fn end_early(&mut self, settled: Settled, pieces: Vec<Piece>) -> Turn {
        let Settled::Held(why) = settled else {
            self.settle_owed().await;
            return Turn::Settled;
        };
        (self.held, self.apart) = (Some(why), false);
        self.hold(pieces).await
    }

    async fn hold(&mut self, pieces: Vec<Piece>) -> Turn {
        self.pieces = Some(pieces);
        self.settle_owed().await;
        Turn::Held
    }

    /// What is sent for a piece.
    fn delivery(&self, piece: &Piece, contents: &Contents) -> PartDelivery {
        piece.delivery(&self.shipment.batch, &self.part, contents, self.shard.clone())
    }

    /// Sends, looks and waits until it is known what becomes of the piece.
    async fn settle(&mut self, piece: &mut Piece, contents: &Contents, context: Context<'_>) -> Settled {
        if let Err(settled) = self.choose_shard(context).await {
            return settled;
        }
        loop {
            let delivery = self.delivery(piece, contents);
            if delivery.rows == 0 {
                // All of it is damaged.
                return Settled::In;
            }
            let unknown_for = piece.insert.unknown_for();
            let rule = delivery.can_be_found().then(|| self.rule(unknown_for, context));
            let pass = match self.begin(piece, &delivery, contents, rule, context).await {
                Ok(pass) => pass,
                Err(settled) => return settled,
            };
            if !self.announce(piece).await {
                // Nothing is under way while the disk fails.
                drop(pass);
                match self.settle_owed().await {
                    true => continue,
                    false => return Settled::GivenUp,
                }
            }
            let verdict = match pass {
                Some(pass) => self.send(&mut piece.insert, &delivery, rule, &pass, context).await,
                None => self.look(&mut piece.insert, &delivery, context).await,
            };
            if let Some(settled) = self.follow(verdict, piece, &delivery, contents, context).await {
                return settled;
            }
        }
    }

    /// Waits until the piece may be sent; without a pass it is to be looked for. `Err`: it is not sent as it is.
    async fn begin(
        &self,
        piece: &Piece,
        delivery: &PartDelivery,
        contents: &Contents,
        rule: Option<AfterUnknown>,
        context: Context<'_>,
    ) -> Result<Option<Pass>, Settled> {
        let pace = context.turns.pace(self.seat.as_ref());
        let is_too_large = || {
            let more = |limit: u64| delivery.rows_sent() > limit;
            piece.is_fresh() && pace.limit().is_some_and(more) && piece.smaller(contents).is_some()
        };
        if is_too_large() {
            return Err(Settled::Smaller);
        }
        let pass = match piece.insert.step(rule) {
            Step::Look => None,
            Step::Send => tokio::select! {
                pass = pace.admit(delivery.rows_sent()) => Some(pass),
                () = self.shipment.given_up() => return Err(Settled::GivenUp),
            },
        };
        // It may have waited for others that were too much.
        if is_too_large() {
            return Err(Settled::Smaller);
        }
        match self.shipment.may_send(self.place) {
            true => Ok(pass),
            false => Err(Settled::GivenUp),
        }
    }

    /// Notes the attempt before it is made, where that is not known yet. False when the disk refused: the note is owed.
    async fn announce(&mut self, piece: &mut Piece) -> bool {
        let note = piece.announce(self.part.id);
        if note.is_none() && !self.owes_shard() {
            return true;
        }
        self.owed.extend(note);
        let noted = self.shipment.note(self.owed.clone()).await.is_ok();
        if noted {
            self.owed.clear();
        }
        noted
    }

    /// An attempt, and what the table may be given from now on.
    async fn send(
        &self,
        insert: &mut Insert,
        delivery: &PartDelivery,
        rule: Option<AfterUnknown>,
        pass: &Pass,
        context: Context<'_>,
    ) -> Verdict {
        let (table, watch) = (&delivery.name.table, context.watch);
        let began = Instant::now();
        let outcome = context.sink.deliver(delivery).await;
        watch.report(table, self.place_of_shard(), Report::Sent(&outcome, began.elapsed()));
        if let Some(seat) = &self.seat {
            seat.answered(&outcome);
        }
        match &outcome {
            Outcome::Delivered => pass.was_taken(),
            Outcome::DeliveredBut { rejected, why } => {
                pass.was_taken();
                self.shipment.rejected(&self.part, *rejected, why);
            }
            outcome if outcome.is_too_much() => {
                if let Some(limit) = pass.was_too_much() {
                    watch.report(table, self.place_of_shard(), Report::Less(limit, delivery.rows_sent()));
                }
            }
            _ => {}
        }
        insert.sent(outcome, rule)
    }

    async fn look(&self, insert: &mut Insert, delivery: &PartDelivery, context: Context<'_>) -> Verdict {
        let look = context.sink.look(delivery).await;
        context.watch.report(&delivery.name.table, self.place_of_shard(), Report::Looked(&look));
        insert.looked(look)
    }

    /// What a verdict means for the piece, after the pause that it asks for; `None`: its next step is due.
    async fn follow(
        &self,
        verdict: Verdict,
        piece: &Piece,
        delivery: &PartDelivery,
        contents: &Contents,
        context: Context<'_>,
    ) -> Option<Settled> {
        let (table, watch) = (&delivery.name.table, context.watch);
        if piece.insert.known_absent() && !matches!(verdict, Verdict::In { .. }) {
            self.shipment.absent(self.place);
        }
        match verdict {
            Verdict::In { despite } => {
                context.stuck.took();
                watch.report(table, self.place_of_shard(), Report::In(delivery));
                watch.report(
                    table,
                    self.place_of_shard(),
                    Report::Without(&context.sink.columns_gone(delivery), delivery.rows_sent()),
                );
                if let Some(why) = despite {
                    watch.report(table, self.place_of_shard(), Report::InDespite(&why));
                }
                Some(Settled::In)
            }
            Verdict::Odd { why, .. } if piece.smaller(contents).is_some() => {
                Some(Settled::TooMuch { why: why.into(), sure: false })
            }
            Verdict::Again(pause) | Verdict::Odd { pause, .. } => {
                context.stuck.set(!pause.is_zero());
                self.pause(pause).await
            }
            Verdict::TooMuch { why, pause, sure } => {
                context.stuck.set(true);
                // One request alone waits longer than that.
                let pause = piece.smaller(contents).map_or(Duration::ZERO, |_| pause);
                self.pause(pause).await.or(Some(Settled::TooMuch { why: why.into(), sure }))
            }
            Verdict::Held { why } => {
                watch.report(table, self.place_of_shard(), Report::Held(&why));
                Some(Settled::Held(why.into()))
            }
            Verdict::Refused { why } => Some(Settled::Divide(why.into())),
        }
    }

    async fn pause(&self, pause: Duration) -> Option<Settled> {
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            () = self.shipment.given_up() => Some(Settled::GivenUp),
        }
    }

    /// A request that the sink does not take alone is no mistake of its sender: it waits for a sink that does.
    fn is_too_much_alone(&self, piece: &Piece, contents: &Contents, why: &str, watch: &Watch) -> Arc<str> {
        let rows = rows(piece.extent, contents).map_or(0, |(_, (_, rows))| rows);
        let why = format!(
            "{why}; it is one request of {rows} rows, which cannot be divided: it is stored when the limit that this names is raised, or \
             whatever stands behind it is mended"
        );
        watch.report(&self.part.name.table, self.place_of_shard(), Report::Held(&why));
        why.into()
    }
}
