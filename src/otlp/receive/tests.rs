//! Whole bodies, as connections bring them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Sleep, sleep};

use super::*;
use crate::memory::double::Counted;
use crate::otlp::Compression;
use crate::signal::Signal;

const MAX: u64 = 1 << 20;

/// A body that comes in pieces, each after a pause, and that may declare its length.
struct Script {
    pieces: VecDeque<Result<Bytes, &'static str>>,
    pause: Duration,
    pausing: Option<Pin<Box<Sleep>>>,
    declared: Option<u64>,
}

impl Script {
    fn of<const N: usize>(pieces: [&[u8]; N]) -> Self {
        Script {
            pieces: pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect(),
            pause: Duration::ZERO,
            pausing: None,
            declared: None,
        }
    }

    fn repeated(piece: &[u8], times: usize, pause: Duration) -> Self {
        let mut script = Script::of([]);
        script.pieces = vec![Ok(Bytes::copy_from_slice(piece)); times].into();
        script.pause = pause;
        script
    }

    fn declaring(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if !self.pause.is_zero() {
            let pause = self.pause;
            let pausing = self.pausing.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(pausing.as_mut().poll(context));
            self.pausing = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn call(protocol: Protocol, compression: Option<Compression>) -> Call {
    Call { protocol, signal: Signal::Logs, compression }
}

fn limits(max_bytes: u64) -> BodyLimits {
    BodyLimits { max_bytes, min_rate: 1024 }
}

/// What is received, after it was seen that memory counts at least that, and nothing for what is refused.
async fn received<B: Body<Data = Bytes>>(protocol: Protocol, body: B) -> Result<Bytes, Refusal> {
    let memory = Counted::new(u64::MAX);
    let received = receive(memory.clone(), &call(protocol, None), body, limits(MAX)).await?;
    assert!(memory.used() >= u64::try_from(received.request.len()).unwrap());
    assert!(memory.used() <= 2 * u64::try_from(received.request.len()).unwrap() + (8 << 10));
    Ok(received.request)
}

#[tokio::test]
async fn a_body_in_one_piece_is_not_copied() {
    let piece = Bytes::from(vec![7; 1000]);
    let request = received(Protocol::HttpProtobuf, Full::new(piece.clone())).await.unwrap();
    assert_eq!(request.as_ptr(), piece.as_ptr());
    let framed = Bytes::from_static(b"\0\0\0\0\x02ab");
    let request = received(Protocol::Grpc, Full::new(framed.clone())).await.unwrap();
    assert_eq!(request.as_ptr(), framed[5..].as_ptr());
}

#[tokio::test]
async fn a_body_in_pieces_is_joined() {
    let join = |script| received(Protocol::HttpProtobuf, script);
    assert_eq!(join(Script::of([])).await.unwrap(), "");
    assert_eq!(join(Script::of([b"", b""])).await.unwrap(), "");
    assert_eq!(join(Script::of([b"a", b"", b"bc"])).await.unwrap(), "abc");
    let long = join(Script::repeated(&[1; 999], 1000, Duration::ZERO)).await.unwrap();
    assert_eq!(long.len(), 999_000);
    let grpc = Script::of([b"\0\0", b"\0\0\x03a", b"bc"]);
    assert_eq!(received(Protocol::Grpc, grpc).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_declared_length_bounds_what_is_reserved() {
    let memory = Counted::new(u64::MAX);
    let body = Script::repeated(&[1; 1000], 300, Duration::ZERO).declaring(300_000);
    let call = call(Protocol::HttpProtobuf, None);
    let received = receive(memory.clone(), &call, body, limits(MAX)).await.unwrap();
    assert_eq!(received.request.len(), 300_000);
    assert_eq!(memory.used(), 300_000);

    // Nothing is reserved for what was only declared.
    let memory = Counted::new(10_000);
    let body = Script::of([b"a", b"b"]).declaring(MAX);
    assert!(receive(memory.clone(), &call, body, limits(MAX)).await.is_ok());
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_soon_as_that_is_known() {
    let too_large = Err(Refusal::TooLarge { limit: "request.max_body_bytes", max: MAX });
    let body = Script::of([]).declaring(MAX + 1);
    assert_eq!(received(Protocol::HttpProtobuf, body).await, too_large);
    // The rest of the body would be an error.
    let mut body = Script::of([b"\0\x7f\xff\xff\xff"]);
    body.pieces.push_back(Err("read too far"));
    assert_eq!(received(Protocol::Grpc, body).await, too_large);
    let body = Script::repeated(&[0; 1 << 16], 17, Duration::ZERO);
    assert_eq!(received(Protocol::HttpProtobuf, body).await, too_large);
    let body = Full::new(Bytes::from(vec![0; (1 << 20) + 1]));
    assert_eq!(received(Protocol::HttpProtobuf, body).await, too_large);
    let body = Full::new(Bytes::from(vec![0; 1 << 20]));
    assert!(received(Protocol::HttpProtobuf, body).await.is_ok());
}

#[tokio::test]
async fn a_body_that_breaks_off_or_does_not_fit_its_frame_is_refused() {
    let malformed =
        |result| matches!(result, Err(Refusal::Malformed(_) | Refusal::Framing(_) | Refusal::NotOneMessage));
    let mut body = Script::of([b"abc"]);
    body.pieces.push_back(Err("reset"));
    assert!(malformed(received(Protocol::HttpProtobuf, body).await));
    for pieces in [&[&b""[..]][..], &[b"\0\0"], &[b"\0\0\0\0\x02", b"a"], &[b"\0\0\0\0\x01a", b"b"]] {
        let mut body = Script::of([]);
        body.pieces = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        assert!(malformed(received(Protocol::Grpc, body).await), "{pieces:?}");
    }
}

#[tokio::test]
async fn a_full_memory_refuses() {
    for body in [Script::of([&[0; 5000]]), Script::repeated(&[0; 100], 50, Duration::ZERO)] {
        let call = call(Protocol::HttpProtobuf, None);
        let result = receive(Counted::new(4000), &call, body, limits(MAX)).await;
        assert!(matches!(result, Err(Refusal::Unavailable { .. })));
    }
}

#[tokio::test]
async fn a_slow_body_is_refused_and_one_with_a_pause_is_not() {
    let bounds = |least| body::Bounds { max: MAX, least, window: Duration::from_millis(60), grpc: false };
    let drip = || Script::repeated(&[0; 10], 50, Duration::from_millis(4));
    let collect = |body, least| async move {
        body::collect(Counted::new(MAX), body, &bounds(least)).await.map(|(_, bytes, _)| bytes.len())
    };
    assert_eq!(collect(drip(), 1000).await, Err(Refusal::TooSlow));
    assert_eq!(collect(drip(), 10).await, Ok(500));
    let silent = Script::repeated(&[0; 10], 1, Duration::from_secs(60));
    assert_eq!(collect(silent, 1).await, Err(Refusal::TooSlow));
    // Pieces without bytes do not count.
    let empty = Script::repeated(&[], 10_000, Duration::from_millis(1));
    assert_eq!(collect(empty, 1).await, Err(Refusal::TooSlow));
}

#[tokio::test]
async fn compressed_json_becomes_protobuf() {
    let text = br#"{"resourceLogs":[{"schemaUrl":"a"}]}"#;
    let compressed = zstd::bulk::compress(text, 1).unwrap();
    let memory = Counted::new(u64::MAX);
    let call = call(Protocol::HttpJson, Some(Compression::Zstd));
    let body = Full::<Bytes>::new(compressed.into());
    let received = receive(memory.clone(), &call, body, limits(MAX)).await.unwrap();
    assert_eq!(received.request, b"\x0a\x03\x1a\x01a"[..]);
    assert!(memory.used() <= 8 << 10, "{}", memory.used());
    assert!(memory.peak() >= 512 << 10);
}

#[tokio::test]
async fn a_grpc_message_says_itself_whether_it_is_compressed() {
    let compressed = zstd::bulk::compress(b"abc", 1).unwrap();
    let frame = |flag: u8, message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Full::<Bytes>::new([&[flag][..], &length, message].concat().into())
    };
    let receive = async |compression, body: Full<Bytes>| {
        let call = call(Protocol::Grpc, compression);
        let received = receive(Counted::new(u64::MAX), &call, body, limits(MAX)).await;
        received.map(|received| received.request)
    };
    let zstd = Some(Compression::Zstd);
    assert_eq!(receive(zstd, frame(1, &compressed)).await.unwrap(), "abc");
    assert_eq!(receive(zstd, frame(0, b"abc")).await.unwrap(), "abc");
    assert!(matches!(receive(None, frame(1, &compressed)).await, Err(Refusal::Framing(_))));
}
