//! Behind a balancer, which these tests play.

use ::http::{HeaderName, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Ca, Client, Gateway, closed, limits};
use super::{LIMIT, SOON};
use crate::config;
use crate::metrics::Reason;
use crate::proxied::Forwarders;

const REQUEST: &str = "POST / HTTP/1.1\r\nhost: gateway\r\nkey: valid\r\ncontent-length: 0\r\n";

fn behind_a_balancer() -> config::Listen {
    config::Listen { proxy_protocol: vec!["127.0.0.0/8".parse().expect("a network")], ..limits() }
}

/// A request behind these bytes, on a connection of its own; the stream and the answer.
async fn answer(gateway: &Gateway, before: &[u8], headers: &str) -> (TcpStream, String) {
    let mut stream = gateway.connect().await;
    stream.write_all(&[before, format!("{REQUEST}{headers}\r\n").as_bytes()].concat()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("in time");
    answer.truncate(read.unwrap_or(0));
    (stream, String::from_utf8(answer).expect("text"))
}

fn v2(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[10, 0, 0, 1, 0xdc, 4, 0x10, 0xdd]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

#[tokio::test]
async fn a_balancers_connections_are_its_clients() {
    let gateway = Gateway::plaintext(config::Listen { max_connections_per_ip: 1, ..behind_a_balancer() }).await;
    let mut open = Vec::new();
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 5632 4317\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5632 4317\r\n".to_vec(), "2001:db8::7"),
        (v2([203, 0, 113, 8]), "203.0.113.8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        let (stream, answer) = answer(&gateway, &header, "").await;
        assert!(answer.ends_with(&format!("HTTP/1.1 {client}")), "{client}: {answer}");
        open.push(stream);
    }
    let (_, refused) = answer(&gateway, &v2([203, 0, 113, 7]), "").await;
    assert_eq!(refused, "", "this client has its one connection");
    let reason = Reason { reason: "per_address" };
    assert_eq!(gateway.metrics.connections_refused.get_or_create(&reason).get(), 1);
}

#[tokio::test]
async fn over_tls_the_header_comes_before_the_handshake() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(behind_a_balancer(), ca.write(dir.path(), false)).await;
    let mut socket = gateway.connect().await;
    socket.write_all(&v2([203, 0, 113, 7])).await.expect("sent");
    let stream = ca.over(socket, &["h2"], None).await.expect("TLS");
    let answer = Client::over(stream, Version::HTTP_2).await.post("/").await.expect("an answer");
    assert_eq!(answer.1, "HTTP/2.0 203.0.113.7");
    assert!(ca.connect(&gateway, &["h2"], None).await.is_err(), "without a header");
}

#[tokio::test]
async fn who_must_send_the_header_sends_it_in_time_and_nobody_else_may() {
    let times = config::Listen { handshake_timeout: LIMIT, ..behind_a_balancer() };
    let gateway = Gateway::plaintext(times).await;
    assert_eq!(answer(&gateway, b"", "").await.1, "");
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 2000]].concat();
    assert_eq!(answer(&gateway, &long, "").await.1, "");
    let mut half = gateway.connect().await;
    half.write_all(b"PROXY TCP4 203.0.").await.expect("sent");
    closed(&mut half).await;
    let failed = |reason| gateway.metrics.handshakes_failed.get_or_create(&Reason { reason }).get();
    assert_eq!((failed("proxy_protocol"), failed("timeout")), (2, 1));
    assert!(gateway.answers.lock().is_empty());

    let other = config::Listen { proxy_protocol: vec!["192.0.2.0/24".parse().expect("a network")], ..limits() };
    let gateway = Gateway::plaintext(other).await;
    for header in [b"PROXY TCP4 203.0.113.7 10.0.0.1 5632 4317\r\n".to_vec(), v2([203, 0, 113, 8])] {
        let (_, refused) = answer(&gateway, &header, "").await;
        assert!(!refused.contains(" 200 "), "{refused}");
    }
    assert!(gateway.answers.lock().is_empty());
}

#[tokio::test]
async fn a_forwarder_says_whose_a_request_is_and_nobody_else() {
    let trusting = |network: &str| config::Listen {
        forwarded: Some(Forwarders {
            from: vec![network.parse().expect("a network")],
            header: HeaderName::from_static("x-forwarded-for"),
        }),
        max_connections_per_ip: 1,
        ..limits()
    };
    let gateway = Gateway::plaintext(trusting("127.0.0.0/8")).await;
    let mut open = Vec::new();
    for (headers, client) in [
        ("x-forwarded-for: 203.0.113.7\r\n", "203.0.113.7"),
        ("x-forwarded-for: 198.51.100.9, 203.0.113.7, 127.0.0.2\r\n", "203.0.113.7"),
        ("forwarded: for=203.0.113.7\r\n", "127.0.0.1"),
    ] {
        // More connections than an address may have: they are the forwarder's.
        let (stream, answer) = answer(&gateway, b"", headers).await;
        assert!(answer.ends_with(&format!("HTTP/1.1 {client}")), "{headers}: {answer}");
        open.push(stream);
    }
    let gateway = Gateway::plaintext(trusting("192.0.2.0/24")).await;
    let (_, answer) = answer(&gateway, b"", "x-forwarded-for: 203.0.113.7\r\n").await;
    assert!(answer.ends_with("HTTP/1.1 127.0.0.1"), "{answer}");
}
