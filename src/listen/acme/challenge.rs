//! TLS-ALPN-01 (RFC 8737): who asks for `acme-tls/1` is shown a certificate that proves who answers here, and nothing is spoken after.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sha2::{Digest as _, Sha256};

use super::Cache;
use crate::blocking;

const ALPN: &[u8] = b"acme-tls/1";

/// What stands in the cache for a domain.
pub(super) fn name_of(domain: &str) -> String {
    format!("tls-{domain}")
}

/// Of what domain a client wants a proof, if it does.
pub(in crate::listen) fn asked_for(hello: &ClientHello<'_>) -> Option<String> {
    let asks = hello.alpn()?.any(|protocol| protocol == ALPN);
    hello.server_name().filter(|_| asks).map(str::to_ascii_lowercase)
}

/// What proves it, while a challenge waits for that.
pub(in crate::listen) async fn config(cache: Cache, domain: String) -> Option<Arc<ServerConfig>> {
    let made = blocking::run(move || {
        let text = cache.challenge(&name_of(&domain))?;
        proof(domain, &text).inspect_err(|error| tracing::error!(%error, "a challenge cannot be answered")).ok()
    });
    made.await.ok().flatten().map(Arc::new)
}

fn proof(domain: String, text: &str) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![domain])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&Sha256::digest(text))];
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Not by what looks whether the two belong together: it refuses the extension, which nobody but a directory knows.
    let shown = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_can_be_made() {
        let config = proof("a.example".to_owned(), "token.thumbprint").expect("a proof");
        assert_eq!(config.alpn_protocols, [ALPN]);
    }
}
