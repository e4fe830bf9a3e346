//! What a refused request had still to send. The key is checked before the body is read, so that answers overtake bodies, and a client that is
//! cut off while it still sends may never see its answer: it would then send the same again although it was told not to.
//!
//! Over HTTP/1.1 an answer comes after the body or ends the connection. So a little of the rest is read and thrown away first; when more comes, the
//! connection ends with the answer.
//!
//! Over HTTP/2 the answer goes out at once, and the stream is left open a moment longer: dropping its body resets it, which the protocol allows (RFC 9113
//! section 8.1, NO_ERROR) and some clients, curl among them, report as a broken stream instead of the answer before it. What comes meanwhile is thrown
//! away; from a client without a valid key that is no more than its connection reads for it anyway.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version, header};
use http_body::Body;
use http_body_util::BodyExt;

/// What a client without a valid key may have thrown away for it, in bytes: less than its connection reads for it anyway.
const WITHOUT_KEY: u64 = 48 * 1024;
/// The same for a client with a valid key, to which its connection is worth keeping.
const WITH_KEY: u64 = 1024 * 1024;
/// How long an answer over HTTP/1.1 waits for the rest.
const LONGEST: Duration = Duration::from_millis(500);
/// How long an HTTP/2 stream outlives its answer: time for the answer to arrive, and for the client to end or reset the stream itself.
const OUTLIVES: Duration = Duration::from_secs(2);

/// Reads what is left of `body` and throws it away, within limits. Over HTTP/1.1 the answer says that the connection closes: beyond them, and when
/// this answer is the `last`. `wait`: so much later the answer goes out.
pub(super) async fn discard<B>(
    head: &Parts,
    mut body: B,
    has_key: bool,
    last: bool,
    wait: Duration,
    answer: &mut HeaderMap,
) where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let http1 = head.version < Version::HTTP_2;
    if last && http1 {
        answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if body.is_end_stream() {
        return;
    }
    if !http1 {
        // Not waited for: the answer does not depend on it, and what the client still sends of this stream holds up no other.
        tokio::spawn(tokio::time::timeout(
            wait + OUTLIVES,
            async move { while let Some(Ok(_)) = body.frame().await {} },
        ));
        return;
    }
    let most = if has_key { WITH_KEY } else { WITHOUT_KEY };
    // A client that waits for "100 Continue" was not told to continue, and has sent nothing.
    let waits = head.headers.contains_key(header::EXPECT);
    let small = !waits && body.size_hint().lower() <= most;
    // The rest of a large body would take longer than a new connection does.
    let all_read = small && tokio::time::timeout(LONGEST, read(&mut body, most)).await.unwrap_or(false);
    if !all_read {
        answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether the body's end came within `most` bytes.
async fn read<B: Body<Data = Bytes> + Unpin>(body: &mut B, most: u64) -> bool {
    let mut left = most;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match u64::try_from(length).ok().and_then(|length| left.checked_sub(length)) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, ready};

    use http_body::Frame;
    use http_body_util::Full;
    use tokio::time::{Instant, Interval, interval};

    use super::*;

    /// A body of which a byte comes every 10 ms, without an end; whoever has the other `Arc` sees whether it is still held.
    struct Endless {
        ticks: Interval,
        _held: Arc<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            ready!(self.ticks.poll_tick(context));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// How long the answer to a request with an endless body waits, whether the connection then closes, and what sees whether the body is held.
    async fn endless(version: Version, wait: Duration) -> (Duration, bool, Arc<()>) {
        let head = http::Request::post("/v1/logs").version(version).body(()).unwrap().into_parts().0;
        let (mut answer, held, began) = (HeaderMap::new(), Arc::new(()), Instant::now());
        let body = Endless { ticks: interval(Duration::from_millis(10)), _held: held.clone() };
        discard(&head, body, true, false, wait, &mut answer).await;
        (began.elapsed(), answer.contains_key(header::CONNECTION), held)
    }

    /// The times of docs/limits.md.
    #[tokio::test(start_paused = true)]
    async fn a_rest_without_end_is_read_for_half_a_second_and_over_http2_beside_the_answer_for_two() {
        let millis = Duration::from_millis;
        let (waited, closes, held) = endless(Version::HTTP_11, millis(0)).await;
        assert!((millis(500)..millis(510)).contains(&waited) && closes, "{waited:?}");
        assert_eq!(Arc::strong_count(&held), 1);

        for wait in [0, 1000] {
            let (waited, closes, held) = endless(Version::HTTP_2, millis(wait)).await;
            assert!(waited.is_zero() && !closes, "{waited:?}");
            tokio::time::sleep(millis(wait + 1990)).await;
            assert_eq!(Arc::strong_count(&held), 2, "the stream is open");
            tokio::time::sleep(millis(20)).await;
            assert_eq!(Arc::strong_count(&held), 1, "and ends");
        }
    }

    async fn closes(version: Version, bytes: usize, has_key: bool, expect: bool) -> bool {
        let request = http::Request::post("/v1/logs").version(version);
        let request = if expect { request.header("expect", "100-continue") } else { request };
        let head = request.body(()).unwrap().into_parts().0;
        let mut answer = HeaderMap::new();
        let body = Full::new(Bytes::from(vec![0; bytes]));
        discard(&head, body, has_key, false, Duration::ZERO, &mut answer).await;
        answer.contains_key(header::CONNECTION)
    }

    #[tokio::test]
    async fn a_small_rest_keeps_the_connection_and_a_large_one_ends_it() {
        let kib = 1024;
        assert!(!closes(Version::HTTP_11, 0, false, false).await);
        assert!(!closes(Version::HTTP_11, 48 * kib, false, false).await);
        assert!(closes(Version::HTTP_11, 49 * kib, false, false).await);
        assert!(!closes(Version::HTTP_11, 1024 * kib, true, false).await);
        assert!(closes(Version::HTTP_11, 1025 * kib, true, false).await);
        assert!(closes(Version::HTTP_11, 1, true, true).await);
        assert!(!closes(Version::HTTP_2, 1025 * kib, false, false).await);
    }
}
