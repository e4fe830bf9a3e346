//! What the listeners show and speak: keys of every kind, versions, names, and what is stapled.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use http::Version;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, SupportedProtocolVersion};

use super::support::{Ca, Client, Gateway, eventually, handshake, limits};

use crate::certificate::staple_for;
use crate::config::{self, CertificateFiles, TlsVersion, testing::only_certificate};
use crate::metrics::OfHandshake;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// The key inside of a PKCS#8 one (RFC 5958): PKCS#1 for RSA, SEC1 for ECDSA.
fn inner(pkcs8: &[u8]) -> Vec<u8> {
    use x509_parser::asn1_rs::{Any, FromDer as _};
    let (_, whole) = Any::from_der(pkcs8).expect("DER");
    let (rest, _version) = Any::from_der(whole.data).expect("a version");
    let (rest, _algorithm) = Any::from_der(rest).expect("an algorithm");
    Any::from_der(rest).expect("a key").1.data.to_vec()
}

fn write(dir: &Path, name: &str, certificate: &str, key: &str) -> CertificateFiles {
    let (cert_file, key_file) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&cert_file, certificate).expect("written");
    std::fs::write(&key_file, key).expect("written");
    CertificateFiles { section: format!("tls.{name}"), cert_file, key_file, ocsp_file: None, ordered: false }
}

fn shown(certificates: Vec<CertificateFiles>) -> config::Tls {
    let mut tls = only_certificate("".into(), "".into());
    if let config::Tls::Files(files) = &mut tls {
        files.certificates = certificates;
    }
    tls
}

#[tokio::test]
async fn keys_of_every_kind_are_taken() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    for (algorithm, old_form) in [
        (&PKCS_RSA_SHA256, Some("RSA PRIVATE KEY")),
        (&PKCS_ECDSA_P256_SHA256, Some("EC PRIVATE KEY")),
        (&PKCS_ECDSA_P384_SHA384, Some("EC PRIVATE KEY")),
        (&PKCS_ED25519, None),
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = ca.sign_for(&["gateway"], &key);
        let pkcs8 = key.serialize_der();
        let old = old_form.map(|label| pem(label, &inner(&pkcs8)));
        for key in [Some(pem("PRIVATE KEY", &pkcs8)), old].into_iter().flatten() {
            let gateway = Gateway::start(limits(), shown(vec![write(dir.path(), "one", &certificate, &key)])).await;
            for version in [&TLS12, &TLS13] {
                let client = Arc::new(ca.client(&[version], None));
                let stream = handshake(gateway.connect().await, "gateway", client).await;
                assert!(stream.is_ok(), "{algorithm:?} {} {version:?}: {stream:?}", &key[..30]);
            }
        }
    }
}

#[tokio::test]
async fn the_oldest_version_can_be_1_3_and_handshakes_are_counted_by_what_was_agreed() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    for (oldest, good) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        let mut tls = ca.write(dir.path(), false);
        if let config::Tls::Files(files) = &mut tls {
            files.min_version = oldest;
        }
        let gateway = Gateway::start(limits(), tls).await;
        let connect = async |versions: &[&'static SupportedProtocolVersion]| {
            handshake(gateway.connect().await, "gateway", Arc::new(ca.client(versions, None))).await
        };
        assert_eq!(connect(&[&TLS12]).await.is_ok(), good);
        assert!(connect(&[&TLS13]).await.is_ok());
        let count = |version, group| {
            let labels = OfHandshake { version, group, kind: "full" };
            gateway.metrics.tls_handshakes.get_or_create(&labels).get()
        };
        eventually(|| count("1.3", "X25519") == 1).await;
        assert_eq!(count("1.2", "X25519"), u64::from(good));
        // As Chrome, Go 1.24 and OpenSSL 3.5 do, this client would rather agree in the hybrid.
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
        let hybrid = Arc::new(ca.client_with(provider, &[&TLS13], None));
        assert!(handshake(gateway.connect().await, "gateway", hybrid).await.is_ok());
        eventually(|| count("1.3", "X25519MLKEM768") == 1).await;
    }
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_until_the_files_change() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(ca.client(&[version], None));
        let mut kinds = Vec::new();
        for last in [false, false, true] {
            if last {
                ca.write(dir.path(), false);
                assert!(gateway.tls.as_ref().expect("TLS").reload(true));
            }
            let stream = handshake(gateway.connect().await, "gateway", Arc::clone(&client)).await.expect("TLS");
            kinds.push(stream.get_ref().1.handshake_kind());
            // The ticket comes with the first answer.
            Client::over(stream, Version::HTTP_11).await.post("/").await.expect("an answer");
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed), Some(HandshakeKind::Full)]);
    }
}

#[tokio::test]
async fn who_asks_for_a_name_is_shown_its_certificate_and_each_is_reloaded_by_itself() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let sign = |file: &str, names: &[&str]| {
        let key = KeyPair::generate().expect("a key");
        write(dir.path(), file, &ca.sign_for(names, &key), &key.serialize_pem())
    };
    let all = vec![
        sign("first", &["gateway"]),
        sign("shop", &["shop.example", "*.shop.example"]),
        sign("b", &["b.shop.example"]),
    ];
    let gateway = Gateway::start(limits(), shown(all)).await;
    // The client says whether the certificate is for the name that it looks for.
    let shows = async |asked: &'static str, sni: bool| {
        let mut client = ca.client(rustls::ALL_VERSIONS, None);
        client.enable_sni = sni;
        let stream = handshake(gateway.connect().await, asked, Arc::new(client)).await.ok()?;
        Some(stream.get_ref().1.peer_certificates().expect("shown")[0].clone())
    };
    for name in ["gateway", "shop.example", "a.shop.example", "A.Shop.example", "b.shop.example"] {
        assert!(shows(name, true).await.is_some(), "{name}");
    }
    assert!(shows("a.b.shop.example", true).await.is_none(), "a wildcard stands for one label");
    assert!(shows("gateway", false).await.is_some() && shows("shop.example", false).await.is_none());
    let before = (shows("gateway", true).await, shows("shop.example", true).await);

    // One that cannot be used keeps what it was, and the other is new.
    let tls = gateway.tls.as_ref().expect("TLS");
    sign("shop", &["shop.example"]);
    write(dir.path(), "first", "no certificate", "no key");
    assert!(!tls.reload(true));
    assert_eq!(shows("gateway", true).await, before.0);
    let renewed = shows("shop.example", true).await;
    assert!(renewed.is_some() && renewed != before.1);
    assert!(shows("a.shop.example", true).await.is_none());
}

/// Believes everybody, and remembers what was stapled.
#[derive(Debug, Default)]
struct Stapled(parking_lot::Mutex<Vec<u8>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock() = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn an_ocsp_response_is_stapled_until_it_is_old_and_read_again_when_it_changes() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let key = KeyPair::generate().expect("a key");
    let certificate = ca.sign_for(&["gateway"], &key);
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let [good, newer, old] =
        ["20990101000000Z", "20990201000000Z", "20260101000000Z"].map(|due| staple_for(&leaf, due));
    let mut files = write(dir.path(), "one", &certificate, &key.serialize_pem());
    let file = dir.path().join("one.ocsp");
    std::fs::write(&file, &good).expect("written");
    files.ocsp_file = Some(file.clone());
    let gateway = Gateway::start(limits(), shown(vec![files])).await;
    let stapled = async || {
        let verifier = Arc::new(Stapled::default());
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        handshake(gateway.connect().await, "gateway", Arc::new(client)).await.expect("TLS");
        verifier.0.lock().clone()
    };
    assert_eq!(stapled().await, good);
    let tls = gateway.tls.as_ref().expect("TLS");
    for (written, usable, shown) in
        [(&newer[..], true, &newer[..]), (b"no response", false, &newer), (&old, true, b""), (&good, true, &good)]
    {
        std::fs::write(&file, written).expect("written");
        assert_eq!(tls.reload(true), usable);
        assert_eq!(stapled().await, shown);
    }
}
