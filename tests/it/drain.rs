//! `otelgate drain`: a gateway is taken away while ClickHouse is away, and nothing of what it acknowledged stays behind.

use std::time::Duration;

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use stack::{Passage, Tunnel};

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get, otelgate};

const RECORDS: u64 = 10;

async fn send(client: &Client, protocol: Protocol, request: u64) -> crate::support::client::Answer {
    let body = numbered(Signal::Logs, protocol, "drain", request * RECORDS, RECORDS);
    client.send(Call::export(protocol, Signal::Logs, KEY, body)).await
}

/// What `otelgate drain` said, on both outputs, and its exit code.
async fn drain(edge: &Edge, timeout: &str) -> (Option<i32>, String) {
    let config = edge.config();
    let ended = otelgate(&["drain", "--config", config.to_str().expect("UTF-8"), "--timeout", timeout]).await;
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    (ended.status.code(), said)
}

fn sections(folder: &std::path::Path) -> String {
    let (socket, dir) = (folder.join("admin.sock"), folder.join("spool"));
    format!(
        "admin: {{ socket: '{}' }}\nspool: {{ dir: '{}', min_free_bytes: 0B }}\nshutdown: {{ drain_delay: 0s, deadline: 50s }}\n",
        socket.display(),
        dir.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_delivered_though_clickhouse_is_away_for_a_while() {
    let (clickhouse, folder) = (clickhouse().await, tempfile::tempdir().expect("a folder"));
    let port = clickhouse.url.rsplit_once(':').expect("a port").1.trim_end_matches('/').parse().expect("a number");
    let tunnel = Tunnel::start(port).await.expect("a tunnel");
    let setup = Setup {
        name: "drain",
        sections: &sections(folder.path()),
        clickhouse_url: Some(format!("http://127.0.0.1:{}", tunnel.port)),
        ..Setup::default()
    };
    let edge = Edge::start(clickhouse, setup).await;
    let before = edge.client(true);
    for request in 0..6 {
        if request == 2 {
            tunnel.set(Passage::Closed);
        }
        let protocol = Protocol::ALL[usize::try_from(request).expect("few") % Protocol::ALL.len()];
        assert!(send(&before, protocol, request).await.accepted(protocol), "the spool takes it");
    }
    let (code, said) = drain(&edge, "1ms").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not drained in time: 60 rows to deliver"), "{said}");

    assert_eq!(eventually(503, || get(&edge.gateway.admin, "/readyz")).await, 503);
    // A connection from before and new ones are told to come again.
    for (client, protocol) in [
        (before, Protocol::Grpc),
        (edge.client(true), Protocol::Grpc),
        (edge.client(true), Protocol::HttpProtobuf),
        (edge.client(false), Protocol::HttpJson),
    ] {
        let answer = send(&client, protocol, 99).await;
        match protocol {
            Protocol::Grpc => {
                assert_eq!(answer.grpc_status(), Some(14), "{answer:?}");
                assert!(answer.text("grpc-status-details-bin").is_some(), "{answer:?}");
            }
            _ => {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            }
        }
    }
    let waits = drain(&edge, "55s");
    let comes_back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tunnel.set(Passage::Open);
    };
    let ((code, said), ()) = tokio::join!(waits, comes_back);
    assert_eq!(code, Some(0), "{said}{}", edge.logged());
    assert!(said.contains("delivering: ") && said.ends_with("everything is delivered\n"), "{said}");
    let count = format!("SELECT count() FROM {}.otel_logs", edge.database);
    assert_eq!(clickhouse.number(&count).await.expect("rows"), 6 * RECORDS);
    let again = eventually(Some(0), async || drain(&edge, "1s").await.0).await;
    assert_eq!(again, Some(0), "what does not run has nothing left");
    let ended = edge.gateway.process.wait(Duration::from_secs(60)).await.expect("ends by itself");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_said_and_a_signal_leaves_it_in_the_spool() {
    let (clickhouse, folder) = (clickhouse().await, tempfile::tempdir().expect("a folder"));
    let sections = sections(folder.path());
    let edge = Edge::start(clickhouse, Setup { name: "drain_held", sections: &sections, ..Setup::default() }).await;
    let table = format!("{}.otel_logs", edge.database);
    clickhouse.query(&format!("DROP TABLE {table}"), "TabSeparated").await.expect("dropped");
    assert_eq!(send(&edge.client(true), Protocol::HttpProtobuf, 0).await.status, 200);
    let (code, said) = drain(&edge, "55s").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("10 rows are held") && said.contains("otel_logs: "), "{said}");
    let list = otelgate(&["spool", "list", "--config", edge.config().to_str().expect("UTF-8")]).await;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.lines().any(|line| line.contains("otel_logs") && line.contains("held: ")), "{list}");
    edge.gateway.process.signal(ProcessSignal::TERM).expect("running");
    let Edge { gateway, files, .. } = edge;
    let ended = gateway.process.wait(Duration::from_secs(60)).await.expect("ends");
    assert_eq!(ended.code(), Some(0), "a signal ends a drain as it ends serving");
    let config = files.config.to_str().expect("UTF-8");
    let left = otelgate(&["drain", "--config", config]).await;
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(left.status.code() == Some(1) && said.contains("1 batch file left"), "{said}");
}
