//! How many handshakes are begun: of each network, and in all. Each may save up as many as it may have connections, so that a fleet that comes back at
//! once is let in, and a second's worth comes back every second.
//!
//! Whether a client resumes its session is known only after its handshake, which costs no signature then: it is charged before, and given back.
//!
//! Invariant: no more than [`MAX_NETWORKS`] × 2 networks are kept. There are two generations, of which the older is forgotten when the younger is full,
//! or when so much time has passed that a network of the older has saved up everything again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config;
use crate::network::Network;

/// Networks in one generation: about 2 MiB.
const MAX_NETWORKS: usize = 32_768;

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    most: f64,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy)]
struct Balance {
    left: f64,
    at: Instant,
}

impl Rate {
    fn new(per_second: u32, most: usize) -> Rate {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Rate { per_second: per_second.into(), most: most.into() }
    }

    fn whole(self, now: Instant) -> Balance {
        Balance { left: self.most, at: now }
    }

    /// Takes one, if there is one.
    fn take(self, balance: &mut Balance, now: Instant) -> bool {
        let since = now.saturating_duration_since(balance.at).as_secs_f64();
        *balance = Balance { left: (balance.left + since * self.per_second).min(self.most), at: balance.at.max(now) };
        let there = balance.left >= 1.0;
        if there {
            balance.left -= 1.0;
        }
        there
    }

    fn give_back(self, balance: &mut Balance) {
        balance.left = (balance.left + 1.0).min(self.most);
    }
}

/// What may be begun.
#[derive(Debug)]
pub(in crate::listen) struct Handshakes {
    all: Rate,
    each: Rate,
    balances: Mutex<Balances>,
}

#[derive(Debug)]
struct Balances {
    all: Balance,
    young: HashMap<Network, Balance>,
    old: HashMap<Network, Balance>,
    turned: Instant,
}

impl Handshakes {
    pub(in crate::listen) fn new(limits: &config::Listen, now: Instant) -> Handshakes {
        let all = Rate::new(limits.max_handshakes_per_second, limits.max_connections);
        let each = Rate::new(limits.max_handshakes_per_second_per_ip, limits.max_connections_per_ip);
        let balances = Balances { all: all.whole(now), young: HashMap::new(), old: HashMap::new(), turned: now };
        Handshakes { all, each, balances: Mutex::new(balances) }
    }

    /// Charges one; a balancer's or proxy's own network has no share, and is none here.
    ///
    /// # Errors
    /// There may be none now: what of.
    pub(in crate::listen) fn begin(&self, network: Option<Network>, now: Instant) -> Result<(), &'static str> {
        let mut balances = self.balances.lock();
        if let Some(network) = network
            && !self.each.take(balances.of(network, self.each, now), now)
        {
            return Err("handshakes_per_address");
        }
        if self.all.take(&mut balances.all, now) {
            return Ok(());
        }
        balances.give_back(network, self.each);
        Err("handshakes")
    }

    /// One that was begun was not what is counted.
    pub(in crate::listen) fn give_back(&self, network: Option<Network>) {
        let mut balances = self.balances.lock();
        balances.give_back(network, self.each);
        self.all.give_back(&mut balances.all);
    }
}

impl Balances {
    fn of(&mut self, network: Network, each: Rate, now: Instant) -> &mut Balance {
        let aged = now.saturating_duration_since(self.turned) >= Duration::from_secs_f64(each.most / each.per_second);
        let full = self.young.len() >= MAX_NETWORKS && !self.young.contains_key(&network);
        if aged || full {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        let known = self.old.remove(&network).unwrap_or_else(|| each.whole(now));
        self.young.entry(network).or_insert(known)
    }

    fn give_back(&mut self, network: Option<Network>, each: Rate) {
        let Some(network) = network else { return };
        // Who is forgotten has everything.
        if let Some(balance) = self.young.get_mut(&network).or_else(|| self.old.get_mut(&network)) {
            each.give_back(balance);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> Option<Network> {
        Some(Network::of(IpAddr::V4(Ipv4Addr::from(number))))
    }

    /// 2 a second and 4 at once of each, 3 and 6 of all.
    fn handshakes(now: Instant) -> Handshakes {
        let all = Rate { per_second: 3.0, most: 6.0 };
        let each = Rate { per_second: 2.0, most: 4.0 };
        let balances = Balances { all: all.whole(now), young: HashMap::new(), old: HashMap::new(), turned: now };
        Handshakes { all, each, balances: Mutex::new(balances) }
    }

    #[test]
    fn what_was_saved_up_and_then_so_many_a_second() {
        let now = Instant::now();
        let handshakes = handshakes(now);
        let begin = |number, seconds| handshakes.begin(network(number), now + Duration::from_secs(seconds));
        for _ in 0..4 {
            assert_eq!(begin(1, 0), Ok(()));
        }
        assert_eq!(begin(1, 0), Err("handshakes_per_address"));
        assert_eq!([begin(2, 0), begin(3, 0), begin(4, 0)], [Ok(()), Ok(()), Err("handshakes")]);
        assert_eq!(handshakes.begin(None, now), Err("handshakes"));
        // What is not begun costs its network nothing.
        handshakes.give_back(network(1));
        assert_eq!([begin(1, 0), begin(1, 0)], [Ok(()), Err("handshakes_per_address")]);
        assert_eq!([begin(1, 1), begin(1, 1), begin(1, 1)], [Ok(()), Ok(()), Err("handshakes_per_address")]);
        assert_eq!(begin(1, 100), Ok(()));
        handshakes.give_back(network(1));
        handshakes.give_back(network(1));
        assert!((0..4).all(|_| begin(1, 100).is_ok()) && begin(1, 100).is_err(), "no more than can be saved up");
    }

    #[test]
    fn many_networks_are_not_all_remembered() {
        let now = Instant::now();
        let handshakes = Handshakes { all: Rate { per_second: 1.0, most: 1e9 }, ..handshakes(now) };
        handshakes.balances.lock().all.left = 1e9;
        for number in 0..200_000 {
            handshakes.begin(network(number), now).expect("the first of its network");
        }
        let balances = handshakes.balances.lock();
        assert!(balances.young.len() + balances.old.len() <= 2 * MAX_NETWORKS);
    }
}
