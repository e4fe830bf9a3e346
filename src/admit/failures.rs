//! Addresses that failed to authenticate: after so many failures in a minute, an address's next failures are answered as the first ones
//! were, at once, and end their connection, unless that has shown a valid key.
//!
//! The presented key was hashed and looked up before anybody asks here, for that is how a valid key from the same address gets through. That
//! costs about a microsecond, so that there is little to save; what a guess costs from here on is its sender's: a connection and a handshake for
//! as many guesses as have streams in it, and an address has `listen.max_connections_per_ip` of them. An answer that may be retried (429) would
//! bound nothing more, and would make clients with a wrong key wait and come again.
//!
//! Invariant: the table never holds more than [`MAX_ADDRESSES`] × 2 addresses, however many an attacker owns. There are two
//! generations; a full or aged one replaces the older, which is how the least recent failures are forgotten without a scan.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::network::Network;

/// Addresses in one generation: about 2 MiB.
const MAX_ADDRESSES: usize = 32_768;
const WINDOW: Duration = Duration::from_secs(60);

/// The table of all addresses with a failure in the last minute.
#[derive(Debug)]
pub(super) struct Failures {
    max_per_minute: AtomicU32,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    young: HashMap<Network, Tally>,
    old: HashMap<Network, Tally>,
    turned: Instant,
}

/// An address's failures since the first of this window.
#[derive(Debug, Clone, Copy)]
struct Tally {
    since: Instant,
    count: u32,
}

impl Failures {
    pub(super) fn new(max_per_minute: u32, now: Instant) -> Self {
        Failures {
            max_per_minute: AtomicU32::new(max_per_minute),
            generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new(), turned: now }),
        }
    }

    /// Allows another number from now on.
    pub(super) fn set_max(&self, max_per_minute: u32) {
        self.max_per_minute.store(max_per_minute, Ordering::Relaxed);
    }

    /// Counts a failed authentication; whether the address is over its number, until a minute after its first one.
    pub(super) fn record(&self, peer: IpAddr, now: Instant) -> bool {
        let network = Network::of(peer);
        let mut generations = self.generations.lock();
        let tally = generations.tally(network, now);
        if tally.count >= self.max_per_minute.load(Ordering::Relaxed) {
            return true;
        }
        tally.count += 1;
        false
    }
}

impl Generations {
    fn tally(&mut self, network: Network, now: Instant) -> &mut Tally {
        let aged = now.saturating_duration_since(self.turned) >= WINDOW;
        let full = self.young.len() >= MAX_ADDRESSES && !self.young.contains_key(&network);
        if aged || full {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let fresh = Tally { since: now, count: 0 };
        let known = self.old.remove(&network).unwrap_or(fresh);
        let tally = self.young.entry(network).or_insert(known);
        if now.saturating_duration_since(tally.since) >= WINDOW {
            *tally = fresh;
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn ip(last: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(last))
    }

    #[test]
    fn the_next_ones_are_too_many_until_the_minute_is_over() {
        let now = Instant::now();
        let failures = Failures::new(20, now);
        for _ in 0..20 {
            assert!(!failures.record(ip(1), now));
        }
        let later = now + Duration::from_secs(50);
        assert!(failures.record(ip(1), later));
        assert!(!failures.record(ip(2), later));
        assert!(!failures.record(ip(1), now + WINDOW));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let now = Instant::now();
        let failures = Failures::new(1, now);
        let of = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
        assert!(!failures.record(of("2001:db8::1"), now));
        assert!(failures.record(of("2001:db8::ffff:2"), now));
        assert!(!failures.record(of("2001:db8:0:1::1"), now));
        // An IPv4 client on an IPv6 socket is its IPv4 address.
        assert!(!failures.record(of("::ffff:10.0.0.1"), now));
        assert!(failures.record("10.0.0.1".parse().unwrap(), now));
    }

    #[test]
    fn the_table_stays_small_and_keeps_the_recent() {
        let now = Instant::now();
        let failures = Failures::new(1, now);
        for address in 0..200_000 {
            assert!(!failures.record(ip(address), now));
        }
        let generations = failures.generations.lock();
        assert!(generations.young.len() <= MAX_ADDRESSES && generations.old.len() <= MAX_ADDRESSES);
        drop(generations);
        assert!(failures.record(ip(199_999), now));
    }

    #[test]
    fn a_count_survives_the_turn_of_a_generation() {
        let now = Instant::now();
        let failures = Failures::new(2, now);
        failures.record(ip(1), now + Duration::from_secs(59));
        failures.record(ip(1), now + Duration::from_secs(60));
        assert!(failures.record(ip(1), now + Duration::from_secs(61)));
    }
}
