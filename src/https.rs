//! How otelgate's HTTP/1.1 clients connect: http, and https with the server's certificate checked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;

use crate::pem;

/// Of all addresses of a name together: each has an equal part of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connector for http and https, which clients share by cloning it.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Why no connection can be attempted at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA file cannot be read.
    #[error("cannot read the certificates in {path}: {why}")]
    CaFile {
        /// The setting `ca_file`.
        path: String,
        /// In words.
        why: String,
    },
    /// The TLS library refuses the certificates.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The connector: certificates are checked against `ca_file`, or the public CAs.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<Connector, SetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = match ca_file {
        None => builder.with_webpki_roots().with_no_client_auth(),
        Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
    };
    let tcp = tcp(GaiResolver::new());
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp))
}

/// Asks `resolver` for a name's addresses at each connection, and tries one after another until one takes it.
fn tcp<R>(resolver: R) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    tcp
}

/// When the CAs of a file are over, in seconds since 1970; none when these are the public ones.
pub(crate) fn authorities_end(ca_file: Option<&Path>) -> Option<i64> {
    crate::certificate::authorities_end(&pem::certificates(&std::fs::read(ca_file?).ok()?).ok()?)
}

fn roots(path: &Path) -> Result<rustls::RootCertStore, SetupError> {
    let failed = |why: String| SetupError::CaFile { path: path.display().to_string(), why };
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    for certificate in pem::certificates(&pem).map_err(|lack| failed(format!("it {lack}")))? {
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hyper_util::client::legacy::connect::dns::Name;
    use parking_lot::Mutex;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tower::ServiceExt as _;

    use super::*;

    /// An address of this machine that lets no connection in and refuses none, on this port.
    async fn silent(address: Ipv4Addr, port: u16) -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, port).into()).unwrap();
        let (listener, mut taken) = (socket.listen(0).unwrap(), Vec::new());
        while let Ok(one) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect((address, port))).await
        {
            taken.push(one.unwrap());
        }
        (listener, taken)
    }

    /// A name that stands for nine servers, most of which are away: connections reach the one that is there, and, when the name's addresses change, others.
    #[tokio::test]
    async fn all_addresses_of_a_name_are_tried_and_asked_for_anew() {
        let address = |last: u8| Ipv4Addr::new(127, 7, 0, last);
        let there = TcpListener::bind((address(9), 0)).await.unwrap();
        let port = there.local_addr().unwrap().port();
        let _silent = silent(address(2), port).await;
        let addresses = Arc::new(Mutex::new((1..=9).map(address).collect::<Vec<_>>()));
        let known = addresses.clone();
        let resolver = tower::service_fn(move |_: Name| {
            let all: Vec<SocketAddr> = known.lock().iter().map(|one| (*one, 0).into()).collect();
            async move { Ok::<_, std::io::Error>(all.into_iter()) }
        });
        let (tcp, uri) = (tcp(resolver), format!("http://clickhouse.example:{port}").parse::<http::Uri>().unwrap());
        let reached =
            async || tcp.clone().oneshot(uri.clone()).await.map(|stream| stream.inner().peer_addr().unwrap().ip());
        assert_eq!(reached().await.unwrap(), address(9));
        drop(there);
        let _other = TcpListener::bind((address(12), port)).await.unwrap();
        assert!(reached().await.is_err());
        *addresses.lock() = vec![address(11), address(12)];
        assert_eq!(reached().await.unwrap(), address(12));
    }
}
