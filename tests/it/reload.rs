//! Keys and certificates change in the running program.

use std::fs;

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use stack::{Certificates, Key};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

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
    edge.stop().await;
}
