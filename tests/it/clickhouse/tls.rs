//! https to ClickHouse, with a CA of one's own.

use std::sync::Arc;

use otelgate::sink::clickhouse::ClickHouse;
use otelgate::sink::{Outcome, Sink as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::{Database, logs};

/// A TLS terminator in front of the server; its address and its certificate.
pub async fn terminator(server: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, made.cert.pem())
}

#[tokio::test]
async fn own_ca_is_trusted_and_others_are_not() {
    let database = Database::new("tls").await;
    let (port, certificate) = terminator(&database.server.url).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate).unwrap();
    let mut config = database.config();
    config.urls = vec![format!("https://localhost:{port}").parse().unwrap()];

    let error = ClickHouse::connect(config.clone(), None).await.unwrap_err();
    assert!(!error.is_away(), "somebody has to name the CA: {error}");
    assert!(error.to_string().contains("certificate") && error.to_string().contains("ca_file"), "{error}");

    config.ca_file = Some(ca_file);
    let sink = ClickHouse::connect(config, None).await.unwrap();
    let part = logs(&sink, "tls", 1, 20);
    assert_eq!(sink.deliver(&part).await, Outcome::Delivered);
    assert_eq!(database.rows("otel_logs").await, part.rows);
}
