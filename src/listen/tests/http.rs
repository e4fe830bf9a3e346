//! What is spoken on a connection, and how it comes to its end.

use ::http::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Ca, Gateway, eventually, limits};
use super::{LIMIT, SHORT};
use crate::config;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: gateway\r\nkey: valid\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn what_alpn_chose_is_spoken_and_nothing_else() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    for (alpn, sent) in [("h2", REQUEST), ("http/1.1", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..])] {
        let mut stream = ca.connect(&gateway, &[alpn], None).await.expect("TLS");
        stream.write_all(sent).await.expect("sent");
        let mut answer = Vec::new();
        // However it ends, it ends.
        let _ = tokio::time::timeout(super::SOON, stream.read_to_end(&mut answer)).await.expect("closed");
        assert!(!answer.windows(12).any(|bytes| bytes == b"HTTP/1.1 200"), "{alpn}");
        assert!(gateway.answers.lock().is_empty(), "{alpn}: it came to the handler");
    }
}

/// Sends a request over HTTP/1.1, and returns its answer.
async fn ask(stream: &mut tokio::net::TcpStream) -> String {
    stream.write_all(REQUEST).await.expect("sent");
    let mut answer = vec![0; 4096];
    let mut read = 0;
    while !answer[..read].ends_with(b"127.0.0.1") {
        let count = stream.read(&mut answer[read..]).await.expect("an answer");
        assert!(count > 0, "closed without an answer");
        read += count;
    }
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn an_old_connection_over_http1_says_so_with_an_answer_and_not_between_two() {
    let gateway = Gateway::plaintext(config::Listen { max_connection_age: LIMIT, ..limits() }).await;
    let mut stream = gateway.connect().await;
    let answer = ask(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("connection: close"), "{answer}");
    eventually(|| gateway.closed("age") > 0).await;
    // Much later than an old connection is closed after its last answer.
    tokio::time::sleep(SHORT + std::time::Duration::from_secs(1)).await;
    let answer = ask(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    super::closed(&mut stream).await;
}

#[tokio::test]
async fn an_old_connection_over_http1_that_stays_silent_ends_as_an_idle_one() {
    let gateway =
        Gateway::plaintext(config::Listen { max_connection_age: LIMIT, idle_timeout: LIMIT * 2, ..limits() }).await;
    let mut client = gateway.client(Version::HTTP_11).await;
    assert_eq!(client.post("/").await.expect("an answer").0, StatusCode::OK);
    client.closed().await;
    assert_eq!((gateway.closed("age"), gateway.closed("idle")), (1, 1));
}

#[tokio::test]
async fn a_request_that_begins_before_the_idle_time_is_over_is_answered_after_it() {
    let gateway = Gateway::plaintext(config::Listen { idle_timeout: LIMIT, ..limits() }).await;
    let mut stream = gateway.connect().await;
    ask(&mut stream).await;
    let (start, rest) = REQUEST.split_at(20);
    stream.write_all(start).await.expect("sent");
    // Longer than the idle time and the longest between two looks.
    tokio::time::sleep(LIMIT * 3).await;
    stream.write_all(rest).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// A client that connected a moment before, one that has begun to send, and one that sends its second request.
#[tokio::test]
async fn a_stop_waits_for_a_header_that_is_on_its_way() {
    for (asks_before, sent) in [(false, 0), (false, 20), (true, 20)] {
        let gateway = Gateway::plaintext(limits()).await;
        let mut stream = gateway.connect().await;
        if asks_before {
            ask(&mut stream).await;
        }
        let (start, rest) = REQUEST.split_at(sent);
        stream.write_all(start).await.expect("sent");
        tokio::time::sleep(SHORT).await;
        gateway.listeners.stop();
        // The connection's task hears of it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        stream.write_all(rest).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer and the end");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{sent}: {answer}");
        gateway.listeners.drained().await;
    }
    let gateway = Gateway::plaintext(limits()).await;
    let _silent = gateway.connect().await;
    tokio::time::sleep(SHORT).await;
    gateway.listeners.stop();
    tokio::time::timeout(super::SOON, gateway.listeners.drained()).await.expect("it waits for a moment only");
}

#[tokio::test]
async fn a_port_is_waited_for_until_who_stops_just_now_lets_go_of_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("its address");
    let waits = tokio::spawn(crate::listen::socket(address, "listen.otlp"));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!waits.is_finished());
    drop(taken);
    let bound = waits.await.expect("no panic").expect("bound");
    assert_eq!(bound.local_addr().expect("its address"), address);
}
