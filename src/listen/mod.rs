//! Steps 1 and 2: connections are accepted, encrypted, bounded and watched; each request is handed on with its [`Peer`].
//!
//! Invariants: nothing that one client does ends or blocks the accept loop; every connection holds a place in the registry, and
//! goes when it has shown no valid key in time, says nothing, takes no answer or is old; what a connection can make the process hold before
//! its key was checked is bounded (`docs/limits.md`).
//!
//! - `accept`: the loop; `registry`: places, and who makes room; `open_files`: how many there can be
//! - `handshake`: what comes before HTTP, and how often; `proxy`: for whom a balancer's connection is; `tls`: certificate, key and client CA, swapped without a restart; `acme`: certificates that are ordered; `plain_http`: who does not speak it
//! - `connection`: one connection's task; `activity`: when it has to go; `stream`: its socket; `protocol`: its HTTP's limits

mod accept;
mod acme;
mod activity;
mod client;
mod connection;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod inherit;
mod length;
mod open_files;
mod peer;
mod plain_http;
mod protocol;
mod proxy;
mod registry;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use acme::keep as keep_certificate;
pub(crate) use connection::UNACKNOWLEDGED;
pub(crate) use inherit::{Inherited, Offer};
pub(crate) use open_files::raise as raise_open_files;
pub(crate) use peer::{Answer, Peer};
pub(crate) use tls::{Tls, TlsError};

use crate::config;
use crate::metrics::Metrics;
use connection::Shared;
use inherit::Offers;
use registry::Registry;

/// How long a port that somebody has is waited for.
const LETS_GO_WITHIN: Duration = Duration::from_secs(5);

/// The OTLP ports, bound but not yet accepting.
#[derive(Debug)]
pub(crate) struct Bound {
    sockets: Vec<TcpListener>,
    limits: config::Listen,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    offers: Vec<Offer>,
}

/// Takes every address of `limits.otlp` from what was inherited, or binds it; the error names the one that could not be.
pub(crate) async fn bind(
    limits: &config::Listen,
    inherited: &mut Inherited,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
) -> io::Result<Bound> {
    let mut sockets = Vec::with_capacity(limits.otlp.len());
    for address in &limits.otlp {
        sockets.push(match inherited.take(*address) {
            Some(socket) => socket,
            None => socket(*address, "listen.otlp").await?,
        });
    }
    let offers = sockets.iter().filter_map(Offer::of).collect();
    Ok(Bound { sockets, limits: limits.clone(), tls, metrics, offers })
}

/// Binds one address; the error names it, and what a person can do, in `field` of the configuration or elsewhere. A port that somebody has is waited for
/// a little: an otelgate that was told to stop just now lets go of it.
pub(crate) async fn socket(address: SocketAddr, field: &str) -> io::Result<TcpListener> {
    let began = Instant::now();
    let bound = loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < LETS_GO_WITHIN => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            bound => break bound,
        }
    };
    bound.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => format!("; stop the process that has the port, or change `{field}`"),
            io::ErrorKind::AddrNotAvailable => format!("; `{field}` must name an address of this machine, or 0.0.0.0"),
            io::ErrorKind::PermissionDenied => {
                format!("; ports below 1024 need CAP_NET_BIND_SERVICE: change `{field}`")
            }
            _ => String::new(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{remedy}"))
    })
}

impl Bound {
    /// The addresses, with the ports that the system chose where the configuration says 0.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// Hands this socket to the next otelgate too.
    #[must_use]
    pub(crate) fn offering(mut self, socket: Option<Offer>) -> Self {
        self.offers.extend(socket);
        self
    }

    /// Accepts from now on, and calls `handler` for each request.
    pub(crate) fn serve<H, F, B>(self, handler: H) -> Listeners
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (stop, stopping) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let (all, each) = (self.limits.max_connections, self.limits.max_connections_per_ip);
        let registry = Registry::behind(self.limits.proxies(), all, each, Arc::clone(&self.metrics));
        let shared = Arc::new(Shared {
            builders: protocol::Builders::new(self.limits.max_concurrent_streams),
            handshakes: handshake::Handshakes::new(&self.limits, Instant::now()),
            limits: self.limits,
            tls: self.tls,
            metrics: self.metrics,
            stopping,
            draining,
            began: tokio::time::Instant::now(),
        });
        for socket in self.sockets {
            let mut stopping = shared.stopping.clone();
            let (serving, handler) = (Arc::clone(&shared), handler.clone());
            let accepting = accept::run(
                Arc::clone(&registry),
                Arc::clone(&shared.metrics),
                async move || socket.accept().await,
                move |place, tcp| {
                    let connection = connection::run(Arc::clone(&serving), place, tcp, handler.clone());
                    tokio::spawn(connection);
                },
            );
            tokio::spawn(async move {
                tokio::select! {
                    () = accepting => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
            });
        }
        let offers = Offers::start(self.offers, &shared.stopping);
        Listeners { registry, stop, drain, offers }
    }
}

/// The accepting ports and their connections. Dropping it stops them, as [`Listeners::stop`] does.
#[derive(Debug)]
pub(crate) struct Listeners {
    registry: Arc<Registry>,
    stop: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    offers: Offers,
}

impl Listeners {
    /// Closes the ports and tells every connection to go (GOAWAY, `Connection: close`) once what is in flight was answered.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Tells every connection that is open now to go once what is in flight was answered. The ports stay open.
    pub(crate) fn send_away(&self) {
        self.drain.send_replace(true);
    }

    /// From now on the ports go to the next otelgate that asks for them; returns when it has them all, which may be never.
    pub(crate) async fn handed_over(&self) {
        self.offers.handed_over().await;
    }

    /// Listeners on which nobody can connect.
    #[cfg(test)]
    pub(crate) fn without_ports() -> Self {
        let (stop, stopping) = watch::channel(false);
        let (registry, offers) = (Registry::new(0, 0, Arc::default()), Offers::start(Vec::new(), &stopping));
        Listeners { registry, stop, drain: watch::Sender::new(false), offers }
    }

    /// Waits until no connection is open.
    pub(crate) async fn drained(&self) {
        self.registry.empty().await;
    }
}
