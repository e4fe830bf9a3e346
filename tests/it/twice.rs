//! The same thing sent again on purpose, as a person with a command does, is stored again: a client that closed its connection in order had its
//! answer. One whose connection broke had not, and is told the same again.

use std::process::Stdio;
use std::time::Duration;

use otelgate::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::clickhouse;
use crate::support::client::Protocol;
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;

/// Sends a file by curl, and says what it was answered.
async fn curl(edge: &Edge, base: &str, file: &std::path::Path, version: &str) -> String {
    let mut curl = tokio::process::Command::new("curl");
    let url = format!("{}/v1/logs", base.replace("127.0.0.1", "localhost"));
    curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", version, "--cacert"])
        .arg(&edge.certificates.ca)
        .args(["-H", &format!("authorization: {KEY}"), "-H", "content-type: application/x-protobuf", "--data-binary"])
        .arg(format!("@{}", file.display()))
        .arg(url);
    let output = curl.stdin(Stdio::null()).output().await.expect("curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "a skipped test is said aloud")]
async fn the_same_file_four_times_is_stored_four_times() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: curl is missing, which sends the files");
        return;
    }
    let clickhouse = clickhouse().await;
    let sections = "batch: { max_age: 100ms }\n";
    let secure = Edge::start(clickhouse, Setup { name: "twice_tls", sections, ..Setup::default() }).await;
    let plain = Edge::start_plain(clickhouse, Setup { name: "twice_plain", sections, ..Setup::default() }).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut sent = 0;
    for (name, edge) in [("tls", &secure), ("plain", &plain)] {
        for version in ["--http1.1", "--http2", "--http2-prior-knowledge", "--http1.0"] {
            // What ALPN does not offer, and what it is instead of.
            if name == "tls" && ["--http1.0", "--http2-prior-knowledge"].contains(&version) {
                continue;
            }
            sent += 1;
            let file = folder.path().join(format!("{name}{version}"));
            std::fs::write(&file, numbered(Signal::Logs, Protocol::HttpProtobuf, &format!("{name}{version}"), 0, 1))
                .expect("written");
            for _ in 0..4 {
                let said = curl(edge, &edge.gateway.otlp[0], &file, version).await;
                assert!(said.starts_with("200 "), "{name} {version}: {said}");
            }
            let rows = clickhouse
                .number(&format!(
                    "SELECT count() FROM {}.otel_logs WHERE ServiceName = '{name}{version}'",
                    edge.database
                ))
                .await
                .expect("rows");
            assert_eq!(rows, 4, "{name} {version}");
        }
    }
    assert_eq!(sent, 6);
    // And one whose connection is reset when the answer is there joins what was kept.
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "reset", 0, 1);
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\nauthorization: {KEY}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..3 {
        let address = plain.gateway.otlp[0].strip_prefix("http://").expect("plain").to_owned();
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.set_zero_linger().expect("a socket");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&body).await.expect("sent");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        drop(stream);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let rows = clickhouse
        .number(&format!("SELECT count() FROM {}.otel_logs WHERE ServiceName = 'reset'", plain.database))
        .await
        .expect("rows");
    assert_eq!(rows, 1, "an answer that was lost");
    secure.stop().await;
    plain.stop().await;
}
