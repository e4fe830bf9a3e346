//! Memory that requests hold: counted for the whole process and for each key, reserved as bytes arrive.
//!
//! Shares shrink as keys come: beside others, a key may hold no more than [`TIMES_FREE`] times what it leaves free. Alone it has its whole share; when a second
//! and a third key come they find room, whatever the first ones hold, and as requests end all come to hold the same.
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

/// So many times what stays free may one key hold beside others. Keys that all take what they can get hold 2/5 each when they are two, 2/7 when they are three.
const TIMES_FREE: u64 = 2;

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

    /// What a key may hold that is about to hold `held`, which is in the account already.
    fn share(&self, held: u64) -> u64 {
        let used = self.used();
        let alone = used <= held;
        let beside = self.max.saturating_sub(used).saturating_mul(TIMES_FREE);
        if alone { self.max_per_key } else { beside.min(self.max_per_key) }
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
        if !self.memory.used.try_add(bytes, self.memory.max) {
            return Err(full(Away::Memory));
        }
        if !self.key.memory.try_add(bytes, self.memory.share(self.key.memory.get().saturating_add(bytes))) {
            self.memory.used.sub(bytes);
            return Err(full(Away::KeyMemory));
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
    use super::*;
    use crate::keys::{KeyRing, testing::entry};

    fn key_state() -> Arc<KeyState> {
        KeyRing::new(vec![entry("k", "k", 1)]).find(b"k").unwrap().state.clone()
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
        assert_eq!(away(second.grow(27)), Away::KeyMemory);
        second.grow(26).unwrap();
        let third_key = key_state();
        let mut third = Reservation::new(memory.clone(), third_key);
        third.grow(9).unwrap();
        assert_eq!(memory.used(), 95);
        assert_eq!(away(third.grow(1)), Away::KeyMemory);
        // What the first one gives back is there for all, and what it has left is more than its share beside two.
        first.shrink(20);
        third.grow(1).unwrap();
        beside.grow(1).unwrap();
        drop(third);
        drop((first, beside));
        drop(second);
        assert_eq!((memory.used(), one.memory.get(), two.memory.get()), (0, 0, 0));
    }

    /// Keys that take all they can get, a MiB at a time and in turn; what each holds then.
    fn greedy(reservations: &mut [Reservation]) -> Vec<u64> {
        while reservations.iter_mut().filter_map(|one| one.grow(1 << 20).ok()).count() > 0 {}
        reservations.iter().map(|one| one.bytes >> 20).collect()
    }

    /// The numbers of docs/limits.md, with the defaults.
    #[test]
    fn shares_shrink_as_keys_come() {
        let account = || Arc::new(MemoryAccount::new(512 << 20, 256 << 20));
        let keys = |memory: &Arc<MemoryAccount>, count: usize| -> Vec<Reservation> {
            (0..count).map(|_| Reservation::new(memory.clone(), key_state())).collect()
        };
        for (count, part) in [(1, 256), (2, 512 * 2 / 5), (3, 512 * 2 / 7)] {
            for held in greedy(&mut keys(&account(), count)) {
                assert!(held.abs_diff(part) <= 1, "{count} keys: {held} MiB of {part}");
            }
        }
        let memory = account();
        let mut all: Vec<Reservation> = Vec::new();
        for finds in [256, 170, 57, 19] {
            let mut next = keys(&memory, 1);
            let held = greedy(&mut next)[0];
            assert!(held.abs_diff(finds) <= 1, "{held} MiB of {finds}");
            all.append(&mut next);
        }
    }

    #[test]
    fn a_huge_claim_does_not_wrap_around() {
        let memory = Arc::new(MemoryAccount::new(u64::MAX, u64::MAX));
        let key = key_state();
        let mut reservation = Reservation::new(memory.clone(), key.clone());
        reservation.grow(10).unwrap();
        let mut beside = Reservation::new(memory.clone(), key);
        assert_eq!(away(beside.grow(u64::MAX)), Away::Memory);
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
