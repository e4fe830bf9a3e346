//! A ClickHouse with too little memory for a batch: it gets what it can take, and all again when it has more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use otelgate::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, get_text};

const REQUESTS: u64 = 80;
const RECORDS: u64 = 1000;
const SENT: u64 = REQUESTS * RECORDS;

/// An address in front of the server that lets inserts use no more memory than `limit`, when that is not 0.
async fn narrow(server: &str, limit: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, limit) = (server.clone(), limit.clone());
            tokio::spawn(async move {
                let _ = pass(client, TcpStream::connect(server).await?, limit.load(Relaxed)).await;
                std::io::Result::Ok(())
            });
        }
    });
    format!("http://{address}")
}

async fn pass(mut client: TcpStream, mut server: TcpStream, limit: u64) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    // One request a connection: the next one's head is to be seen too.
    let mut head = String::from_utf8_lossy(&head).replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    if limit > 0 && head.contains("INSERT") {
        head = head.replacen(" HTTP/1.1", &format!("&max_memory_usage={limit} HTTP/1.1"), 1);
    }
    server.write_all(head.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn a_batch_that_clickhouse_cannot_take_whole_goes_in_pieces() {
    let server = clickhouse().await;
    let limit = Arc::new(AtomicU64::new(0));
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        "batch: {{ max_age: 2s, max_rows: {SENT} }}\nspool: {{ dir: {} }}\n",
        folder.path().join("spool").display()
    );
    let url = narrow(&server.url, limit.clone()).await;
    let setup = Setup { name: "too_much", sections: &sections, clickhouse_url: Some(url), ..Setup::default() };
    let edge = Edge::start(server, setup).await;
    let client = edge.client(true);
    let send = async |service: &str| {
        for n in 0..REQUESTS {
            let body = numbered(Signal::Logs, Protocol::HttpProtobuf, service, n * RECORDS, RECORDS);
            let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let arrive = async |service: &str, within: u64| {
        let began = Instant::now();
        let database = &edge.database;
        let of = format!("FROM {database}.otel_logs WHERE ServiceName = '{service}'");
        while server.number(&format!("SELECT count() {of}")).await.unwrap() < SENT {
            assert!(began.elapsed() < Duration::from_secs(within), "{service}: {}", edge.logged());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let distinct = format!("SELECT uniqExact(LogAttributes['seq']) * 1000000 + count() {of}");
        assert_eq!(server.number(&distinct).await.unwrap(), SENT * 1_000_000 + SENT, "{service}: each of them once");
    };
    let status = async || -> serde_json::Value {
        let (code, text) = get_text(&edge.gateway.admin, "/status").await;
        assert_eq!(code, 200);
        serde_json::from_str(&text).unwrap()
    };

    // What the whole batch needs.
    send("roomy").await;
    arrive("roomy", 30).await;
    assert!(status().await["tables"]["otel_logs"]["rows_at_once"].is_null());
    let most = format!(
        "SELECT max(memory_usage) FROM system.query_log WHERE type = 'QueryFinish' \
         AND query LIKE 'INSERT INTO {}.otel_logs %'",
        edge.database
    );
    let mut needs = 0;
    while needs == 0 {
        // The rows can be seen before the insert has ended.
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.query("SYSTEM FLUSH LOGS", "Null").await.unwrap();
        needs = server.number(&most).await.unwrap();
    }

    limit.store(needs * 3 / 5, Relaxed);
    send("narrow").await;
    arrive("narrow", 60).await;
    let shown = status().await;
    assert_eq!(shown["rows"]["quarantined"], 0);
    assert!(shown["tables"]["otel_logs"]["rows_at_once"].as_u64().unwrap() < SENT, "{shown}");
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(
        metrics.contains("outcome=\"too_much\",table=\"otel_logs\"")
            || metrics.contains("table=\"otel_logs\",outcome=\"too_much\""),
        "{metrics}"
    );

    // It has room again, and is given more by and by.
    limit.store(0, Relaxed);
    let before = shown["tables"]["otel_logs"]["rows_at_once"].as_u64().unwrap();
    send("roomy again").await;
    arrive("roomy again", 30).await;
    let after = status().await["tables"]["otel_logs"]["rows_at_once"].as_u64();
    assert!(after.is_none_or(|after| after > before), "{before} {after:?}");
    edge.stop().await;
}
