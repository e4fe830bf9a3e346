//! Two otelgates that share a key's limits through a real Redis, over TLS and with a password.

use std::time::Instant;

use otelgate::signal::Signal;
use serde_json::Value;
use stack::{Certificates, Redis};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

const PASSWORD: &str = "redis-password-5d1f7c";

async fn status(client: &Client, key: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "shared", 0, 1);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await.status
}

async fn shared(edge: &Edge) -> (bool, u64, u64) {
    let (_, text) = get_text(&edge.gateway.admin, "/status").await;
    let shown: Value = serde_json::from_str(&text).unwrap_or_default();
    let shared = &shown["shared_limits"];
    let number = |name: &str| shared[name].as_u64().unwrap_or_default();
    (shared["connected"].as_bool().unwrap_or_default(), number("replicas"), number("limits_divided_by"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_edges_are_one_to_a_key_and_say_when_they_are_not() {
    let Some(program) = Redis::installed() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let mut redis = Redis::start(program, folder.path(), Some((&certificates, PASSWORD))).await.expect("Redis");
    let url = format!("url: \"rediss://localhost:{}\", ca_file: {}", redis.port, certificates.ca.display());
    let sections = format!(
        "limits: {{ shared: {{ {url}, password: \"{PASSWORD}\", prefix: two }} }}\nbatch: {{ max_age: 50ms }}\n"
    );
    let keys = [("busy", "limits: { requests_per_second: 1, burst: 20s }"), ("calm", "")];
    let setup = |name| Setup { name, sections: &sections, keys: &keys, ..Setup::default() };
    let one = Edge::start(clickhouse().await, setup("shared_one")).await;
    let two = Edge::start(clickhouse().await, setup("shared_two")).await;
    for edge in [&one, &two] {
        assert_eq!(eventually((true, 2, 1), || shared(edge)).await, (true, 2, 1));
    }
    let (first, second) = (one.client(true), two.client(true));
    let began = Instant::now();
    for _ in 0..18 {
        assert_eq!(status(&first, "busy").await, 200);
    }
    let mut admitted = 0;
    for _ in 0..40 {
        admitted += u64::from(status(&second, "busy").await == 200);
    }
    // Alone it would have admitted its 20, and one more each second.
    assert!(admitted < 15 + began.elapsed().as_secs(), "{admitted} in {:?}", began.elapsed());
    assert_eq!(status(&second, "calm").await, 200);

    redis.kill().await.expect("killed");
    for edge in [&one, &two] {
        assert_eq!(eventually((false, 2, 2), || shared(edge)).await, (false, 2, 2));
        assert!(edge.logged().contains("limits cannot be shared now"), "{}", edge.logged());
    }
    assert_eq!(status(&second, "calm").await, 200);
    redis.again().await.expect("Redis");
    for edge in [&one, &two] {
        assert_eq!(eventually((true, 2, 1), || shared(edge)).await, (true, 2, 1));
        let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
        for line in ["otelgate_shared_limit_connected 1\n", "otelgate_shared_limit_replicas 2\n"] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
        assert!(!edge.logged().contains(PASSWORD) && !metrics.contains(PASSWORD), "{}", edge.logged());
    }
    one.stop().await;
    two.stop().await;
}
