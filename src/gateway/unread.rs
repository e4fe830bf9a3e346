//! What a refused request had still to send.
//!
//! An HTTP/1.1 client that is still sending when its connection is closed may see the reset before it sees the answer, and would then send the
//! same again although it was told not to. So a little of the rest is read and thrown away first; when more comes, the connection ends with the
//! answer. Over HTTP/2 the stream is reset without an error, and the connection lives on.

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
const LONGEST: Duration = Duration::from_millis(500);

/// Reads what is left of `body` and throws it away, within limits; beyond them the answer says that the connection closes.
pub(super) async fn discard<B>(head: &Parts, mut body: B, has_key: bool, answer: &mut HeaderMap)
where
    B: Body<Data = Bytes> + Unpin,
{
    if head.version >= Version::HTTP_2 || body.is_end_stream() {
        return;
    }
    let most = if has_key { WITH_KEY } else { WITHOUT_KEY };
    // A client that waits for "100 Continue" was not told to continue, and has sent nothing.
    let waits = head.headers.contains_key(header::EXPECT);
    let small = !waits && body.size_hint().lower() <= most;
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
    use http_body_util::Full;

    use super::*;

    async fn closes(version: Version, bytes: usize, has_key: bool, expect: bool) -> bool {
        let request = http::Request::post("/v1/logs").version(version);
        let request = if expect { request.header("expect", "100-continue") } else { request };
        let head = request.body(()).unwrap().into_parts().0;
        let mut answer = HeaderMap::new();
        let body = Full::new(Bytes::from(vec![0; bytes]));
        discard(&head, body, has_key, &mut answer).await;
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
