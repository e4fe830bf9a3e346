//! Who goes when the process is full, on real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Gateway, eventually, limits};
use super::{LIMIT, SHORT, closed};
use crate::config;
use crate::config::KeyEntry;

/// An open connection that has shown this key.
async fn shown(gateway: &Gateway, key: &str) -> TcpStream {
    let mut stream = gateway.connect().await;
    ask(&mut stream, key, "/").await.expect("an answer");
    stream
}

async fn ask(stream: &mut TcpStream, key: &str, path: &str) -> std::io::Result<()> {
    let request = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nkey: {key}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 1024];
    let count = tokio::time::timeout(super::SOON, stream.read(&mut answer)).await.expect("in time")?;
    assert!(count == 0 || answer.starts_with(b"HTTP/1.1 200"));
    if count == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[tokio::test]
async fn one_keys_idle_connections_do_not_shut_out_another_key() {
    let gateway = Gateway::plaintext(config::Listen { max_connections: 6, ..limits() }).await;
    let mut greedy = Vec::new();
    for _ in 0..6 {
        greedy.push(shown(&gateway, "a").await);
    }
    let mut others = Vec::new();
    for key in ["b", "c", "d"] {
        others.push((key, shown(&gateway, key).await));
    }
    assert_eq!(gateway.closed("evicted"), 3);
    for gone in &mut greedy[..3] {
        closed(gone).await;
    }
    ask(&mut greedy[3], "a", "/").await.expect("what is left of the greedy one's still serves");
    for (key, stream) in &mut others {
        ask(stream, key, "/").await.expect("and so do the others'");
    }
}

#[tokio::test]
async fn one_keys_busy_connections_do_not_shut_out_another_key() {
    let gateway = Gateway::plaintext(config::Listen { max_connections: 4, ..limits() }).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut stream = gateway.connect().await;
        busy.push(tokio::spawn(async move { ask(&mut stream, "a", "/slow").await }));
    }
    eventually(|| gateway.answers.lock().len() == 4).await;
    let mut other = shown(&gateway, "b").await;
    gateway.slow.add_permits(4);
    let mut answered = 0;
    for one in busy {
        answered += usize::from(one.await.expect("no panic").is_ok());
    }
    assert_eq!(answered, 3, "one of them made room");
    ask(&mut other, "b", "/").await.expect("an answer");
}

#[tokio::test]
async fn the_connections_of_a_key_that_is_no_longer_valid_end() {
    let gateway = Gateway::plaintext(config::Listen { header_timeout: LIMIT, ..limits() }).await;
    let (mut ended, mut good) = (shown(&gateway, "a").await, shown(&gateway, "b").await);
    let over = KeyEntry { enabled: false, ..crate::keys::testing::entry("a", "a", 1) };
    gateway.keys.lock()[&b'a'].follow(&over);
    closed(&mut ended).await;
    assert_eq!(gateway.closed("key_ended"), 1);
    tokio::time::sleep(SHORT).await;
    ask(&mut good, "b", "/").await.expect("an answer");
}
