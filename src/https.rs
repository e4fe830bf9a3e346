//! How otelgate's HTTP/1.1 clients connect: http, and https with the server's certificate checked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;

use crate::pem;

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
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp))
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
