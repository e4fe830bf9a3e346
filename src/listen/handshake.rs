//! What comes before HTTP: the PROXY header of those who must send one, and TLS, with one deadline for both.
//!
//! A client that says too much too often is closed after its ClientHello and before the signature, which is what a handshake costs.

mod rate;

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use rustls::HandshakeKind;
use rustls::server::Acceptor;

use super::client::ClientCertificate;
use super::connection::Shared;
use super::registry::Place;
use super::stream::{Stream, Watched};
use super::tls::Tls;
use super::{acme, plain_http, proxy};
use crate::limited;
use crate::metrics::Reason;
use crate::proxied::includes;
use std::sync::Arc;

pub(super) use rate::Handshakes;

/// Why there is nothing to serve.
struct Refusal {
    /// For the metric.
    reason: &'static str,
    /// For the log.
    error: String,
    /// Where an alert was written that the client should get.
    alerted: Option<TcpStream>,
}

impl Refusal {
    fn new(reason: &'static str, error: impl ToString) -> Refusal {
        Refusal { reason, error: error.to_string(), alerted: None }
    }
}

/// The connection as HTTP is spoken over it; `None` when there is nothing to serve.
pub(super) async fn handshake(shared: &Shared, tcp: TcpStream, place: &Place) -> Option<Stream> {
    let handshake = tokio::time::timeout(shared.limits.handshake_timeout, begin(shared, tcp, place)).await;
    let handshake = handshake.unwrap_or_else(|_| Err(Refusal::new("timeout", "no handshake in time")));
    let Refusal { reason, error, alerted } = match handshake {
        Ok(stream) => return stream,
        Err(refusal) => refusal,
    };
    let failed = &shared.metrics.handshakes_failed;
    failed.get_or_create(&Reason { reason }).inc();
    limited!(info, ip = %place.connection.ip(), reason, error, "connection refused");
    if let Some(tcp) = alerted {
        // The alert that says why was written; a reset, for what the client sent meanwhile, would destroy it on its way.
        let _ = Watched::new(Stream::Plain(tcp), Arc::clone(&place.connection)).shutdown().await;
    }
    None
}

/// None: a challenge was answered, after which nothing is spoken.
async fn begin(shared: &Shared, mut tcp: TcpStream, place: &Place) -> Result<Option<Stream>, Refusal> {
    if includes(&shared.limits.proxy_protocol, place.connection.peer()) {
        let client = proxy::client(&mut tcp).await;
        let client = client.map_err(|error| Refusal::new("proxy_protocol", error))?;
        if place.is_of(client.unwrap_or(place.connection.peer())).is_err() {
            return Err(refused(shared, "per_address", "its address has as many connections as it may"));
        }
    }
    let Some(tls) = &shared.tls else {
        return Ok(Some(Stream::Plain(tcp)));
    };
    if let Ok(Some(spoken)) = plain_http::spoken(&tcp).await {
        let stream = Watched::new(Stream::Plain(tcp), Arc::clone(&place.connection));
        // Whether the client hears it is its business.
        let _ = plain_http::refuse(stream, spoken).await;
        return Err(Refusal::new("plain_http", "the client speaks HTTP without TLS"));
    }
    Ok(encrypt(shared, tls, tcp, place).await?.map(|stream| Stream::Tls(Box::new(stream))))
}

async fn encrypt(
    shared: &Shared,
    tls: &Arc<Tls>,
    tcp: TcpStream,
    place: &Place,
) -> Result<Option<TlsStream<TcpStream>>, Refusal> {
    let failed = |error: std::io::Error, alerted| Refusal { alerted, ..Refusal::new("failed", error) };
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), tcp);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => return Err(failed(error, acceptor.take_io())),
    };
    let network = place.connection.network();
    if let Err(reason) = shared.handshakes.begin(network, Instant::now()) {
        return Err(refused(shared, reason, "more handshakes a second than there may be"));
    }
    if let Some(domain) = acme::asked_for(&start.client_hello())
        && let Some(cache) = tls.challenges()
        && let Some(config) = acme::challenge_config(cache, domain).await
    {
        let accept = start.into_stream(config).into_fallible().await;
        let mut stream = accept.map_err(|(error, tcp)| failed(error, Some(tcp)))?;
        // The directory has seen what it came for.
        let _ = stream.shutdown().await;
        return Ok(None);
    }
    // Before what is in use: it can only be older than that.
    let generation = tls.generation();
    let accept = start.into_stream(tls.current()).into_fallible().await;
    let stream = accept.map_err(|(error, tcp)| failed(error, Some(tcp)))?;
    let connection = stream.get_ref().1;
    if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
        shared.handshakes.give_back(network);
    }
    tls.count(connection);
    if let Some(certificate) =
        ClientCertificate::new(connection.peer_certificates().unwrap_or_default(), tls, generation)
    {
        // Nobody else sets it.
        let _ = place.connection.certificate.set(certificate);
    }
    Ok(Some(stream))
}

/// Closed before it cost a signature.
fn refused(shared: &Shared, reason: &'static str, error: &str) -> Refusal {
    shared.metrics.connections_refused.get_or_create(&Reason { reason }).inc();
    Refusal::new(reason, error)
}
