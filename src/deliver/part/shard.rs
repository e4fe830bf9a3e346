//! Which shard a part goes to, where the sink has several: chosen once, noted before the first byte of it is sent, and kept for good.
//!
//! Invariant: nothing of a part is sent anywhere while some of it may be at a shard that is not known. Where no note says which (an older version tried
//! it, or damage took the note), all of it is looked for at every shard first.

use std::time::Duration;

use super::super::piece::Piece;
use super::super::watch::Report;
use super::{Context, Job, Settled};
use crate::sink::AfterUnknown;
use crate::spool::{Contents, Note};

impl Job {
    /// Its shard's place in the configuration.
    pub(in super::super) fn place_of_shard(&self) -> Option<usize> {
        self.seat.as_ref().map(super::Seat::place)
    }

    /// What settles an unknown outcome, at its shard.
    pub(super) fn rule(&self, unknown_for: Duration, context: Context<'_>) -> AfterUnknown {
        context.sink.after_unknown(&self.part.name.table, self.shard.as_deref(), unknown_for)
    }

    /// Whether its shard was chosen and is not noted yet.
    pub(super) fn owes_shard(&self) -> bool {
        self.owed.iter().any(|note| matches!(note, Note::Shard { .. }))
    }

    /// Goes back to the shard that it was given to. A part that may be at one of them and nobody knows which is looked for at all of them; then none of its
    /// pieces may be anywhere.
    pub(super) async fn find_its_shard(
        &mut self,
        pieces: &mut Vec<Piece>,
        contents: &Contents,
        context: Context<'_>,
    ) -> Result<(), Settled> {
        if let Some(noted) = &self.shard {
            let name = context.sink.shard(noted).map_err(|why| {
                context.watch.report(&self.part.name.table, None, Report::Held(&why));
                Settled::Held(why.into())
            })?;
            if let (None, Some(name)) = (&self.seat, name) {
                self.seat = context.turns.return_to(&name);
            }
            return Ok(());
        }
        if context.sink.shards().is_empty() {
            return Ok(());
        }
        let mut absent = Vec::new();
        while let Some(mut piece) = pieces.pop() {
            let found = self.look_everywhere(&mut piece, contents, context).await;
            match found {
                Ok(true) => {
                    self.shipment.is_in(self.place);
                    self.is_in(&piece);
                }
                Ok(false) => absent.push(piece),
                Err(settled) => {
                    pieces.push(piece);
                    pieces.extend(absent.into_iter().rev());
                    return Err(settled);
                }
            }
        }
        pieces.extend(absent.into_iter().rev());
        Ok(())
    }

    /// Whether a piece is in, wherever that may be.
    async fn look_everywhere(
        &self,
        piece: &mut Piece,
        contents: &Contents,
        context: Context<'_>,
    ) -> Result<bool, Settled> {
        while !piece.insert.known_absent() {
            let delivery = self.delivery(piece, contents);
            if delivery.rows == 0 {
                return Ok(true);
            }
            if !self.shipment.may_send(self.place) {
                return Err(Settled::GivenUp);
            }
            let verdict = self.look(&mut piece.insert, &delivery, context).await;
            let settled = self.follow(verdict, piece, &delivery, contents, context).await;
            match settled {
                None => {}
                Some(Settled::In) => return Ok(true),
                Some(settled) => return Err(settled),
            }
        }
        Ok(false)
    }

    /// Gives a part that was nowhere yet to a shard. The note is synced with that of the first attempt.
    pub(super) async fn choose_shard(&mut self, context: Context<'_>) -> Result<(), Settled> {
        if self.shard.is_some() {
            return Ok(());
        }
        context.stuck.set(!context.sink.shards().is_empty() && !context.turns.any_is_well());
        let seat = tokio::select! {
            seat = context.turns.choose() => seat,
            () = self.shipment.given_up() => return Err(Settled::GivenUp),
        };
        context.stuck.set(false);
        if let Some(shard) = seat.as_ref().and_then(super::Seat::name) {
            self.owed.push(Note::Shard { part: self.part.id, shard: shard.clone() });
            self.shard = Some(shard.clone());
        }
        self.seat = seat;
        Ok(())
    }
}
