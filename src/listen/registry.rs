//! Every open connection of the process is registered here, and none is open that is not.
//!
//! The count of all and of each network are bounded. When the process is full, one connection makes room for the next ([`State::victim`]), so that no
//! key can shut out the others; where nobody may be made to go, new connections wait in the kernel's queue.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::peer::Connection;
use crate::keys::Standing;
use crate::metrics::{Metrics, Reason};
use crate::network::Network;
use crate::proxied::includes;

/// How often a full process looks whether somebody has fallen idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// One place of so many is for those who have still to show a key: while they hold no more, they do not push out each other.
const NEWCOMERS: usize = 16;

/// The open connections.
#[derive(Debug)]
pub(super) struct Registry {
    max: usize,
    max_per_network: usize,
    /// These have no share of their own: their clients have.
    proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Woken whenever a connection closes or may be evicted.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    per_network: HashMap<Network, usize>,
    without_key: ByAge,
    /// By the digest of the key that they showed last.
    with_key: HashMap<[u8; 32], Holder>,
    last_number: u64,
}

/// Connections by number, and so by age.
type ByAge = BTreeMap<u64, Arc<Connection>>;

/// A key that has connections.
#[derive(Debug)]
struct Holder {
    key: Arc<Standing>,
    connections: ByAge,
}

impl Holder {
    fn idle(&self) -> Option<&Arc<Connection>> {
        self.connections.values().find(|one| one.activity.quiet_since().is_some())
    }

    fn oldest(&self) -> Option<&Arc<Connection>> {
        self.connections.values().next()
    }
}

/// The place of one open connection; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    pub(super) connection: Arc<Connection>,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Its network has as many as it may.
    Network,
    /// The process has, and nobody is to go for it.
    Process,
}

impl Registry {
    /// `proxies` are the peers behind which there are many clients.
    pub(super) fn behind(proxies: Vec<IpNet>, max: usize, max_per_network: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Registry { max, max_per_network, proxies, metrics, state: Mutex::default(), changed: Notify::new() })
    }

    #[cfg(test)]
    pub(super) fn new(max: usize, max_per_network: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::behind(Vec::new(), max, max_per_network, metrics)
    }

    /// Waits until a connection could be accepted, if need be in the place of another.
    pub(super) async fn room(&self) {
        let room = |state: &State| state.open < self.max || state.victim(self.max).is_some();
        while tokio::time::timeout(LOOK_AGAIN, self.wait_until(room)).await.is_err() {}
    }

    /// Waits until no connection is open.
    pub(super) async fn empty(&self) {
        self.wait_until(|state| state.open == 0).await;
    }

    async fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Takes a place for a connection from `ip`.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Place, NoPlace> {
        let mut state = self.state.lock();
        let counted = self.count(&mut state, ip)?;
        if state.open >= self.max && !self.evict_one(&mut state) {
            if let Some(network) = counted {
                state.uncount(network);
            }
            return Err(NoPlace::Process);
        }
        state.last_number += 1;
        let number = state.last_number;
        let connection = Arc::new(Connection::new(ip, number, Arc::downgrade(self)));
        if let Some(network) = counted {
            connection.counts_for(network);
        }
        state.open += 1;
        state.without_key.insert(number, Arc::clone(&connection));
        drop(state);
        self.metrics.connections_open.inc();
        self.changed.notify_waiters();
        Ok(Place { registry: Arc::clone(self), connection })
    }

    /// Counts one more connection of an address's network; none where the address is a proxy's.
    fn count(&self, state: &mut State, ip: IpAddr) -> Result<Option<Network>, NoPlace> {
        if includes(&self.proxies, ip) {
            return Ok(None);
        }
        let network = Network::of(ip);
        let count = state.per_network.entry(network).or_default();
        if *count >= self.max_per_network {
            return Err(NoPlace::Network);
        }
        *count += 1;
        Ok(Some(network))
    }

    /// Makes one connection go; whether there was one that may be made to.
    pub(super) fn evict(&self) -> bool {
        self.evict_one(&mut self.state.lock())
    }

    fn evict_one(&self, state: &mut State) -> bool {
        let Some(connection) = state.victim(self.max).cloned() else {
            return false;
        };
        let reason = Reason { reason: "evicted" };
        self.metrics.connections_closed.get_or_create(&reason).inc();
        state.release(&connection);
        connection.evict();
        true
    }

    /// The connection has shown this key, and before it the other: it is no longer one of the first to go.
    pub(super) fn authenticated(&self, connection: &Arc<Connection>, before: Option<&Standing>, key: &Arc<Standing>) {
        let mut state = self.state.lock();
        state.forget(connection.number, before);
        if connection.has_place() {
            let new = || Holder { key: key.clone(), connections: ByAge::new() };
            let holder = state.with_key.entry(key.digest).or_insert_with(new);
            holder.connections.insert(connection.number, connection.clone());
        }
    }

    /// How many connections are open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.state.lock().open
    }
}

impl State {
    /// Who goes when there is no place: of those who have shown no valid key the oldest, once they are more than their part; then whose key is no longer
    /// good; then of the key that has the most connections one that idles, or, where it has more than an equal part, one that does not.
    fn victim(&self, max: usize) -> Option<&Arc<Connection>> {
        let stranger = self.without_key.values().next();
        if self.without_key.len() > max / NEWCOMERS {
            return stranger;
        }
        let now = SystemTime::now();
        if let Some(over) = self.with_key.values().find(|holder| !holder.key.is_good(now)) {
            return over.oldest();
        }
        let mut holders: Vec<&Holder> = self.with_key.values().collect();
        holders.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.connections.len()));
        let equal_part = (max / (holders.len() + 1)).max(1);
        let most = holders.first().filter(|holder| holder.connections.len() > equal_part);
        let of_most = most.and_then(|holder| holder.idle().or_else(|| holder.oldest()));
        of_most.or_else(|| holders.iter().find_map(|holder| holder.idle())).or(stranger)
    }

    /// The connection is no longer among those who have shown no key, or this one.
    fn forget(&mut self, number: u64, key: Option<&Standing>) {
        self.without_key.remove(&number);
        let Some(key) = key else { return };
        if let Some(holder) = self.with_key.get_mut(&key.digest) {
            holder.connections.remove(&number);
            if holder.connections.is_empty() {
                self.with_key.remove(&key.digest);
            }
        }
    }

    /// Gives back a connection's place, once: eviction gives it back before its task has ended.
    fn release(&mut self, connection: &Connection) {
        if !connection.give_place_back() {
            return;
        }
        self.forget(connection.number, connection.key().as_deref());
        self.open = self.open.saturating_sub(1);
        if let Some(network) = connection.network() {
            self.uncount(network);
        }
    }

    fn uncount(&mut self, network: Network) {
        if let Some(count) = self.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
    }
}

impl Place {
    /// The proxy has said whose connection this is: it is that client's from now on.
    ///
    /// # Errors
    /// [`NoPlace::Network`] when the client has as many as it may.
    pub(super) fn is_of(&self, client: IpAddr) -> Result<(), NoPlace> {
        let mut state = self.registry.state.lock();
        if self.connection.has_place()
            && let Some(network) = self.registry.count(&mut state, client)?
        {
            self.connection.counts_for(network);
        }
        self.connection.is_of(client);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.closed();
        let mut state = self.registry.state.lock();
        state.release(&self.connection);
        drop(state);
        self.registry.metrics.connections_open.dec();
        self.registry.changed.notify_waiters();
    }
}

/// A registry that no connection belongs to.
pub(super) fn nowhere() -> Weak<Registry> {
    Weak::new()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A key that is good, one for each number.
    pub(in crate::listen) fn key(number: u8) -> Arc<Standing> {
        let entry = crate::config::KeyEntry { sha256: [number; 32], ..crate::keys::testing::entry("a key", "", 1) };
        Arc::new(Standing::new(&entry))
    }

    fn shown(place: &Place, key: &Arc<Standing>) {
        place.connection.mark_authenticated(key);
    }

    fn idle(place: &Place) {
        place.connection.activity.http_begins();
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn registry(max: usize, max_per_network: usize) -> Arc<Registry> {
        Registry::new(max, max_per_network, Arc::default())
    }

    #[test]
    fn a_network_has_its_share_and_gets_it_back() {
        let registry = registry(10, 2);
        let first = registry.enter(ip("192.0.2.1")).expect("room");
        let _second = registry.enter(ip("::ffff:192.0.2.1")).expect("room");
        assert_eq!(registry.enter(ip("192.0.2.1")).err(), Some(NoPlace::Network));
        let _other = registry.enter(ip("192.0.2.2")).expect("room");
        drop(first);
        let _again = registry.enter(ip("192.0.2.1")).expect("room again");

        let _a = registry.enter(ip("2001:db8::1")).expect("room");
        let _b = registry.enter(ip("2001:db8::2")).expect("room");
        assert_eq!(registry.enter(ip("2001:db8::3")).err(), Some(NoPlace::Network));
        let _c = registry.enter(ip("2001:db8:0:1::3")).expect("another /64");
    }

    #[test]
    fn the_oldest_without_a_valid_key_goes_first() {
        let registry = registry(3, 10);
        let a = registry.enter(ip("192.0.2.1")).expect("room");
        let b = registry.enter(ip("192.0.2.2")).expect("room");
        let c = registry.enter(ip("192.0.2.3")).expect("room");
        shown(&a, &key(1));
        let d = registry.enter(ip("192.0.2.4")).expect("in b's place");
        assert!(b.connection.is_evicted());
        assert!(!a.connection.is_evicted() && !c.connection.is_evicted());
        assert_eq!(registry.open(), 3);
        drop(b);
        assert_eq!(registry.open(), 3, "its place was given back once");
        shown(&c, &key(2));
        shown(&d, &key(3));
        assert_eq!(registry.enter(ip("192.0.2.5")).err(), Some(NoPlace::Process), "each has its part, and is busy");
        drop((a, c, d));
        assert_eq!(registry.open(), 0);
        let state = registry.state.lock();
        assert!(state.per_network.is_empty() && state.with_key.is_empty());
    }

    #[test]
    fn who_holds_most_gives_an_idle_connection() {
        let registry = registry(5, 10);
        let (many, few) = (key(1), key(2));
        let places: Vec<Place> = (0..5).map(|_| registry.enter(ip("192.0.2.1")).expect("room")).collect();
        places[..3].iter().for_each(|place| shown(place, &many));
        places[3..].iter().for_each(|place| shown(place, &few));
        places[1..].iter().for_each(idle);
        let next = registry.enter(ip("192.0.2.2")).expect("in an idle one's place");
        assert!(places[1].connection.is_evicted(), "the first of them is busy");
        shown(&next, &key(3));
        // All hold their part now, but for whose are idle.
        let another = registry.enter(ip("192.0.2.2")).expect("in an idle one's place");
        assert_eq!(places.iter().filter(|place| place.connection.is_evicted()).count(), 2);
        assert!(!next.connection.is_evicted() && !another.connection.is_evicted());
    }

    #[test]
    fn a_key_with_more_than_its_part_gives_a_busy_one_and_one_that_ended_any() {
        let registry = registry(4, 10);
        let greedy = key(1);
        let places: Vec<Place> = (0..4).map(|_| registry.enter(ip("192.0.2.1")).expect("room")).collect();
        places.iter().for_each(|place| shown(place, &greedy));
        let second = registry.enter(ip("192.0.2.2")).expect("in the oldest one's place");
        assert!(places[0].connection.is_evicted());
        let ended = key(2);
        shown(&second, &ended);
        let over = crate::config::KeyEntry { enabled: false, ..crate::keys::testing::entry("a key", "", 1) };
        ended.follow(&over);
        let _third = registry.enter(ip("192.0.2.3")).expect("in its place");
        assert!(second.connection.is_evicted());
        assert_eq!(registry.open(), 4);
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let registry = registry(1, 10);
        let place = registry.enter(ip("192.0.2.1")).expect("room");
        registry.room().await;
        shown(&place, &key(1));
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "its part is one place, and it is busy");
        idle(&place);
        waiting.await.expect("room in its place");
        drop(place);
        registry.empty().await;
    }
}
