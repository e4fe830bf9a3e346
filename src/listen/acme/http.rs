//! HTTP-01 (RFC 8555, section 8.3): a small listener that answers challenges and nothing else. It is open to strangers, so it has few connections, each for
//! one request and a few seconds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::cache::Cache;
use crate::blocking;
use crate::listen::socket;

const WHERE: &str = "/.well-known/acme-challenge/";
const CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_HEADER: usize = 8 << 10;

/// What stands in the cache for a token.
pub(super) fn name_of(token: &str) -> String {
    format!("http-{token}")
}

/// Answers for as long as it is polled; a port that cannot be had is tried again.
pub(super) async fn serve(address: SocketAddr, cache: &Cache) {
    loop {
        match socket(address, "tls.acme.http").await {
            Ok(listener) => accept(listener, cache).await,
            Err(error) => tracing::error!(%error, "challenges cannot be answered; trying again"),
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Returns at an error of accept().
async fn accept(listener: TcpListener, cache: &Cache) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let cache = cache.clone();
        tokio::spawn(async move {
            // How it ends is the client's business.
            let _ = tokio::time::timeout(PATIENCE, one(tcp, cache)).await;
            drop(place);
        });
    }
}

async fn one(tcp: TcpStream, cache: Cache) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let cache = cache.clone();
        async move { Ok::<_, Infallible>(answer(&request, cache).await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(LARGEST_HEADER)
        .serve_connection(TokioIo::new(tcp), service)
        .await
}

async fn answer(request: &Request<Incoming>, cache: Cache) -> Response<Full<Bytes>> {
    let name = request.uri().path().strip_prefix(WHERE).map(name_of);
    let text = match name {
        Some(name) => blocking::run(move || cache.challenge(&name)).await.ok().flatten(),
        None => None,
    };
    let status = if text.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = Response::new(Full::from(text.unwrap_or_default()));
    *response.status_mut() = status;
    response
}
