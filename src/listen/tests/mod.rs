//! The listeners on real sockets.

mod certificates;
mod frames;
mod http;
mod proxy;
mod shares;
mod support;
mod tls;

use std::net::IpAddr;
use std::time::Duration;

use ::http::{StatusCode, Version};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::support::{Ca, Client, Gateway, SOON, closed, eventually, limits};
use crate::config;
use crate::listen::Answer;
use crate::metrics::Reason;

const SHORT: Duration = Duration::from_millis(200);
/// A limit that is waited for, and within which a busy machine gets a request through.
const LIMIT: Duration = Duration::from_millis(1500);
const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let gateway = Gateway::plaintext(config::Listen { max_connections_per_ip: 2, ..limits() }).await;
    let mut first = gateway.client(Version::HTTP_2).await;
    let mut second = gateway.client(Version::HTTP_11).await;
    first.post("/").await.expect("an answer");
    second.post("/").await.expect("an answer");
    closed(&mut gateway.connect().await).await;
    let refused = &gateway.metrics.connections_refused;
    let labels = Reason { reason: "per_address" };
    assert_eq!(refused.get_or_create(&labels).get(), 1);
    drop(first);
    eventually(|| gateway.metrics.connections_open.get() == 1).await;
    let mut third = gateway.client(Version::HTTP_11).await;
    third.post("/").await.expect("an answer");
}

#[tokio::test]
async fn when_full_the_oldest_without_a_key_makes_room() {
    let gateway = Gateway::plaintext(config::Listen { max_connections: 3, ..limits() }).await;
    let mut with_key = gateway.client(Version::HTTP_2).await;
    with_key.post("/").await.expect("an answer");
    let mut oldest = gateway.client(Version::HTTP_2).await;
    oldest.send("/", false, Bytes::new()).await.expect("an answer");
    let mut newer = gateway.client(Version::HTTP_11).await;
    newer.send("/", false, Bytes::new()).await.expect("an answer");
    let mut last = gateway.client(Version::HTTP_11).await;
    last.post("/").await.expect("an answer in the oldest one's place");
    oldest.closed().await;
    assert_eq!(gateway.closed("evicted"), 1);
    newer.post("/").await.expect("an answer");
    with_key.post("/").await.expect("an answer");
}

#[tokio::test]
async fn without_a_valid_key_a_connection_ends_though_it_is_answered() {
    let gateway = Gateway::plaintext(config::Listen { first_key_timeout: LIMIT, ..limits() }).await;
    for version in BOTH {
        let mut with_key = gateway.client(version).await;
        with_key.post("/").await.expect("an answer");
        let mut without = gateway.client(version).await;
        let answer = without.send("/", false, Bytes::new()).await;
        assert_eq!(answer.expect("an answer").0, StatusCode::OK);
        without.closed().await;
        with_key.post("/").await.expect("still open");
    }
    let mut silent = gateway.connect().await;
    closed(&mut silent).await;
    assert_eq!(gateway.closed("no_key"), 3);
}

#[tokio::test]
async fn a_header_that_trickles_in_ends_the_connection() {
    let gateway = Gateway::plaintext(config::Listen { header_timeout: LIMIT, ..limits() }).await;
    let mut first = gateway.connect().await;
    trickle(&mut first).await;

    let mut later = gateway.connect().await;
    let request = b"POST / HTTP/1.1\r\nhost: gateway\r\nkey: valid\r\ncontent-length: 0\r\n\r\n";
    later.write_all(request).await.expect("sent");
    let mut answer = [0; 12];
    later.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    tokio::time::sleep(LIMIT * 2).await;
    assert_eq!(gateway.closed("header"), 1, "an idle connection is not a slow header");
    trickle(&mut later).await;
    assert_eq!(gateway.closed("header"), 2);
}

/// Sends a header a byte at a time, until the gateway has closed the connection.
async fn trickle(stream: &mut TcpStream) {
    let sending = async {
        for byte in b"POST / HTTP/1.1\r\n".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(SOON, sending).await.expect("closed in time");
}

#[tokio::test]
async fn an_old_connection_is_asked_to_go_and_finishes_what_it_began() {
    let gateway = Gateway::plaintext(config::Listen { max_connection_age: LIMIT, ..limits() }).await;
    for version in BOTH {
        let mut client = gateway.client(version).await;
        client.post("/").await.expect("an answer");
        let slow = client.post("/slow");
        let release = async {
            eventually(|| gateway.closed("age") > 0).await;
            tokio::time::sleep(SHORT).await;
            gateway.slow.add_permits(1);
        };
        let (answer, ()) = tokio::join!(slow, release);
        assert_eq!(answer.expect("an answer").0, StatusCode::OK);
        client.closed().await;
        gateway.metrics.connections_closed.clear();
    }
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let gateway = Gateway::plaintext(config::Listen { idle_timeout: LIMIT, ..limits() }).await;
    for version in BOTH {
        let mut client = gateway.client(version).await;
        client.post("/").await.expect("an answer");
        client.closed().await;
    }
    assert_eq!(gateway.closed("idle"), 2);
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight() {
    for version in BOTH {
        let gateway = Gateway::plaintext(limits()).await;
        let mut idle = gateway.client(version).await;
        idle.post("/").await.expect("an answer");
        let mut busy = gateway.client(version).await;
        let in_flight = tokio::spawn(async move { (busy.post("/slow").await, busy) });
        eventually(|| gateway.answers.lock().len() == 2).await;
        gateway.listeners.stop();
        idle.closed().await;
        eventually_refused(&gateway).await;
        let drained = tokio::time::timeout(SHORT, gateway.listeners.drained()).await;
        assert!(drained.is_err(), "a request is in flight");
        gateway.slow.add_permits(1);
        let (answer, busy) = in_flight.await.expect("no panic");
        assert_eq!(answer.expect("an answer").0, StatusCode::OK);
        busy.closed().await;
        tokio::time::timeout(SOON, gateway.listeners.drained()).await.expect("drained in time");
    }
}

#[tokio::test]
async fn a_watcher_that_is_answered_for_ever_does_not_keep_a_stop_waiting() {
    for version in BOTH {
        let gateway = Gateway::plaintext(limits()).await;
        let mut client = gateway.client(version).await;
        let watcher = tokio::spawn(async move { client.post("/endless").await.is_ok() });
        eventually(|| gateway.answers.lock().len() == 1).await;
        gateway.listeners.stop();
        tokio::time::timeout(SOON, gateway.listeners.drained()).await.expect("drained in time");
        assert!(!watcher.await.expect("no panic"));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_whose_machine_takes_no_bytes_is_gone_before_its_answers_pass_for_arrived() {
    let gateway = Gateway::plaintext(limits()).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    // It never reads, so that its system soon takes nothing more; a network that is silent looks the same from here.
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    let mut client = socket.connect(gateway.address).await.expect("connected");
    let requests = "POST / HTTP/1.1\r\nhost: localhost\r\nkey: valid\r\n\r\n".repeat(3000);
    client.write_all(requests.as_bytes()).await.expect("sent");
    eventually(|| !gateway.answers.lock().is_empty()).await;
    let broken = || gateway.answers.lock().iter().all(Answer::is_broken);
    tokio::time::sleep(crate::listen::UNACKNOWLEDGED / 2).await;
    assert!(!broken(), "too early");
    tokio::time::timeout(crate::listen::UNACKNOWLEDGED, async {
        while !broken() {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await
    .expect("broken in time");
}

#[tokio::test]
async fn with_a_valid_key_large_bodies_arrive_whole() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    let body = Bytes::from(vec![7; 5_000_000]);
    for version in BOTH {
        let stream = ca.connect(&gateway, &[], None).await.expect("TLS");
        let mut client = Client::over(stream, version).await;
        let answer = client.send("/read", true, body.clone()).await;
        assert_eq!(answer.expect("an answer").1, "Ok(5000000)");
    }
}

#[tokio::test]
async fn without_a_valid_key_a_body_is_left_in_the_socket() {
    let gateway = Gateway::plaintext(config::Listen { first_key_timeout: LIMIT, ..limits() }).await;
    let body = Bytes::from(vec![7; 512 * 1024]);
    let mut client = gateway.client(Version::HTTP_2).await;
    let answer = client.send("/read", false, body).await;
    assert!(answer.is_err(), "the handler got no more than the start of it");
}

async fn eventually_refused(gateway: &Gateway) {
    tokio::time::timeout(SOON, async {
        while TcpStream::connect(gateway.address).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    })
    .await
    .expect("the port is closed in time");
}

#[tokio::test]
async fn a_refusal_arrives_though_the_body_was_not_read() {
    let gateway = Gateway::plaintext(limits()).await;
    let body = Bytes::from(vec![0; 3 * 1024 * 1024]);
    for version in BOTH {
        for _ in 0..5 {
            let mut client = gateway.client(version).await;
            let answer = client.send("/unauthorized", false, body.clone()).await;
            let (status, _) = answer.expect("the refusal, not a reset");
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn an_answer_has_arrived_unless_its_connection_breaks() {
    let gateway = Gateway::plaintext(limits()).await;
    let arrived = |index: usize| gateway.answers.lock().get(index).is_some_and(|of| of.arrived());
    for (index, version) in BOTH.into_iter().enumerate() {
        let (read, cut) = (2 * index, 2 * index + 1);
        let mut client = gateway.client(version).await;
        client.post("/").await.expect("an answer");
        eventually(|| arrived(read)).await;
        let mut other = gateway.client(version).await;
        let in_flight = tokio::spawn(async move { other.post("/slow").await.is_ok() });
        eventually(|| gateway.answers.lock().len() == cut + 1).await;
        in_flight.abort();
        eventually(|| gateway.metrics.connections_open.get() == 1).await;
        gateway.slow.add_permits(1);
        tokio::time::sleep(SHORT).await;
        gateway.slow.forget_permits(1);
        assert!(!arrived(cut), "the stream was cut before its answer");
        assert!(arrived(read));
        // Closed in order, with everything acknowledged, it had its answer.
        drop(client);
        eventually(|| gateway.metrics.connections_open.get() == 0).await;
        assert!(arrived(read), "{version:?}");
    }
}

#[tokio::test]
async fn an_answer_is_lost_when_its_connection_is_reset_after_it() {
    let gateway = Gateway::plaintext(limits()).await;
    let last = || gateway.answers.lock().last().expect("an answer").clone();
    // Over HTTP/1.1: hyper's HTTP/2 client says goodbye however it ends.
    let stream = gateway.connect().await;
    stream.set_zero_linger().expect("a socket");
    let mut client = Client::over(stream, Version::HTTP_11).await;
    client.post("/").await.expect("an answer");
    eventually(|| last().arrived()).await;
    client.ended.abort();
    eventually(|| gateway.metrics.connections_open.get() == 0).await;
    assert!(!last().arrived() && last().is_broken());
    // A process that ends before it has read its answer: the system resets for it, though it had acknowledged every byte.
    let mut unread = gateway.connect().await;
    let request = b"POST / HTTP/1.1\r\nhost: gateway\r\nkey: valid\r\ncontent-length: 0\r\n\r\n";
    unread.write_all(request).await.expect("sent");
    unread.readable().await.expect("an answer");
    eventually(|| last().arrived()).await;
    drop(unread);
    eventually(|| gateway.metrics.connections_open.get() == 0).await;
    assert!(!last().arrived() && last().is_broken());
}

#[tokio::test]
async fn over_tls_a_goodbye_and_a_bare_fin_are_in_order() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let gateway = Gateway::start(limits(), ca.write(dir.path(), false)).await;
    let request = "POST / HTTP/1.1\r\nhost: gateway\r\nkey: valid\r\ncontent-length: 0\r\n";
    for (goodbye, closes) in [(true, false), (false, false), (true, true)] {
        let mut stream = ca.connect(&gateway, &["http/1.1"], None).await.expect("TLS");
        let last_header = if closes { "connection: close\r\n" } else { "" };
        stream.write_all(format!("{request}{last_header}\r\n").as_bytes()).await.expect("sent");
        let mut answer = vec![0; 4096];
        let mut read = 0;
        while !answer[..read].ends_with(b"127.0.0.1") {
            read += stream.read(&mut answer[read..]).await.expect("an answer");
        }
        if closes {
            // Whoever leaves the gateway's own goodbye unread resets the connection.
            stream.read_to_end(&mut Vec::new()).await.expect("the end");
        }
        if goodbye {
            stream.shutdown().await.expect("said");
        }
        drop(stream);
        eventually(|| gateway.metrics.connections_open.get() == 0).await;
        let last = gateway.answers.lock().last().expect("an answer").clone();
        assert!(last.arrived(), "goodbye: {goodbye}, closes: {closes}");
    }
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let gateway = Gateway::plaintext(limits()).await;
    let mut stream = gateway.connect().await;
    let header = format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40 * 1024));
    stream.write_all(header.as_bytes()).await.expect("sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 431");
    let mut client = gateway.client(Version::HTTP_2).await;
    let path = format!("/{}", "x".repeat(20 * 1024));
    let answer = client.post(&path).await.expect("an answer");
    assert_eq!(answer.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(gateway.answers.lock().len(), 0, "neither came to the handler");
}

#[tokio::test]
async fn the_peer_is_the_address_that_connected() {
    let gateway =
        Gateway::plaintext(config::Listen { otlp: vec!["[::]:0".parse().expect("an address")], ..limits() }).await;
    let address = (IpAddr::from([127, 0, 0, 1]), gateway.address.port());
    let stream = TcpStream::connect(address).await.expect("connected");
    let mut client = Client::over(stream, Version::HTTP_11).await;
    let (_, body) = client.post("/").await.expect("an answer");
    assert_eq!(body, "HTTP/1.1 127.0.0.1", "IPv4, though it came to an IPv6 socket");
}
