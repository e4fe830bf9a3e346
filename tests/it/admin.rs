//! What otelgate says of itself: the admin listener, gRPC's health service, and the warning about a user with too many rights.

use otelgate::signal::Signal;

use crate::support::client::{Answer, Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, otelgate};

#[tokio::test]
async fn health_and_metrics_without_a_secret() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "admin", ..Setup::default() }).await;
    let (client, admin) = (edge.client(true), edge.gateway.admin.clone());
    assert_eq!(get_text(&admin, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(eventually(200, async || get_text(&admin, "/readyz").await.0).await, 200);
    for (key, status) in [(KEY, 200), ("wrong-key-0815", 401)] {
        let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "admin", 0, 7);
        let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let grpc = numbered(Signal::Logs, Protocol::Grpc, "admin", 7, 1);
    let mut call = Call::export(Protocol::Grpc, Signal::Logs, "wrong-key-4711", grpc);
    call.headers.push(("x-request-id".to_owned(), "ours-4711".to_owned()));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    call.headers.push(("traceparent".to_owned(), format!("00-{trace}-00f067aa0ba902b7-01")));
    let refused = client.send(call).await;
    assert_eq!(refused.headers["x-request-id"], "ours-4711", "{refused:?}");
    let line = || edge.logged().lines().find(|line| line.contains("ours-4711")).map(str::to_owned);
    assert!(eventually(true, async || line().is_some()).await, "{}", edge.logged());
    assert!(line().is_some_and(|line| line.contains(trace)), "{}", edge.logged());
    let (status, metrics) = get_text(&admin, "/metrics").await;
    assert_eq!(status, 200);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("otelgate_"), "{line}");
    }
    for line in [
        "otelgate_requests_total{signal=\"logs\",protocol=\"http-protobuf\",outcome=\"accepted\"} 1",
        "otelgate_received_records_total{key=\"all\",signal=\"logs\"} 7",
        "otelgate_refusals_total{reason=\"unauthenticated\"} 2",
        "otelgate_authentication_failures_total 2",
        "otelgate_insert_rows_total{table=\"otel_logs\"} 7",
        "otelgate_keys_valid 1",
        concat!("otelgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "otelgate_process_cpu_seconds_total ",
        "otelgate_process_resident_memory_bytes ",
        "otelgate_process_start_time_seconds ",
        "otelgate_certificate_expiry_seconds{certificate=\"tls.cert_file\"} ",
    ] {
        assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    }
    for secret in
        [KEY, "wrong-key-0815", "wrong-key-4711", &clickhouse.password].into_iter().filter(|secret| !secret.is_empty())
    {
        assert!(!metrics.contains(secret) && !edge.logged().contains(secret), "{secret} is shown");
    }
    for line in edge.logged().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a log that is no terminal is JSON");
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    edge.stop().await;
}

async fn health(client: &Client, service: &str) -> Answer {
    let mut request = Vec::new();
    if !service.is_empty() {
        request.extend([0x0a, u8::try_from(service.len()).expect("short")]);
        request.extend(service.as_bytes());
    }
    let mut call = Call::export(Protocol::Grpc, Signal::Logs, "", request);
    call.path = "/grpc.health.v1.Health/Check".to_owned();
    client.send(call).await
}

#[tokio::test]
async fn the_health_service_needs_no_key() {
    /// A length-prefixed `HealthCheckResponse { status: SERVING }`.
    const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "health", ..Setup::default() }).await;
    let client = edge.client(true);
    for service in ["", "opentelemetry.proto.collector.logs.v1.LogsService"] {
        let serving = eventually(true, async || health(&client, service).await.body[..] == SERVING).await;
        assert!(serving, "{:?}", health(&client, service).await);
    }
    assert_eq!(health(&client, "nobody").await.grpc_status(), Some(5));
    edge.stop().await;
}

#[tokio::test]
async fn a_user_with_more_rights_than_it_needs_is_a_warning() {
    let clickhouse = clickhouse().await;
    let few = Edge::start(clickhouse, Setup { name: "few_rights", ..Setup::default() }).await;
    assert!(!few.logged().contains(" on *.*"), "{}", few.logged());
    few.stop().await;
    let (name, password) = &clickhouse.admin;
    let setup = Setup { name: "many_rights", user: Some((name, password)), ..Setup::default() };
    let many = Edge::start(clickhouse, setup).await;
    let logged = many.logged();
    assert!(logged.contains(" on *.*, which it does not need; revoke it"), "{logged}");
    assert!(name != "default" || logged.contains("the ingest user is `default`"), "{logged}");
    many.stop().await;
}

/// Orders take the token over the network; over the socket, which the command line uses first, they take none.
#[tokio::test]
async fn orders_take_the_token_or_the_socket() {
    let clickhouse = clickhouse().await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let sections = format!("admin: {{ token: 'a-token-for-the-tests', socket: '{}' }}\n", socket.display());
    let edge = Edge::start(clickhouse, Setup { name: "orders", sections: &sections, ..Setup::default() }).await;
    let order = async |headers: &[(&str, &str)]| {
        let mut request = reqwest::Client::new().post(format!("{}/spool/7/drop", edge.gateway.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer").status().as_u16()
    };
    let token = ("authorization", "Bearer a-token-for-the-tests");
    assert_eq!(order(&[]).await, 401);
    assert_eq!(order(&[token]).await, 404, "there is no batch 7");
    assert_eq!(order(&[token, ("origin", "https://evil.example")]).await, 403);
    assert_eq!(get_text(&edge.gateway.admin, "/spool").await.0, 200);
    let config = edge.config();
    let asked = otelgate(&["spool", "drop", "7", "--config", config.to_str().expect("UTF-8")]).await;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        said.contains("no batch 7 is in quarantine"),
        "the port of the configuration is 0, so this is the socket: {said}"
    );
    // Another configuration that names the same address: its orders are for another process.
    let other = folder.path().join("other.yaml");
    let address = edge.gateway.admin.trim_start_matches("http://");
    let text = format!("listen: {{ admin: '{address}' }}\nadmin: {{ token: 'a-token-for-the-tests' }}\nspool: none\n");
    std::fs::write(&other, text).expect("written");
    for (order, code) in [(&["spool", "drop", "7"][..], 1), (&["drain"], 1), (&["spool", "list"], 0)] {
        let asked = otelgate(&[order, &["--config", other.to_str().expect("UTF-8")]].concat()).await;
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert_eq!(asked.status.code(), Some(code), "{order:?}: {said}");
        assert!(said.contains(&format!("was started with {}", config.display())), "{order:?}: {said}");
    }
    assert_eq!(get_text(&edge.gateway.admin, "/readyz").await.0, 200, "it was not drained");
    edge.stop().await;
    assert!(!socket.exists(), "the socket's file goes away with the process");
}
