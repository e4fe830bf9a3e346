//! A collector that asks for a client certificate, and certificates that change while otelgate runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use otelgate::signal::Signal;
use stack::{Certificates, built_collector};

use super::{Behind, KEY, exports, unknown};
use crate::support::client::{Call, Protocol};
use crate::support::requests::numbered;
use crate::support::{eventually, get};

/// What is merged into the collector's configuration.
fn asks_for_certificates(ca: &Path) -> String {
    let tls = format!("{{ tls: {{ client_ca_file: \"{}\" }} }}", ca.display());
    format!("receivers: {{ otlp: {{ protocols: {{ grpc: {tls}, http: {tls} }} }} }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_shown_and_a_new_one_is_read() {
    let Some(program) = built_collector() else { return };
    let mut behind = Behind::start(&program).await;
    let more = asks_for_certificates(&behind.certificates.ca);
    behind.collector.restart_with(&more).await.expect("a collector that asks for certificates");
    let stranger = Certificates::in_folder(&behind.folder.path().join("stranger")).expect("certificates");
    for protocol in ["grpc", "http"] {
        let name = format!("mutual-{protocol}");
        let folder = behind.folder.path().join(&name);
        fs::create_dir(&folder).expect("a folder");
        let (chain, key) = (folder.join("client.crt"), folder.join("client.key"));
        let show = |of: &Certificates| {
            fs::copy(&of.client_certificate, &chain).expect("copied");
            fs::copy(&of.client_key, &key).expect("copied");
        };
        show(&stranger);
        let files = format!("    cert_file: {}\n    key_file: {}\n", chain.display(), key.display());
        let more = files + &behind.spool(&name);
        let edge = behind.edge_to(behind.collector.port(protocol), &name, protocol, &more).await;
        let client = behind.client(&edge, true);
        for signal in Signal::STABLE {
            let body = numbered(signal, Protocol::Grpc, &name, 0, 50);
            let answer = client.send(Call::export(Protocol::Grpc, signal, KEY, body)).await;
            assert!(answer.accepted(Protocol::Grpc), "the spool takes it: {answer:?}");
            let held = eventually(true, async || exports(&edge, signal, "hold").await > 0).await;
            assert!(held, "{signal}: who is not known to the collector waits for somebody to mend it");
            assert_eq!(behind.rows(signal, &name).await, (0, 0), "{signal}");
        }
        show(&behind.certificates);
        for signal in Signal::STABLE {
            assert_eq!(eventually((50, 50), || behind.rows(signal, &name)).await, (50, 50), "{signal}");
            assert_eq!(unknown(&edge, signal).await, 0, "{signal}: a refused certificate is not an unknown outcome");
        }
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_the_ca_did_not_sign_gets_nothing() {
    let Some(program) = built_collector() else { return };
    let mut behind = Behind::start(&program).await;
    let stranger = Certificates::in_folder(&behind.folder.path().join("stranger")).expect("certificates");
    for protocol in ["grpc", "http"] {
        let edge = behind.edge(&format!("known-{protocol}"), protocol, "none", "").await;
        assert_eq!(eventually(200, || get(&edge.admin, "/readyz")).await, 200);
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
    let ours = std::mem::replace(&mut behind.certificates.ca, stranger.ca);
    for protocol in ["grpc", "http"] {
        let edge = behind.edge(&format!("unknown-{protocol}"), protocol, "none", "batch: { deadline: 2s }\n").await;
        assert_eq!(get(&edge.admin, "/readyz").await, 503);
        let client = crate::support::client::Client::new(&edge.otlp[0], Some(&ours), true).expect("a client");
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "unsigned", 0, 1);
        let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
    assert_eq!(behind.rows(Signal::Logs, "unsigned").await, (0, 0));
}
