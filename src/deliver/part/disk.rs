//! What a part's course reads from its batch's file, and writes down in it.
//!
//! Invariant: a note that cannot be written is owed, and waited for before anything that it announces is done.

use std::sync::Arc;
use std::time::Duration;

use super::super::piece::{Piece, cuts, rows};
use super::Job;
use crate::blocking;
use crate::sink::Sink;
use crate::spool::{Contents, Extent, Note, Refused};

/// Longest wait between attempts at something that the disk refuses.
const DISK_PAUSE: Duration = Duration::from_secs(5);

impl Job {
    pub(super) async fn read(&self) -> Option<Contents> {
        let (batch, part) = (self.shipment.batch.clone(), self.part.id);
        self.until_it_works("read", move || {
            let batch = batch.clone();
            async move { blocking::run_io_if(batch.is_durable(), move || batch.read(part)).await }
        })
        .await
    }

    /// What is still to be delivered, the next piece last; as an earlier process left it.
    pub(super) async fn first_pieces(&mut self, sink: &dyn Sink, contents: &Contents) -> Vec<Piece> {
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
            sink.tried_before(&self.delivery(piece, contents));
        }
        pieces
    }

    /// A piece is in. Its note is synced with that of the next attempt, before it is made.
    pub(super) fn is_in(&mut self, piece: &Piece) {
        if piece.extent != Extent::Whole {
            self.owed.push(Note::PieceIn { part: self.part.id, extent: piece.extent });
        }
    }

    /// A piece goes as its halves from now on, the first of them next.
    pub(super) async fn divide(&mut self, piece: &Piece, halves: [Piece; 2]) -> impl Iterator<Item = Piece> + use<> {
        let into = halves.iter().map(|half| half.extent).collect();
        // A record of its own: should it be lost, the pieces' own notes tell that they were.
        self.note(Note::Divided { part: self.part.id, extent: piece.extent, into }).await;
        halves.into_iter().rev()
    }

    /// The rows of one request are refused for good.
    pub(super) async fn quarantine(&mut self, piece: &Piece, contents: &Contents, why: &Arc<str>) {
        let Some((segment, (start, rows))) = rows(piece.extent, contents) else {
            return;
        };
        let place = contents.segments.iter().position(|one| one.frame == segment.frame);
        let refused = Refused { part: self.part.id, frame: segment.frame, start, rows, why: why.clone() };
        self.is_in(piece);
        self.note(Note::Refused(refused)).await;
        self.shipment.refused(&self.part, place.unwrap_or(0), (start, rows));
        let (table, partition) = (&self.part.name.table, self.part.name.partition);
        tracing::warn!(%table, partition, rows, %why, "the sink refuses rows of one request for good");
    }

    /// A note comes before what it announces, so there is nothing to do but to wait for the disk. False when the batch was given up meanwhile.
    pub(super) async fn note(&mut self, note: Note) -> bool {
        self.owed.push(note);
        self.settle_owed().await
    }

    pub(super) async fn settle_owed(&mut self) -> bool {
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
