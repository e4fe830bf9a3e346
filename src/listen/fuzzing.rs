//! The listener as the fuzz targets meet it: real sockets of loopback, every time short, a handler that reads what it is given.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::{Inherited, bind};
use crate::config;

/// Accepts on all of loopback for as long as the process lives; where.
///
/// # Errors
/// There is no port, or no thread.
pub fn start() -> io::Result<SocketAddr> {
    let (say, said) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    std::thread::Builder::new().spawn(move || {
        runtime.block_on(async move {
            let bound = bind(&limits(), &mut Inherited::default(), None, Arc::default()).await;
            let addresses = bound.as_ref().map_err(|error| error.kind().into()).and_then(super::Bound::addresses);
            let address = addresses.and_then(|all| all.first().copied().ok_or(io::ErrorKind::NotFound.into()));
            drop(say.send(address));
            if let Ok(bound) = bound {
                let _listeners = bound.serve(answer);
                std::future::pending::<()>().await;
            }
        });
    })?;
    said.recv().map_err(io::Error::other)?
}

async fn answer(request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Response::new(Full::from(read.to_string()))
}

fn limits() -> config::Listen {
    let short = Duration::from_secs(1);
    config::Listen {
        otlp: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))],
        max_connections: 1000,
        max_connections_per_ip: 1000,
        max_handshakes_per_second: u32::MAX,
        max_handshakes_per_second_per_ip: u32::MAX,
        handshake_timeout: short,
        header_timeout: short,
        idle_timeout: short,
        first_key_timeout: short,
        max_connection_age: short * 10,
        connection_age_grace: short,
        proxy_protocol: Vec::new(),
        forwarded: None,
        max_concurrent_streams: 128,
        handover: Duration::ZERO,
        grpc_reflection: false,
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}
