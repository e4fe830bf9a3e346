//! Memory that requests hold: counted for the whole process and for each key, reserved as bytes arrive.
//!
//! Shares shrink as keys come: beside others, a key may hold no more than [`TIMES_FREE`] times what it leaves free. Alone it has its whole share; when a second
//! and a third key come they find room, whatever the first ones hold, and as requests end all come to hold the same.
//!
//! A request's first reservation takes what the requests of its key take as a rule, and gives it back with its last: so the accounts, which all requests share, are touched twice by
//! most. Only while there is plenty ([`PLENTY`]): what is reserved ahead is never more than that part of an account, and beyond it each byte is reserved as it arrives.
//!
//! Invariant: nobody ever waits for memory. What does not fit is refused and told to come again, so a full gateway
//! holds no queue of requests that hold memory while they wait for more. What is reserved is given back when its
//! [`Reservation`] is dropped, whatever ended the request.

use std::sync::Arc;
use std::time::Duration;

use super::KeyInUse;
use crate::counted::Counter;
use crate::reply::{Away, Refusal};

/// Requests come and go within milliseconds; the shortest advice that HTTP can express is long enough.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many times what stays free may one key hold beside others. Keys that all take what they can get hold 2/5 each when they are two, 2/7 when they are three.
const TIMES_FREE: u64 = 2;

/// Of an account, one in so many bytes may be reserved ahead of what is needed.
const PLENTY: u64 = 4;
/// More than this is no usual request, and nothing is reserved ahead for the next one because of it.
const MOST_USUAL: u64 = 4 << 20;

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

    /// What a key may hold that is about to hold `held`, of all the `used` bytes.
    fn share(&self, used: u64, held: u64) -> u64 {
        let alone = used <= held;
        let beside = self.max.saturating_sub(used).saturating_mul(TIMES_FREE);
        if alone { self.max_per_key } else { beside.min(self.max_per_key) }
    }

    /// Bytes that are reserved for requests now.
    pub(crate) fn used(&self) -> u64 {
        self.used.get()
    }

    /// How often it was changed since this was asked last.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.used.taken()
    }
}

/// What one request holds, of the process's memory and of its key's share.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<MemoryAccount>,
    key: KeyInUse,
    /// What it needs now.
    bytes: u64,
    /// The most that it needed.
    most: u64,
    /// What is reserved for it.
    held: u64,
    /// So much of it is kept until the end, needed or not.
    ahead: u64,
}

impl Reservation {
    /// Reserves `bytes`, and where there is plenty as much as `usual` and a quarter of that.
    ///
    /// # Errors
    /// As [`Reservation::grow`].
    pub(super) fn begin(memory: Arc<MemoryAccount>, key: KeyInUse, bytes: u64, usual: u64) -> Result<Self, Refusal> {
        let mut begun = Reservation::new(memory, key);
        begun.reserve(bytes, usual.saturating_add(usual / 4))?;
        begun.ahead = begun.held;
        begun.grow(bytes)?;
        Ok(begun)
    }

    fn new(memory: Arc<MemoryAccount>, key: KeyInUse) -> Self {
        Reservation { memory, key, bytes: 0, most: 0, held: 0, ahead: 0 }
    }

    /// Whose it is.
    pub(super) fn key(&self) -> &KeyInUse {
        &self.key
    }

    /// Reserves `bytes` more, at once or not at all.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with [`Away::KeyMemory`] or [`Away::Memory`]; [`Refusal::TooLarge`] when this request alone needs more than
    /// its key's share, for it would be told to come again for ever. What was reserved before stays.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let needed = self.bytes.saturating_add(bytes);
        if needed > self.memory.max_per_key {
            return Err(Refusal::TooLarge { limit: "request.max_memory_per_key", max: self.memory.max_per_key });
        }
        if needed > self.held {
            self.reserve(needed - self.held, 0)?;
        }
        (self.bytes, self.most) = (needed, self.most.max(needed));
        Ok(())
    }

    /// Needs `bytes` less (nothing when it needs less than that), for example after a compressed body was inflated.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.keep(self.bytes.max(self.ahead));
    }

    /// The most that it needed, where that was no more than usual requests need.
    pub(super) fn usual(&self) -> Option<u64> {
        Some(self.most).filter(|most| *most <= MOST_USUAL)
    }

    /// `bytes`, which are not 0, or `ahead` where that is more and there is plenty.
    fn reserve(&mut self, bytes: u64, ahead: u64) -> Result<(), Refusal> {
        let (account, of_key) = (&*self.memory, &self.key.state.memory);
        let plenty = |used: u64, max: u64| used.saturating_add(ahead) <= max / PLENTY;
        let wanted = if plenty(of_key.get(), account.max_per_key) { ahead.max(bytes) } else { bytes };
        let mut added = 0;
        let used = account.used.add(|used| {
            added = if plenty(used, account.max) { wanted } else { bytes };
            used.checked_add(added).filter(|sum| *sum <= account.max).map(|_| added)
        });
        let used = used.ok_or(full(Away::Memory))? + added;
        let fits = |sum: &u64| *sum <= account.share(used, *sum);
        if of_key.add(|held| held.checked_add(added).filter(fits).map(|_| added)).is_none() {
            account.used.sub(added);
            return Err(full(Away::KeyMemory));
        }
        self.held += added;
        Ok(())
    }

    /// Gives back what is reserved beyond `bytes`.
    fn keep(&mut self, bytes: u64) {
        let less = self.held.saturating_sub(bytes);
        if less > 0 {
            self.held = bytes;
            self.memory.used.sub(less);
            self.key.state.memory.sub(less);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.keep(0);
    }
}

fn full(away: Away) -> Refusal {
    Refusal::Unavailable { away, retry_after: RETRY_AFTER }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyRing, testing::entry};

    fn key() -> KeyInUse {
        KeyRing::new(vec![entry("k", "k", 1)]).find(b"k").unwrap().into()
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
        let (one, two) = (key(), key());
        let mut first = Reservation::new(memory.clone(), one.clone());
        first.grow(59).unwrap();
        let mut beside = Reservation::new(memory.clone(), one.clone());
        beside.grow(1).unwrap();
        assert_eq!(away(beside.grow(1)), Away::KeyMemory);
        let mut second = Reservation::new(memory.clone(), two.clone());
        assert_eq!(away(second.grow(41)), Away::Memory);
        assert_eq!(away(second.grow(27)), Away::KeyMemory);
        second.grow(26).unwrap();
        let mut third = Reservation::new(memory.clone(), key());
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
        assert_eq!((memory.used(), one.state.memory.get(), two.state.memory.get()), (0, 0, 0));
    }

    #[test]
    fn what_is_reserved_ahead_is_given_back_at_the_end_and_never_more_than_a_quarter() {
        let memory = Arc::new(MemoryAccount::new(400, 200));
        let (one, two) = (key(), key());
        let begin = |key: &KeyInUse| Reservation::begin(memory.clone(), key.clone(), 10, 40).unwrap();
        let mut first = begin(&one);
        assert_eq!((memory.used(), memory.taken(), one.state.memory.taken()), (50, 1, 1));
        first.grow(40).unwrap();
        first.shrink(30);
        assert_eq!((memory.used(), memory.taken(), one.state.memory.taken()), (50, 0, 0));
        // The key's quarter is taken, the next one takes what it needs.
        let second = begin(&one);
        assert_eq!(memory.used(), 60);
        // And so does another key's, for the process's quarter.
        let third = begin(&two);
        let fourth = begin(&key());
        assert_eq!(memory.used(), 80);
        // What was needed besides is given back when it no longer is.
        first.grow(80).unwrap();
        assert_eq!((memory.used(), first.usual()), (130, Some(100)));
        first.shrink(100);
        assert_eq!(memory.used(), 80);
        memory.taken();
        drop((first, second, third, fourth));
        assert_eq!((memory.used(), one.state.memory.get(), two.state.memory.get(), memory.taken()), (0, 0, 0, 4));
    }

    #[test]
    fn a_large_request_is_no_usual_one() {
        let memory = Arc::new(MemoryAccount::new(1 << 30, 1 << 29));
        let mut large = Reservation::begin(memory, key(), 1, 0).unwrap();
        large.grow(MOST_USUAL).unwrap();
        large.shrink(MOST_USUAL);
        assert_eq!(large.usual(), None);
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
            (0..count).map(|_| Reservation::new(memory.clone(), key())).collect()
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
        let one = key();
        let mut reservation = Reservation::new(memory.clone(), one.clone());
        reservation.grow(10).unwrap();
        let mut beside = Reservation::new(memory.clone(), one);
        assert_eq!(away(beside.grow(u64::MAX)), Away::Memory);
        reservation.shrink(u64::MAX);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_request_that_alone_needs_more_than_its_keys_share_is_too_large() {
        let memory = Arc::new(MemoryAccount::new(100, 60));
        let mut reservation = Reservation::new(memory, key());
        reservation.grow(60).unwrap();
        let refused = reservation.grow(1);
        assert_eq!(refused, Err(Refusal::TooLarge { limit: "request.max_memory_per_key", max: 60 }));
        assert_eq!(reservation.bytes, 60);
    }
}
