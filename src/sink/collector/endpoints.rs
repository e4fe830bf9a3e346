//! Where exports go: the addresses of the configured endpoints, and which of them is to be taken next.
//!
//! Each address that a name resolves to is a peer of its own; names are resolved again every [`REFRESH`] and whenever a peer cannot be reached or
//! does not take our credentials. Among those that did well last, peers of otelgate's own zone come first where one was configured, then the one with
//! the fewest exports in flight; one that failed is left alone for a while that doubles. When all failed, the one whose time is over first is
//! tried: an endpoint that is back is found by an export.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{Connect, Connections};
use crate::config;

/// How often names are resolved again.
const REFRESH: Duration = Duration::from_secs(30);
/// They are never resolved more often than this.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// How long a peer is left alone after its first failure in a row, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// All peers.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Those of the own zone first: an address that is in two zones counts as here.
    configured: Vec<Configured>,
    connect: Connect,
    peers: Mutex<Vec<Arc<Peer>>>,
    trouble: Notify,
}

#[derive(Debug)]
struct Configured {
    uri: Uri,
    far: bool,
}

/// One address of one endpoint.
#[derive(Debug)]
pub(super) struct Peer {
    /// The endpoint as it was configured.
    pub(super) uri: Uri,
    pub(super) address: SocketAddr,
    pub(super) connections: Connections,
    /// In another zone than otelgate.
    pub(super) far: bool,
    in_flight: AtomicUsize,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    until: Option<Instant>,
}

/// An export in flight to a peer.
#[derive(Debug)]
pub(super) struct Lease(pub(super) Arc<Peer>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Endpoints {
    pub(super) fn new(config: &config::Forward, connect: Connect) -> Endpoints {
        let far = |zone: &Option<String>| config.zone.is_some() && *zone != config.zone;
        let each = config.endpoints.iter().map(|one| Configured { uri: one.url.clone(), far: far(&one.zone) });
        let mut configured: Vec<_> = each.collect();
        configured.sort_by_key(|endpoint| endpoint.far);
        Endpoints { configured, connect, peers: Mutex::default(), trouble: Notify::new() }
    }

    /// The peer to take now, but for those already tried. `None`: no name could be resolved, or all were tried.
    pub(super) async fn lease(&self, tried: &[SocketAddr]) -> Option<Lease> {
        if self.peers.lock().is_empty() {
            self.resolve().await;
        }
        let peers = self.peers.lock();
        let now = Instant::now();
        // Healthy ones first (`None` is less than any time), then those whose time is over first.
        let rank = |peer: &&Arc<Peer>| {
            let until = peer.health.lock().until.filter(|until| *until > now);
            (until, peer.far, peer.in_flight.load(Ordering::Acquire))
        };
        let peer = peers.iter().filter(|peer| !tried.contains(&peer.address)).min_by_key(rank)?.clone();
        peer.in_flight.fetch_add(1, Ordering::AcqRel);
        if peer.far && peers.iter().any(|peer| !peer.far) {
            crate::limited!(warn, endpoint = %peer.uri, "no endpoint of this zone does well; an export goes to another zone");
        }
        Some(Lease(peer))
    }

    /// Waits for its time or a peer in trouble, then resolves every name again.
    pub(super) async fn keep_current(&self) {
        let trouble = self.trouble.notified();
        // Which of the two it was makes no difference.
        let _ = tokio::time::timeout(REFRESH, trouble).await;
        self.resolve().await;
        tokio::time::sleep(REFRESH_PAUSE).await;
    }

    /// Resolves every name. An address that is still there keeps its connections; a name that cannot be resolved keeps its addresses.
    async fn resolve(&self) {
        let mut found: Vec<(&Configured, Option<Vec<SocketAddr>>)> = Vec::new();
        for endpoint in &self.configured {
            let uri = &endpoint.uri;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let secure = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let addresses = match tokio::net::lookup_host((host, port)).await {
                Ok(addresses) => Some(addresses.collect()),
                Err(error) => {
                    crate::limited!(warn, endpoint = %uri, %error, "an endpoint's name cannot be resolved");
                    None
                }
            };
            found.push((endpoint, addresses));
        }
        let mut peers = self.peers.lock();
        let before = std::mem::take(&mut *peers);
        for (Configured { uri, far }, addresses) in found {
            let of_this = || before.iter().filter(|peer| peer.uri == *uri);
            let Some(addresses) = addresses else {
                peers.extend(of_this().cloned());
                continue;
            };
            for address in addresses {
                if !peers.iter().any(|peer| peer.address == address) {
                    let known = of_this().find(|peer| peer.address == address).cloned();
                    peers.push(known.unwrap_or_else(|| Arc::new(Peer::new(uri, *far, address, &self.connect))));
                }
            }
        }
    }

    /// Reads the certificates again, and whether they are others: no connection that was made with the old ones takes an export any more. `asked` as in
    /// [`Connect::reload`]. Blocks.
    pub(super) fn reload(&self, asked: bool) -> bool {
        let renewed = self.connect.reload(asked);
        if renewed {
            let again =
                |peer: &mut Arc<Peer>| *peer = Arc::new(Peer::new(&peer.uri, peer.far, peer.address, &self.connect));
            self.peers.lock().iter_mut().for_each(again);
        }
        renewed
    }

    /// A peer could not be reached, or does not take our credentials: its name may have moved.
    pub(super) fn in_trouble(&self) {
        self.trouble.notify_one();
    }
}

impl Peer {
    fn new(uri: &Uri, far: bool, address: SocketAddr, connect: &Connect) -> Peer {
        let connections = connect.to(address);
        Peer { uri: uri.clone(), far, address, connections, in_flight: AtomicUsize::new(0), health: Mutex::default() }
    }

    /// It did what it was asked to.
    pub(super) fn did_well(&self) {
        *self.health.lock() = Health::default();
    }

    /// It could not; it may have said how long it wants to be left alone.
    pub(super) fn failed(&self, advice: Option<Duration>) {
        let mut health = self.health.lock();
        let doubled = FIRST_PAUSE.saturating_mul(1 << health.failures.min(10)).min(LONGEST_PAUSE);
        health.failures = health.failures.saturating_add(1);
        health.until = Some(Instant::now() + advice.map_or(doubled, |advice| advice.min(LONGEST_PAUSE)));
    }
}
