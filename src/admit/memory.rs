//! Memory that requests hold: counted for the whole process and for each key, reserved as bytes arrive.
//!
//! Invariant: nobody ever waits for memory. What does not fit is refused and told to come again, so a full gateway
//! holds no queue of requests that hold memory while they wait for more. What is reserved is given back when its
//! [`Reservation`] is dropped, whatever ended the request.

use std::sync::Arc;
use std::time::Duration;

use crate::keys::{Counter, KeyState};
use crate::reply::{Away, Refusal};

/// Requests come and go within milliseconds; the shortest advice that HTTP can express is long enough.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The whole process's account.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    used: Counter,
    max: u64,
    max_per_key: u64,
}

impl MemoryAccount {
    /// At most `max` bytes for all requests together, `max_per_key` of them for one key.
    pub(crate) fn new(max: u64, max_per_key: u64) -> Self {
        MemoryAccount { used: Counter::default(), max, max_per_key }
    }

    /// Bytes that requests hold now.
    pub(crate) fn used(&self) -> u64 {
        self.used.get()
    }
}

/// What one request holds, of the process's memory and of its key's share.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<MemoryAccount>,
    key: Arc<KeyState>,
    bytes: u64,
}

impl Reservation {
    /// Holds nothing yet.
    pub(super) fn new(memory: Arc<MemoryAccount>, key: Arc<KeyState>) -> Self {
        Reservation { memory, key, bytes: 0 }
    }

    /// Reserves `bytes` more, at once or not at all.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with [`Away::KeyMemory`] or [`Away::Memory`]; [`Refusal::TooLarge`] when this request alone needs more than
    /// its key's share, for it would be told to come again for ever. What was reserved before stays.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        if self.bytes.saturating_add(bytes) > self.memory.max_per_key {
            return Err(Refusal::TooLarge { limit: "request.max_memory_per_key", max: self.memory.max_per_key });
        }
        if !self.key.memory.try_add(bytes, self.memory.max_per_key) {
            return Err(full(Away::KeyMemory));
        }
        if !self.memory.used.try_add(bytes, self.memory.max) {
            self.key.memory.sub(bytes);
            return Err(full(Away::Memory));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back `bytes` of what is held (all of it when it holds less), for example after a compressed body was inflated.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.used.sub(bytes);
        self.key.memory.sub(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

fn full(away: Away) -> Refusal {
    Refusal::Unavailable { away, retry_after: RETRY_AFTER }
}

#[cfg(test)]
mod tests {
    use super::super::tests::LIMITS;
    use super::*;

    fn key_state() -> Arc<KeyState> {
        Arc::new(KeyState::new(&LIMITS))
    }

    fn away(result: Result<(), Refusal>) -> Away {
        match result {
            Err(Refusal::Unavailable { away, .. }) => away,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_key_has_its_share_and_the_process_its_total() {
        let memory = Arc::new(MemoryAccount::new(100, 60));
        let (one, two) = (key_state(), key_state());
        let mut first = Reservation::new(memory.clone(), one.clone());
        first.grow(59).unwrap();
        let mut beside = Reservation::new(memory.clone(), one.clone());
        beside.grow(1).unwrap();
        assert_eq!(away(beside.grow(1)), Away::KeyMemory);
        let mut second = Reservation::new(memory.clone(), two.clone());
        assert_eq!(away(second.grow(41)), Away::Memory);
        second.grow(40).unwrap();
        assert_eq!(memory.used(), 100);
        first.shrink(20);
        second.grow(20).unwrap();
        drop((first, beside));
        drop(second);
        assert_eq!((memory.used(), one.memory.get(), two.memory.get()), (0, 0, 0));
    }

    #[test]
    fn a_huge_claim_does_not_wrap_around() {
        let memory = Arc::new(MemoryAccount::new(u64::MAX, u64::MAX));
        let key = key_state();
        let mut reservation = Reservation::new(memory.clone(), key.clone());
        reservation.grow(10).unwrap();
        let mut beside = Reservation::new(memory.clone(), key);
        assert_eq!(away(beside.grow(u64::MAX)), Away::KeyMemory);
        reservation.shrink(u64::MAX);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_request_that_alone_needs_more_than_its_keys_share_is_too_large() {
        let memory = Arc::new(MemoryAccount::new(100, 60));
        let mut reservation = Reservation::new(memory, key_state());
        reservation.grow(60).unwrap();
        let refused = reservation.grow(1);
        assert_eq!(refused, Err(Refusal::TooLarge { limit: "request.max_memory_per_key", max: 60 }));
        assert_eq!(reservation.bytes, 60);
    }
}
