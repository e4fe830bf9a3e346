//! An OpenID Connect issuer, and keys that sign its tokens.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use stack::Certificates;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A key that signs tokens.
pub struct Signer {
    pub id: &'static str,
    algorithm: Algorithm,
    pub key: EncodingKey,
    pub pem: String,
    raw: Vec<u8>,
}

impl Signer {
    pub fn new(id: &'static str, algorithm: Algorithm) -> Signer {
        let kind = match algorithm {
            Algorithm::RS256 => &PKCS_RSA_SHA256,
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            _ => &PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(kind).expect("a key");
        let der = pair.serialize_der();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_der(&rsa_of_pkcs8(&der)),
            Algorithm::ES256 => EncodingKey::from_ec_der(&der),
            _ => EncodingKey::from_ed_der(&ed_of_pkcs8(&der)),
        };
        Signer { id, algorithm, key, pem: pair.public_key_pem(), raw: pair.public_key_raw().to_vec() }
    }

    pub fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            return json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": BASE64URL_NOPAD.encode(&self.raw) });
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).expect("JSON")
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.id, claims)
    }

    pub fn sign_as(&self, id: &str, claims: &Value) -> String {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).expect("a token")
    }
}

/// The RSA key inside a PKCS #8 document (RFC 5208): the octet string at its end, behind a header of fixed length for keys of 2048 bits.
fn rsa_of_pkcs8(der: &[u8]) -> Vec<u8> {
    der[26..].to_vec()
}

/// The same Ed25519 key without its public half (RFC 8410): the library reads no other form.
fn ed_of_pkcs8(der: &[u8]) -> Vec<u8> {
    [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &der[16..48]].concat()
}

/// A stand-in for an issuer, over HTTPS, which publishes what it is told.
#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    pub calls_itself: Arc<Mutex<String>>,
    pub fetches: Arc<AtomicUsize>,
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, address) = self.tcp.accept().await.expect("accepts");
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

impl Issuer {
    pub async fn start(certificates: &Certificates, address: &str) -> (Issuer, tokio::task::JoinHandle<()>) {
        let tcp = TcpListener::bind(address).await.expect("a port");
        let url = format!("https://localhost:{}", tcp.local_addr().expect("an address").port());
        let issuer = Issuer {
            keys: Arc::default(),
            calls_itself: Arc::new(Mutex::new(url.clone())),
            fetches: Arc::default(),
            url,
        };
        let chain = CertificateDer::pem_file_iter(&certificates.certificate).expect("read");
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_file(&certificates.key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let (discovery, keys) = (issuer.clone(), issuer.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move {
                    let issuer = discovery.calls_itself.lock().clone();
                    Json(json!({ "issuer": issuer, "jwks_uri": format!("{}/keys", discovery.url), "other": [1] }))
                }),
            )
            .route(
                "/keys",
                get(move || async move {
                    keys.fetches.fetch_add(1, Ordering::Relaxed);
                    Json(json!({ "keys": *keys.keys.lock() }))
                }),
            );
        let running = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        (issuer, running)
    }

    pub fn publish(&self, keys: &[Value]) {
        *self.keys.lock() = keys.to_vec();
    }

    pub fn claims(&self) -> Value {
        json!({ "iss": self.url, "aud": "otelgate", "sub": "shop", "exp": now() + 600, "nbf": now() - 10 })
    }

    /// The claims, with others.
    pub fn with(&self, others: &Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in others.as_object().expect("an object") {
            match value {
                Value::Null => claims.as_object_mut().expect("an object").remove(name),
                value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
            };
        }
        claims
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The configuration of an issuer as a source of keys.
pub fn source(url: &str, ca: Option<&Path>, more: &str) -> String {
    let ca = ca.map_or_else(String::new, |ca| format!("ca_file: {}, ", ca.display()));
    format!("oidc: [ {{ issuer: \"{url}\", audience: otelgate, {ca}{more} }} ]")
}
