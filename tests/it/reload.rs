//! Keys and certificates change in the running program.

use std::fs;

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use stack::{Certificates, Key};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, otelgate};

async fn status(client: &Client, key: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "reload", 0, 1);
    let answer = client.try_send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await;
    answer.map_or(0, |answer| answer.status)
}

#[tokio::test]
async fn a_new_key_passes_and_a_removed_one_does_not() {
    let clickhouse = clickhouse().await;
    let setup = Setup { name: "reload_keys", keys: &[("leaves", "")], ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let client = edge.client(true);
    let new = Key::new("comes").await.expect("a key");
    assert_eq!(status(&client, "leaves").await, 200);
    assert_eq!(status(&client, &new.key).await, 401);
    // Nobody says that the file changed; it is seen.
    fs::write(edge.keys_file(), keys_yaml(&[]) + &new.entry).expect("written");
    assert_eq!(eventually(200, || status(&client, &new.key)).await, 200);
    assert_eq!(status(&client, "leaves").await, 401);
    assert_eq!(status(&client, KEY).await, 200);

    // A file with a mistake changes nothing, and says so; SIGHUP has it read at once.
    fs::write(edge.keys_file(), "keys: [ { name: broken } ]\n").expect("written");
    edge.gateway.process.signal(ProcessSignal::HUP).expect("running");
    let said = eventually(true, async || edge.logged().contains("the keys stay as they were")).await;
    assert!(said, "{}", edge.logged());
    assert_eq!(status(&client, &new.key).await, 200);
    assert!(!edge.logged().contains(&new.key), "the key is in the log");
    edge.stop().await;
}

/// A certificate for `localhost` that ended in 2020, and its key.
fn expired() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// The value of a series.
async fn metric(edge: &Edge, series: &str) -> u64 {
    let (_, text) = get_text(&edge.gateway.admin, "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}: {text}"));
    value.trim().parse().expect("a number")
}

#[tokio::test]
async fn what_nobody_accepts_is_said_by_check_and_at_the_start() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "expired_tls", ..Setup::default() }).await;
    let (over, key) = expired();
    let config = edge.config();
    fs::write(&edge.certificates.key, key).expect("written");
    fs::write(&edge.certificates.certificate, over).expect("written");
    let output = otelgate(&["check", "--config", config.to_str().expect("UTF-8")]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("otelgate.yaml:3:") && said.contains("expired on 2020-01-01"), "{said}");
    assert!(said.contains("1 mistake"), "{said}");
    // It starts all the same: what lies in its spool can be delivered.
    let again = edge.another().await;
    let logged = edge.logged();
    let at_the_start = |line: &str| line.contains("\"level\":\"ERROR\"") && line.contains("otelgate.yaml:3:");
    assert!(logged.lines().any(at_the_start), "{logged}");
    again.process.stop(std::time::Duration::from_secs(60)).await.expect("ends");
    edge.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "reload_tls", ..Setup::default() }).await;
    let before = edge.client(true);
    assert_eq!(status(&before, KEY).await, 200);
    let folder = tempfile::tempdir().expect("a folder");
    let next = Certificates::in_folder(folder.path()).expect("certificates");
    let connect = || Client::new(&edge.gateway.otlp[0], Some(&next.ca), true).expect("a client");
    assert_eq!(status(&connect(), KEY).await, 0, "the new CA is not the old one");
    fs::copy(&next.certificate, &edge.certificates.certificate).expect("copied");
    fs::copy(&next.key, &edge.certificates.key).expect("copied");
    let new = eventually(200, async || status(&connect(), KEY).await).await;
    assert_eq!(new, 200, "{}", edge.logged());
    // What was connected before stays connected.
    assert_eq!(status(&before, KEY).await, 200);

    // One that is over changes nothing, and is said; the metric stays with the one that is shown.
    let ends = async || metric(&edge, "otelgate_certificate_expiry_seconds{certificate=\"tls.cert_file\"}").await;
    let shown = ends().await;
    assert!(shown > 1_800_000_000, "{shown}");
    let (over, key) = expired();
    fs::write(&edge.certificates.key, key).expect("written");
    fs::write(&edge.certificates.certificate, over).expect("written");
    let said = eventually(true, async || edge.logged().contains("server.crt expired on 2020-01-01")).await;
    assert!(said && edge.logged().contains("the old certificate stays"), "{}", edge.logged());
    assert_eq!(status(&connect(), KEY).await, 200);
    assert_eq!(ends().await, shown);
    edge.stop().await;
}
