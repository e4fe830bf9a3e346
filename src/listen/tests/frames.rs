//! HTTP/2 as an attacker writes it, frame by frame.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Gateway, closed, limits};
use super::{LIMIT, SOON};
use crate::config;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., b, c] = payload.len().to_be_bytes();
    [&[0, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The head of a POST with a valid key (literals without indexing, RFC 7541 section 6.2.2).
fn head(path: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a"), ("key", "valid")];
    let field = |(name, value): (&str, &str)| {
        [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    fields.into_iter().flat_map(field).collect()
}

/// A connection that has shown a key, with these settings.
async fn open(gateway: &Gateway, settings: &[u8]) -> TcpStream {
    let mut stream = gateway.connect().await;
    let first = [PREFACE, &frame(4, 0, 0, settings), &frame(1, 5, 1, &head("/"))].concat();
    stream.write_all(&first).await.expect("sent");
    stream
}

#[tokio::test]
async fn a_flood_of_frames_that_carry_nothing_is_told_to_be_calm() {
    let gateway = Gateway::plaintext(limits()).await;
    for (flood, number) in [
        (frame(2, 0, 3, &[0, 0, 0, 0, 1]), 1),
        (frame(8, 0, 0, &[0, 0, 0, 1]), 2),
        (frame(0xbe, 0, 0, &[]), 3),
        (frame(4, 0, 0, &[]), 4),
        (frame(6, 0, 0, &[0; 8]), 5),
    ] {
        let mut stream = open(&gateway, &[]).await;
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        let flood = flood.repeat(5000);
        // It may be closed before all went out.
        let (_, read) = tokio::join!(
            async {
                let _ = writing.write_all(&flood).await;
            },
            tokio::time::timeout(SOON, reading.read_to_end(&mut answer))
        );
        let _ = read.expect("closed in time");
        let goaway = answer.windows(9).position(|head| head[3..] == [7, 0, 0, 0, 0, 0]).expect("GOAWAY");
        assert_eq!(answer[goaway + 13..goaway + 17], [0, 0, 0, 0x0b], "ENHANCE_YOUR_CALM");
        super::eventually(|| gateway.closed("empty_frames") == number).await;
    }
}

#[tokio::test]
async fn half_a_frame_does_not_live_longer_than_a_header_may() {
    let gateway = Gateway::plaintext(config::Listen { header_timeout: LIMIT, ..limits() }).await;
    let half = [&[0, 0x40, 0, 0, 0, 0, 0, 0, 3][..], &[0; 500]].concat();
    for (rest, number) in [
        ([frame(1, 4, 3, &head("/read")), half].concat(), 1),
        (frame(1, 4, 3, &head("/read"))[..20].to_vec(), 2),
        (frame(1, 0, 3, &head("/read")), 3),
    ] {
        let mut stream = open(&gateway, &[]).await;
        stream.write_all(&rest).await.expect("sent");
        closed(&mut stream).await;
        assert_eq!(gateway.closed("frame"), number);
    }
}

#[tokio::test]
async fn an_answer_that_its_client_leaves_no_window_for_does_not_wait_for_ever() {
    let gateway = Gateway::plaintext(config::Listen { header_timeout: Duration::from_millis(700), ..limits() }).await;
    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
    for (window, number) in [(0, 1), (1, 2), (5, 3)] {
        let mut stream = open(&gateway, &[0, 4, 0, 0, 0, window]).await;
        closed(&mut stream).await;
        assert_eq!(gateway.closed("stalled"), number, "{window}");
    }
    let mut stream = open(&gateway, &[0, 4, 0, 0, 1, 0]).await;
    let open = tokio::time::timeout(LIMIT * 3, stream.read_to_end(&mut Vec::new())).await;
    assert!(open.is_err(), "with a window it was answered, and idles");
}
