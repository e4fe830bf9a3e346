//! What one key or address does is nobody else's business.

use otelgate::signal::Signal;

use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text};

async fn send(client: &Client, protocol: Protocol, key: &str) -> Answer {
    client.send(Call::export(protocol, Signal::Logs, key, numbered(Signal::Logs, protocol, "keys", 0, 1))).await
}

#[tokio::test]
async fn however_often_an_address_fails_it_is_told_so_at_once_and_its_valid_keys_pass() {
    let clickhouse = clickhouse().await;
    let setup = Setup { name: "failures", max_failures: 20, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let client = edge.client(true);
    for number in 0..20 {
        let protocol = Protocol::ALL[number % 3];
        let answer = send(&client, protocol, "guessed").await;
        let unauthenticated = answer.status == 401 || answer.grpc_status() == Some(16);
        assert!(unauthenticated, "{number}: {answer:?}");
    }
    for protocol in Protocol::ALL {
        let answer = send(&client, protocol, "guessed").await;
        let refused = if protocol == Protocol::Grpc { answer.grpc_status() == Some(16) } else { answer.status == 401 };
        assert!(refused, "{answer:?}");
        let advice = ["retry-after", "grpc-status-details-bin"].map(|header| answer.text(header));
        assert_eq!(advice, [None, None], "who is told to come again waits, at its exit too: {answer:?}");
        let answer = send(&client, protocol, KEY).await;
        assert!(answer.accepted(protocol), "{answer:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_keys_excess_is_refused_and_another_keys_requests_all_pass() {
    let clickhouse = clickhouse().await;
    let keys = [("noisy", "limits: { requests_per_second: 5, burst: 1s }"), ("quiet", "")];
    let sections = "batch: { max_age: 50ms }\n";
    let edge = Edge::start(clickhouse, Setup { name: "excess", sections, keys: &keys, ..Setup::default() }).await;
    let (noisy, quiet) = (edge.client(true), edge.client(true));
    let excess = async {
        let mut refused = 0;
        for _ in 0..40 {
            let several = tokio::join!(
                send(&noisy, Protocol::HttpProtobuf, "noisy"),
                send(&noisy, Protocol::HttpProtobuf, "noisy"),
                send(&noisy, Protocol::HttpProtobuf, "noisy"),
                send(&noisy, Protocol::HttpProtobuf, "noisy"),
            );
            let statuses = [several.0.status, several.1.status, several.2.status, several.3.status];
            refused += statuses.into_iter().filter(|status| *status == 429).count();
        }
        refused
    };
    let steady = async {
        for _ in 0..20 {
            let answer = send(&quiet, Protocol::Grpc, "quiet").await;
            assert!(answer.accepted(Protocol::Grpc), "{answer:?}");
        }
    };
    let (refused, ()) = tokio::join!(excess, steady);
    assert!(refused > 0, "nothing was over the limit");
    // What each did is seen by name.
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    for line in [
        "otelgate_key_requests_total{key=\"noisy\"} 160".to_owned(),
        format!("otelgate_key_refusals_total{{key=\"noisy\",reason=\"over_limit\"}} {refused}"),
        "otelgate_key_requests_total{key=\"quiet\"} 20".to_owned(),
        "otelgate_received_records_total{key=\"quiet\",signal=\"logs\"} 20".to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
    assert!(!metrics.contains("otelgate_key_refusals_total{key=\"quiet\""), "{metrics}");
    let used =
        async || get_text(&edge.gateway.admin, "/metrics").await.1.contains("key_last_used_seconds{key=\"quiet\"} 1");
    assert!(eventually(true, used).await);
    let (_, status) = get_text(&edge.gateway.admin, "/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let quiet = &status["keys"]["quiet"]["entries"][0];
    assert_eq!((&quiet["used"]["requests"], &quiet["source"]), (&20.into(), &"file".into()), "{quiet}");
    edge.stop().await;
}
