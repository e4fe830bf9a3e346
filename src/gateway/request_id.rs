//! What a request is called, by its client and here: the name in a line of the log is the one in the answer's `x-request-id`.
//!
//! Invariant: what a client sends as a name is taken only when it is short and of few characters, so that it can stand in any log, header or page as
//! it is. A name proves nothing: who sends one chooses it.

use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Over HTTP and, as metadata, over gRPC.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A UUID has 36, two of them and a little more fit.
const LONGEST: usize = 96;

/// The name of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own name for it when there is one that can be used, or a new one: 32 hexadecimal digits.
    pub(super) fn of(headers: &HeaderMap) -> RequestId {
        let mut named = headers.get_all(X_REQUEST_ID).iter();
        match (named.next(), named.next()) {
            (Some(name), None) if is_sane(name.as_bytes()) => RequestId(name.clone()),
            _ => RequestId::new(),
        }
    }

    fn new() -> RequestId {
        let mut digits = String::with_capacity(32);
        // A String takes all text, and digits are a header's value.
        let _ = write!(digits, "{:032x}", rand::random::<u128>());
        RequestId(HeaderValue::try_from(digits).unwrap_or(const { HeaderValue::from_static("none") }))
    }

    /// Says it in the answer.
    pub(super) fn say(self, answer: &mut HeaderMap) {
        answer.insert(X_REQUEST_ID, self.0);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

fn is_sane(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=LONGEST).contains(&name.len()) && name.iter().all(plain)
}

/// The trace that a client's request is part of (W3C Trace Context, `traceparent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceParent {
    pub(super) trace: u128,
    /// The client's span.
    pub(super) span: u64,
    /// Whether the client records it.
    pub(super) sampled: bool,
}

impl TraceParent {
    /// What the header says; `None` for none, several, and one that the specification tells to ignore.
    pub(super) fn of(headers: &HeaderMap) -> Option<TraceParent> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let (known, more) = value.to_str().ok()?.split_at_checked(55)?;
        let mut parts = known.split('-');
        let version = hex::<2>(parts.next()?)?;
        let parent = TraceParent {
            trace: hex::<32>(parts.next()?)?,
            span: u64::try_from(hex::<16>(parts.next()?)?).ok()?,
            sampled: hex::<2>(parts.next()?)? & 1 == 1,
        };
        // Version 00 ends here; a later one may say more, after another dash.
        let ends = more.is_empty() || (version > 0 && more.starts_with('-'));
        (version != 0xff && ends && parent.trace != 0 && parent.span != 0).then_some(parent)
    }
}

/// Lower case only, as the specification has it.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (digits && text.len() == DIGITS).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_sane_name_is_kept_and_any_other_is_replaced() {
        let of = |values: &[&str]| RequestId::of(&headers(X_REQUEST_ID, values)).to_string();
        let longest = "x".repeat(LONGEST);
        for name in ["7", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "Root=1-67891233:abc/+_.", &longest] {
            assert_eq!(of(&[name]), name);
        }
        let too_long = "x".repeat(LONGEST + 1);
        let insane = ["", " 7", "a b", "a\"b", "a\\b", "<b>", "é", "a;b", "a,b", "a\tb", "%0a", &too_long];
        let made = insane.iter().map(|name| of(&[name])).chain([of(&[]), of(&["a", "a"])]);
        let made: std::collections::HashSet<String> = made.collect();
        assert_eq!(made.len(), insane.len() + 2, "each is another");
        for name in made {
            assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_specification_has_it() {
        let of = |values: &[&str]| TraceParent::of(&headers(TRACEPARENT, values));
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let parent = TraceParent {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        assert_eq!(of(&[&format!("00-{trace}-{span}-01")]), Some(parent));
        assert_eq!(of(&[&format!("00-{trace}-{span}-00")]), Some(TraceParent { sampled: false, ..parent }));
        assert_eq!(of(&[&format!("cc-{trace}-{span}-03-what-comes")]), Some(parent));
        let (no_trace, no_span) = ("0".repeat(32), "0".repeat(16));
        for wrong in [
            String::new(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("cc-{trace}-{span}-01more"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{no_trace}-{span}-01"),
            format!("00-{trace}-{no_span}-01"),
            format!("00-{trace}-{span}-1"),
            format!("00-+{}-{span}-01", &trace[1..]),
            format!("00-{trace}-{span}-0é"),
        ] {
            assert_eq!(of(&[&wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[&format!("00-{trace}-{span}-01"), &format!("00-{trace}-{span}-01")]), None);
    }

    #[tokio::test]
    async fn every_answer_says_its_requests_name() {
        let (gateway, _) = crate::gateway::tests::gateway();
        let ask = |path: &str| http::Request::post(path).header("host", "gateway").header("x-request-id", "its-own");
        let json = |path: &str| ask(path).header("content-type", "application/json");
        let grpc = |path: &str| ask(path).version(http::Version::HTTP_2).header("content-type", "application/grpc");
        for request in [
            json("/v1/logs").header("authorization", "good"),
            json("/v1/logs"),
            json("/v1/logs").header("host", "another"),
            grpc("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
            grpc("/grpc.health.v1.Health/Check"),
            ask("/").method("GET"),
            ask("/v1/logs").method("OPTIONS").header("origin", "a").header("access-control-request-method", "POST"),
        ] {
            let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
            let response = gateway.serve(request.body(body).unwrap()).await;
            assert_eq!(response.headers()[X_REQUEST_ID], "its-own", "{response:?}");
        }
    }
}
