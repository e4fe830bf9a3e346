//! Addresses that failed to authenticate: after so many failures in a minute, an address's next failures are answered
//! with 429 and the time until the minute is over.
//!
//! What "at once" saves, said honestly: the presented key was hashed and looked up before anybody asks here, for that is how a
//! valid key from the same address gets through. That costs about a microsecond, so there is little left to save; what the 429 does is
//! tell a client with a wrong key, which would drop its data at a 401 and go on at full speed, to wait.
//!
//! Invariant: the table never holds more than [`MAX_ADDRESSES`] × 2 addresses, however many an attacker owns. There are two
//! generations; a full or aged one replaces the older, which is how the least recent failures are forgotten without a scan.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::network::Network;

/// Addresses in one generation: about 2 MiB.
const MAX_ADDRESSES: usize = 32_768;
const WINDOW: Duration = Duration::from_secs(60);

/// The table of all addresses with a failure in the last minute.
#[derive(Debug)]
pub(super) struct Failures {
    max_per_minute: u32,
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
            max_per_minute,
            generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new(), turned: now }),
        }
    }

    /// Counts a failed authentication. `Some(wait)`: the address is over its number; it starts afresh after `wait`.
    pub(super) fn record(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let network = Network::of(peer);
        let mut generations = self.generations.lock();
        let tally = generations.tally(network, now);
        if tally.count >= self.max_per_minute {
            return Some((tally.since + WINDOW).saturating_duration_since(now));
        }
        tally.count += 1;
        None
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
    fn the_next_ones_are_refused_until_the_minute_is_over() {
        let now = Instant::now();
        let failures = Failures::new(20, now);
        for _ in 0..20 {
            assert_eq!(failures.record(ip(1), now), None);
        }
        let later = now + Duration::from_secs(50);
        assert_eq!(failures.record(ip(1), later), Some(Duration::from_secs(10)));
        assert_eq!(failures.record(ip(2), later), None);
        assert_eq!(failures.record(ip(1), now + WINDOW), None);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let now = Instant::now();
        let failures = Failures::new(1, now);
        let of = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
        assert_eq!(failures.record(of("2001:db8::1"), now), None);
        assert!(failures.record(of("2001:db8::ffff:2"), now).is_some());
        assert_eq!(failures.record(of("2001:db8:0:1::1"), now), None);
        // An IPv4 client on an IPv6 socket is its IPv4 address.
        assert_eq!(failures.record(of("::ffff:10.0.0.1"), now), None);
        assert!(failures.record("10.0.0.1".parse().unwrap(), now).is_some());
    }

    #[test]
    fn the_table_stays_small_and_keeps_the_recent() {
        let now = Instant::now();
        let failures = Failures::new(1, now);
        for address in 0..200_000 {
            assert_eq!(failures.record(ip(address), now), None);
        }
        let generations = failures.generations.lock();
        assert!(generations.young.len() <= MAX_ADDRESSES && generations.old.len() <= MAX_ADDRESSES);
        drop(generations);
        assert!(failures.record(ip(199_999), now).is_some());
    }

    #[test]
    fn a_count_survives_the_turn_of_a_generation() {
        let now = Instant::now();
        let failures = Failures::new(2, now);
        failures.record(ip(1), now + Duration::from_secs(59));
        failures.record(ip(1), now + Duration::from_secs(60));
        assert!(failures.record(ip(1), now + Duration::from_secs(61)).is_some());
    }
}
