//! What a request that was admitted holds and pays until it is kept or refused.

use super::KeyInUse;
use super::memory::Reservation;
use super::turns::{Turn, Turns};
use crate::keys::Did;
use crate::memory::Memory;
use crate::reply::Refusal;

/// Work that is done in passing, in bytes: its key hears of it when the request is charged or has ended. Beyond, it hears of it before it is done.
const IN_PASSING: u64 = 4 << 20;

/// A request that may send its signal, is within its key's requests a second, and holds its first memory.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(super) memory: Reservation,
    turns: Turns,
    turn: Option<Turn>,
    /// Work that its key has not heard of.
    unpaid: u64,
}

impl Admitted {
    pub(super) fn new(memory: Reservation, turns: Turns) -> Self {
        Admitted { memory, turns, turn: None, unpaid: 0 }
    }

    /// The key pays for work on this request, before it is known what becomes of it.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`].
    pub(crate) fn spend(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.unpaid = self.unpaid.saturating_add(bytes);
        if self.unpaid <= IN_PASSING {
            return Ok(());
        }
        let work = std::mem::take(&mut self.unpaid);
        self.key().state.limiter.work(Did { work, memory: None })
    }

    /// Gives back what it paid for and did not use.
    pub(crate) fn unspend(&mut self, bytes: u64) {
        let paid = bytes.saturating_sub(self.unpaid);
        self.unpaid = self.unpaid.saturating_sub(bytes);
        if paid > 0 {
            self.key().state.limiter.unspend(paid);
        }
    }

    /// What it did, for who charges it.
    pub(super) fn did(&mut self) -> Did {
        Did { work: std::mem::take(&mut self.unpaid), memory: self.memory.usual() }
    }

    /// The long work on this request is done.
    pub(crate) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Whose request it is.
    pub(crate) fn key(&self) -> &KeyInUse {
        self.memory.key()
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
        self.turn = Some(self.turns.take(&self.key().state, had).await?);
        Ok(())
    }

    fn shrink(&mut self, bytes: u64) {
        self.memory.shrink(bytes);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.unpaid > 0 {
            // It ends uncharged, and nobody waits for it; what was too much stands in the way of the next one.
            let _ = self.key().state.limiter.work(Did { work: self.unpaid, memory: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use crate::admit::Admission;
    use crate::admit::tests::{LIMITS, REQUEST, entry};
    use crate::config::{KeyEntry, KeyLimits};
    use crate::keys::KeyRing;
    use crate::signal::Signal;

    /// A key that may do 16 MiB of work a second, and 256 MiB at once.
    fn admission() -> Admission {
        let limits = KeyLimits { requests_per_second: 100_000, ..LIMITS };
        Admission::new(Arc::new(KeyRing::new(vec![KeyEntry { limits, ..entry("k") }])), 3, &REQUEST)
    }

    fn admit(admission: &Admission) -> Result<Admitted, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "k".parse().unwrap());
        let who = admission.authenticate(&headers, &[], IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        admission.admit(who, Signal::Logs, &headers)
    }

    #[test]
    fn a_key_hears_of_work_in_passing_when_it_is_over_and_of_more_at_once() {
        let admission = admission();
        admission.taken(b"k");
        let mut request = admit(&admission).unwrap();
        request.spend(IN_PASSING).unwrap();
        assert_eq!(admission.taken(b"k")[0], 1, "it was let in");
        request.spend(1).unwrap();
        request.spend(1).unwrap();
        request.unspend(1);
        assert_eq!(admission.taken(b"k")[0], 1, "it is no longer work in passing");
        request.unspend(IN_PASSING);
        request.spend(7).unwrap();
        let _paid = admission.charge(&mut request, 1, 1).unwrap();
        drop(request);
        assert_eq!(
            admission.taken(b"k")[0],
            2,
            "what was not done is given back, what was done is paid for with the request"
        );
    }

    #[test]
    fn who_ends_uncharged_has_done_what_it_did() {
        let admission = admission();
        let mut admitted = 0;
        let refused = loop {
            match admit(&admission) {
                Ok(mut request) => request.spend(IN_PASSING).unwrap(),
                Err(refusal) => break refusal,
            }
            admitted += 1;
        };
        assert!(matches!(refused, Refusal::OverLimit { limit: "bytes_per_second", .. }), "{refused:?}");
        // As much as there is at once, and what a busy machine takes longer for.
        assert!((64..200).contains(&admitted), "{admitted}");
    }

    #[test]
    fn too_much_work_is_refused_with_the_charge() {
        let admission = admission();
        let (mut large, mut small) = (admit(&admission).unwrap(), admit(&admission).unwrap());
        large.spend(500 << 20).unwrap();
        small.spend(IN_PASSING).unwrap();
        large.spend(200 << 20).unwrap_err();
        let refused = admission.charge(&mut small, 1, 1).unwrap_err();
        assert!(matches!(refused, Refusal::OverLimit { limit: "bytes_per_second", .. }), "{refused:?}");
        let total = small.key().state.limiter.total();
        assert_eq!((total.requests, total.bytes, total.records), (2, 0, 0));
    }
}
