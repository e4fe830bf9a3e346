//! How long a request may take: the configuration's time, or a gRPC client's own when that is shorter.

use std::future::Future;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::reply::Refusal;
use crate::signal::Protocol;

/// The moment after which nobody waits for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    /// Whether it is the client's own.
    asked: bool,
}

impl Deadline {
    /// `longest` from now, or a gRPC request's `grpc-timeout` when that is shorter.
    pub(super) fn of(head: &Parts, longest: Duration) -> Self {
        let value = head.headers.get("grpc-timeout").filter(|_| Protocol::of(head) == Some(Protocol::Grpc));
        let asked = value.and_then(|value| grpc_timeout(value.as_bytes())).filter(|asked| *asked < longest);
        Deadline { at: Instant::now() + asked.unwrap_or(longest), asked: asked.is_some() }
    }

    /// So long from now.
    pub(super) fn after(time: Duration) -> Self {
        Deadline { at: Instant::now() + time, asked: false }
    }

    /// What `future` says, or `None` when the time was over before.
    pub(super) async fn wait<F: Future>(self, future: F) -> Option<F::Output> {
        tokio::time::timeout_at(self.at, future).await.ok()
    }

    /// Whether the time is over.
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.at
    }

    /// What a request is told whose time is over: what the client knows already when the time was its own, otherwise `refusal`.
    pub(super) fn over(self, refusal: Refusal) -> Refusal {
        if self.asked { Refusal::DeadlineExceeded } else { refusal }
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
    async fn the_shorter_time_counts_and_a_clients_own_is_named() {
        let of = |content_type: &str, longest| {
            let request = http::Request::post("/").version(http::Version::HTTP_2).header("content-type", content_type);
            let head = request.header("grpc-timeout", "1S").body(()).unwrap().into_parts().0;
            Deadline::of(&head, Duration::from_secs(longest))
        };
        for (content_type, longest, in_time, refusal) in [
            ("application/grpc", 60, false, Refusal::DeadlineExceeded),
            ("application/grpc", 1, false, Refusal::TooSlow),
            ("application/json", 60, true, Refusal::TooSlow),
        ] {
            let deadline = of(content_type, longest);
            let pause = tokio::time::sleep(Duration::from_secs(2));
            assert_eq!(deadline.wait(pause).await.is_some(), in_time, "{content_type} {longest}");
            assert_eq!((deadline.is_over(), deadline.over(Refusal::TooSlow)), (!in_time, refusal));
        }
    }
}
