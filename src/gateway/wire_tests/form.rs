//! Requests whose form cannot be believed, byte by byte as an attacker writes them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// The whole of what comes back until the gateway closes, or falls silent with an answer given.
async fn answers(serving: &Serving, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(serving.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let silence = |all: &[u8]| Duration::from_millis(if all.is_empty() { 20_000 } else { 300 });
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(silence(&all), socket.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

#[tokio::test]
async fn over_http_1_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let serving = serving().await;
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    for (lines, body, status) in [
        ("host: a\r\ncontent-length: 2", "{}", 200),
        ("host: a\r\ntransfer-encoding: chunked", chunked, 200),
        ("content-length: 2", "{}", 400),
        ("host: a\r\nhost: a\r\ncontent-length: 2", "{}", 400),
        ("host: a\r\nhost: b\r\ncontent-length: 2", "{}", 400),
        ("host: a b\r\ncontent-length: 2", "{}", 400),
        ("host: a/b\r\ncontent-length: 2", "{}", 400),
        ("host: a:99999\r\ncontent-length: 2", "{}", 400),
        ("host: u@a\r\ncontent-length: 2", "{}", 400),
        ("host: a\r\ntransfer-encoding: chunked, chunked", chunked, 400),
        ("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked", chunked, 400),
        ("host: a\r\ntransfer-encoding: gzip, chunked", chunked, 501),
        ("host: a\r\ntransfer-encoding: identity, chunked", chunked, 501),
        ("host: a\r\ntransfer-encoding: chunked, gzip", chunked, 400),
        ("host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 12", chunked, 400),
        ("host: a\r\ncontent-length: 12\r\ntransfer-encoding: chunked", chunked, 400),
        ("host: a\r\ncontent-length: 2\r\ncontent-length: 3", "{}", 400),
        ("host: a\r\ncontent-length: +2", "{}", 400),
    ] {
        let head =
            format!("POST /v1/logs HTTP/1.1\r\n{lines}\r\ncontent-type: application/json\r\nx-api-key: good\r\n\r\n");
        let answer = answers(&serving, format!("{head}{body}{head}{body}").as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{lines}: {answer}");
        // The second request is answered only when the first could be believed.
        assert_eq!(answer.matches("HTTP/1.1 ").count(), if status == 200 { 2 } else { 1 }, "{lines}: {answer}");
    }
}

/// A literal header field without indexing (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A frame on stream 1 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn over_http_2_a_request_that_http_1_could_read_otherwise_never_comes_to_a_key() {
    let serving = serving().await;
    for (fields, told) in [
        (&[(":authority", "a")][..], "200"),
        (&[(":authority", "a"), ("host", "A")], "200"),
        (&[("host", "a")], "200"),
        (&[], "400"),
        (&[(":authority", "a"), ("host", "b")], "400"),
        (&[(":authority", "a"), ("host", "a"), ("host", "a")], "400"),
        (&[(":authority", "u@a")], "400"),
        (&[(":authority", "a"), ("connection", "close")], "reset"),
        (&[(":authority", "a"), ("transfer-encoding", "chunked")], "reset"),
        (&[(":authority", "a"), ("keep-alive", "1")], "reset"),
        (&[(":authority", "a"), ("upgrade", "h2c")], "reset"),
        (&[(":authority", "a"), ("proxy-connection", "close")], "reset"),
        (&[(":authority", "a"), ("te", "gzip")], "reset"),
        (&[(":authority", "a"), ("Upper", "case")], "reset"),
    ] {
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/logs")];
        let (own, later): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| name.starts_with(':'));
        let rest = [("content-type", "application/json"), ("x-api-key", "good")];
        let block = pseudo.iter().chain(own).chain(later).chain(&rest).flat_map(|(name, value)| field(name, value));
        let block: Vec<u8> = block.collect();
        let request =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 4, 1, &block)].concat();
        let answer = answers(&serving, &[&request[..], &frame(0, 1, 1, b"{}")].concat()).await;
        // The statuses are in HPACK's static table: 0x88 is 200, 0x8c 400.
        let mut frames = &answer[..];
        let mut seen = "silence";
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            match (kind, rest.first()) {
                (1, Some(0x88)) => seen = "200",
                (1, Some(0x8c)) => seen = "400",
                (3, _) if seen == "silence" => seen = "reset",
                (7, _) if seen == "silence" => seen = "reset",
                _ => {}
            }
            frames = rest.get(length..).unwrap_or_default();
        }
        assert_eq!(seen, told, "{fields:?}: {answer:x?}");
    }
}
