//! Every open connection of the process is registered here, and none is open that is not.
//!
//! The count of all and of each network are bounded. When the process is full, the connections that have shown no valid key make room,
//! the oldest first; when there are none, new connections wait in the kernel's queue.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::peer::Connection;
use crate::metrics::{Metrics, Reason};
use crate::network::Network;

/// The open connections.
#[derive(Debug)]
pub(super) struct Registry {
    max: usize,
    max_per_network: usize,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Woken whenever a connection closes or may be evicted.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    per_network: HashMap<Network, usize>,
    /// By number, and so by age.
    without_key: BTreeMap<u64, Arc<Connection>>,
    last_number: u64,
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
    /// The process has, and all have shown a valid key.
    Process,
}

impl Registry {
    pub(super) fn new(max: usize, max_per_network: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Registry { max, max_per_network, metrics, state: Mutex::default(), changed: Notify::new() })
    }

    /// Waits until a connection could be accepted, if need be in the place of one that has shown no valid key.
    pub(super) async fn room(&self) {
        self.wait_until(|state| state.open < self.max || !state.without_key.is_empty()).await;
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
        let network = Network::of(ip);
        let mut state = self.state.lock();
        if state.per_network.get(&network).copied().unwrap_or(0) >= self.max_per_network {
            return Err(NoPlace::Network);
        }
        if state.open >= self.max && !self.evict_oldest(&mut state) {
            return Err(NoPlace::Process);
        }
        state.last_number += 1;
        let number = state.last_number;
        let connection = Arc::new(Connection::new(ip, number, Arc::downgrade(self)));
        state.open += 1;
        *state.per_network.entry(network).or_default() += 1;
        state.without_key.insert(number, Arc::clone(&connection));
        drop(state);
        self.metrics.connections_open.inc();
        self.changed.notify_waiters();
        Ok(Place { registry: Arc::clone(self), connection })
    }

    /// Makes the oldest connection that has shown no valid key go; whether there was one.
    pub(super) fn evict(&self) -> bool {
        self.evict_oldest(&mut self.state.lock())
    }

    fn evict_oldest(&self, state: &mut State) -> bool {
        let Some((_, connection)) = state.without_key.pop_first() else {
            return false;
        };
        let reason = Reason { reason: "evicted" };
        self.metrics.connections_closed.get_or_create(&reason).inc();
        state.release(&connection);
        connection.evict();
        true
    }

    /// The connection has shown a valid key: it is no longer one of the first to go.
    pub(super) fn authenticated(&self, connection: &Connection) {
        self.state.lock().without_key.remove(&connection.number);
    }

    /// How many connections are open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.state.lock().open
    }
}

impl State {
    /// Gives back a connection's place, once: eviction gives it back before its task has ended.
    fn release(&mut self, connection: &Connection) {
        if !connection.give_place_back() {
            return;
        }
        self.open = self.open.saturating_sub(1);
        let network = Network::of(connection.ip);
        if let Some(count) = self.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.closed();
        let mut state = self.registry.state.lock();
        state.without_key.remove(&self.connection.number);
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
mod tests {
    use super::*;

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
        a.connection.mark_authenticated();
        let d = registry.enter(ip("192.0.2.4")).expect("in b's place");
        assert!(b.connection.is_evicted());
        assert!(!a.connection.is_evicted() && !c.connection.is_evicted());
        assert_eq!(registry.open(), 3);
        drop(b);
        assert_eq!(registry.open(), 3, "its place was given back once");
        c.connection.mark_authenticated();
        d.connection.mark_authenticated();
        assert_eq!(registry.enter(ip("192.0.2.5")).err(), Some(NoPlace::Process));
        drop((a, c, d));
        assert_eq!(registry.open(), 0);
        assert!(registry.state.lock().per_network.is_empty());
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let registry = registry(1, 10);
        let place = registry.enter(ip("192.0.2.1")).expect("room");
        registry.room().await;
        place.connection.mark_authenticated();
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(place);
        waiting.await.expect("room came");
        registry.empty().await;
    }
}
