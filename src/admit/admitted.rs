//! What a request that was admitted holds and pays until it is kept or refused.

use std::sync::Arc;

use super::memory::Reservation;
use super::turns::{Turn, Turns};
use crate::keys::Key;
use crate::memory::Memory;
use crate::reply::Refusal;

/// A request that may send its signal, is within its key's requests a second, and holds its first memory.
#[derive(Debug)]
pub(crate) struct Admitted {
    key: Arc<Key>,
    pub(super) memory: Reservation,
    turns: Turns,
    turn: Option<Turn>,
}

impl Admitted {
    pub(super) fn new(key: Arc<Key>, memory: Reservation, turns: Turns) -> Self {
        Admitted { key, memory, turns, turn: None }
    }

    /// The key pays for work on this request, before it is known what becomes of it.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`].
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), Refusal> {
        self.key.state.work.spend(bytes)
    }

    /// Gives back what it paid for and did not use.
    pub(crate) fn unspend(&self, bytes: u64) {
        self.key.state.work.unspend(bytes);
    }

    /// The long work on this request is done.
    pub(crate) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Whose request it is.
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }
}

impl Memory for Admitted {
    fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.spend(bytes)?;
        self.memory.grow(bytes)
    }

    fn lend(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.memory.grow(bytes)
    }

    async fn turn(&mut self) -> Result<(), Refusal> {
        let had = self.turn.take();
        self.turn = Some(self.turns.take(&self.key.state, had).await?);
        Ok(())
    }

    fn shrink(&mut self, bytes: u64) {
        self.memory.shrink(bytes);
    }
}
