//! How long a request may take: the configuration's time, or the client's own when that is shorter.

use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The moment after which nobody waits for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// `longest` from now, or the request's `grpc-timeout` when that is shorter.
    pub(super) fn of(headers: &HeaderMap, longest: Duration) -> Self {
        let asked = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()));
        Deadline(Instant::now() + asked.map_or(longest, |asked| asked.min(longest)))
    }

    /// What `future` says, or `None` when the time was over before.
    pub(super) async fn wait<F: Future>(self, future: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.0, future).await.ok()
    }
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("100m", Some(Duration::from_millis(100))),
            ("10S", Some(Duration::from_secs(10))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("S", None),
            ("+1S", None),
            ("1s", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_shorter_time_counts() {
        let headers = HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), "1S".parse().unwrap())]);
        let short = Deadline::of(&headers, Duration::from_secs(60));
        let pause = tokio::time::sleep(Duration::from_secs(2));
        assert_eq!(short.wait(pause).await, None);
        let long = Deadline::of(&HeaderMap::new(), Duration::from_secs(60));
        let pause = tokio::time::sleep(Duration::from_secs(2));
        assert_eq!(long.wait(pause).await, Some(()));
    }
}
