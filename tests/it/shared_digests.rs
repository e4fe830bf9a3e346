//! Two otelgates that tell each other through a real Redis which requests they keep: a client's repeat through the other one is stored once, though the first
//! is killed; what is sent twice on purpose is stored twice; and Redis is not needed to take a request.

use otelgate::signal::Signal;
use serde_json::Value;
use stack::Redis;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, skipped};

const RECORDS: u64 = 5;
const AWAY: &str = "digests cannot be shared now";

async fn accepts(edge: &Edge, service: &str) -> bool {
    let body = numbered(Signal::Logs, Protocol::Grpc, service, 0, RECORDS);
    let answer = edge.client(true).send(Call::export(Protocol::Grpc, Signal::Logs, KEY, body)).await;
    answer.accepted(Protocol::Grpc)
}

async fn shares(admin: &str) -> bool {
    get_text(admin, "/metrics").await.1.contains("otelgate_shared_digest_connected 1\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_through_the_other_edge_is_stored_once_though_the_first_is_killed() {
    let Some(program) = Redis::installed() else { return };
    let (clickhouse, folder) = (clickhouse().await, tempfile::tempdir().expect("a folder"));
    let mut redis = Redis::start(program, &folder.path().join("redis"), None).await.expect("Redis");
    let start = async |spool: &str| {
        let dir = folder.path().join(spool);
        let shared = format!("shared_digests: {{ url: \"redis://127.0.0.1:{}\" }}", redis.port);
        let sections = format!(
            "spool: {{ dir: '{}', min_free_bytes: 0B, {shared} }}\nbatch: {{ max_age: 50ms }}\n",
            dir.display()
        );
        let edge = Edge::start(clickhouse, Setup { name: "shared_digests", sections: &sections, ..Setup::default() });
        let edge = edge.await;
        assert!(eventually(true, || shares(&edge.gateway.admin)).await, "{}", edge.logged());
        edge
    };
    let (one, two) = (start("one").await, start("two").await);
    let rows = async |service: &str| {
        let sql = format!("SELECT count() FROM {}.otel_logs WHERE ServiceName = '{service}'", two.database);
        clickhouse.number(&sql).await.expect("a number")
    };

    assert!(accepts(&one, "purpose").await && accepts(&two, "purpose").await);
    assert_eq!(eventually(2 * RECORDS, || rows("purpose")).await, 2 * RECORDS, "sent twice on purpose");

    assert!(accepts(&one, "killed").await);
    let Edge { gateway, files, .. } = one;
    gateway.process.kill().await.expect("killed");
    // Nobody knows whether the client got its answer. It is told to come again until the first is known to be gone.
    assert!(eventually(true, || accepts(&two, "killed")).await, "{}", two.logged());
    let again = files.start().await.unwrap_or_else(|error| panic!("{error:#}"));
    // What comes later is in, and so is what came before it.
    assert!(accepts(&two, "later").await);
    let first = std::fs::read_to_string(&files.log).unwrap_or_default();
    if [&first, &two.logged()].into_iter().any(|log| log.contains(AWAY)) {
        return skipped("repeats through another edge: this machine is too busy, Redis did not answer in time");
    }
    for service in ["later", "killed"] {
        assert_eq!(eventually(RECORDS, || rows(service)).await, RECORDS, "{service}");
    }
    assert!(eventually(true, || shares(&again.admin)).await);

    redis.kill().await.expect("killed");
    for service in ["away", "still away"] {
        assert!(accepts(&two, service).await, "{}", two.logged());
    }
    assert!(eventually(true, async || !shares(&two.gateway.admin).await).await);
    let status: Value = serde_json::from_str(&get_text(&two.gateway.admin, "/status").await.1).expect("JSON");
    let sharing = &status["shared_digests"];
    assert!(sharing["connected"] == false && sharing["last_error"].is_string(), "{sharing}");
    assert!(accepts(&two, "for long").await);
    assert_eq!(two.logged().matches(AWAY).count(), 1, "{}", two.logged());
    two.stop().await;
    again.process.stop(std::time::Duration::from_secs(60)).await.expect("ends");
}
