//! Clients whose certificate is their key.

use std::fs;
use std::path::Path;

use otelgate::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use crate::support::client::Protocol;
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

/// A CA for clients.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A client's certificate: what it shows, and its fingerprint.
struct Shown {
    pem: String,
    sha256: String,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    fn sign(&self, serial: u64, names: Vec<SanType>) -> Shown {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Shown { pem: certificate.pem() + &key.serialize_pem(), sha256: digest(certificate.der()) }
    }

    /// Writes the list of what is revoked, in the place of the one before.
    fn revoke(&self, file: &Path, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("a list");
        fs::write(file, list.pem().expect("PEM")).expect("written");
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

/// A client that shows a certificate.
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn new(edge: &Edge, shown: &Shown) -> Client {
        let ca = reqwest::Certificate::from_pem(&fs::read(&edge.certificates.ca).expect("the CA")).expect("PEM");
        let identity = reqwest::Identity::from_pem(shown.pem.as_bytes()).expect("an identity");
        let http = reqwest::Client::builder().tls_certs_only([ca]).identity(identity).build().expect("a client");
        Client { http, url: format!("{}/v1/logs", edge.gateway.otlp[0]) }
    }

    /// The answer's status, with these values of `authorization`; 0 when there is no connection.
    async fn status(&self, authorization: &[&str]) -> u16 {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "certificates", 0, 1);
        let mut request = self.http.post(&self.url).header("content-type", "application/x-protobuf").body(body);
        for value in authorization {
            request = request.header("authorization", *value);
        }
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_a_key_until_it_is_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ca_file, crl_file) = (folder.path().join("clients.crt"), folder.path().join("clients.crl"));
    let ca = Ca::new();
    fs::write(&ca_file, ca.0.pem()).expect("written");
    ca.revoke(&crl_file, &[]);
    let spiffe = ca.sign(1, vec![SanType::URI("spiffe://test/agent".try_into().expect("a URI"))]);
    let host = ca.sign(2, vec![SanType::DnsName("Shop.example".try_into().expect("a name"))]);
    let exact = ca.sign(3, Vec::new());
    let nobody = ca.sign(4, vec![SanType::DnsName("else.example".try_into().expect("a name"))]);
    let tls = format!("client_ca_file: {}, client_crl_file: {}", ca_file.display(), crl_file.display());
    let setup = Setup { name: "certificates", tls: &tls, sections: "batch: { max_age: 50ms }\n", ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let entry = |name: &str, certificate: &str| format!("  - {{ name: {name}, certificate: \"{certificate}\" }}\n");
    let entries =
        entry("agent", "spiffe://test/agent") + &entry("shop", "DNS:shop.example") + &entry("exact", &exact.sha256);
    fs::write(edge.keys_file(), keys_yaml(&[]) + &entries).expect("written");

    let [spiffe, host, exact, nobody] = [spiffe, host, exact, nobody].map(|shown| Client::new(&edge, &shown));
    for client in [&spiffe, &host, &exact] {
        assert_eq!(eventually(200, || client.status(&[])).await, 200);
    }
    assert_eq!(nobody.status(&[]).await, 401);
    // A key in the header decides, right or wrong.
    assert_eq!(nobody.status(&[KEY]).await, 200);
    for wrong in [&["guessed"][..], &[""], &[KEY, "guessed"], &["spiffe://test/agent"], &["DNS:shop.example"]] {
        assert_eq!(spiffe.status(wrong).await, 401, "{wrong:?}");
    }
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    for key in ["agent", "shop", "exact"] {
        assert!(metrics.contains(&format!("otelgate_key_requests_total{{key=\"{key}\"}} 1\n")), "{key}: {metrics}");
    }

    // Revoked: the connection that is open ends to be good, whatever key comes over it, and there is no new one.
    ca.revoke(&crl_file, &[1, 4]);
    // The next request is told so, or finds that the connection was closed.
    let refused = async |client: &Client, key: &[&str]| [401, 0].contains(&client.status(key).await);
    assert!(eventually(true, || refused(&spiffe, &[])).await);
    assert!(eventually(true, || refused(&nobody, &[KEY])).await);
    assert_eq!(host.status(&[]).await, 200);
    let anew = Client { http: Client::new(&edge, &ca.sign(1, Vec::new())).http, url: spiffe.url.clone() };
    assert_eq!(anew.status(&[KEY]).await, 0, "the serial is revoked");
    // A list that cannot be used changes nothing.
    fs::write(&crl_file, "no list").expect("written");
    let said = eventually(true, async || edge.logged().contains("holds no PEM revocation list")).await;
    assert!(said, "{}", edge.logged());
    assert!(refused(&spiffe, &[]).await);
    assert_eq!(host.status(&[]).await, 200);
    // Taken back.
    ca.revoke(&crl_file, &[]);
    assert_eq!(eventually(200, || spiffe.status(&[])).await, 200);
    edge.stop().await;
}
