//! Browsers (Fetch Standard, "CORS protocol"): the preflight, which carries no key, and the headers without which a page may not read an answer.
//!
//! No cookies are involved, so an origin is no secret and no authority: narrowing the list keeps other people's pages from using a key that they
//! copied out of a page, and nothing more.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::config::AllowedOrigins;
use crate::reply::{Refusal, ReplyBody};

/// `*` stands for every header but `authorization`, which must be named (Fetch Standard, "CORS non-wildcard request-header name").
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, x-api-key, content-type, content-encoding, *");
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, x-request-id");
const POST: HeaderValue = HeaderValue::from_static("POST");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// A public page asks whether it may reach an address of a private network (Private Network Access): a gateway may stand in one.
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
/// Two hours, in seconds: the longest that Chromium takes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether this is a browser that asks if it may send.
pub(super) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of an allowed origin; [`allow`] adds the origin.
pub(super) fn preflight(request: &HeaderMap) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, POST);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if request.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// Whether a request's origin may send. One without an origin does not come from a page.
pub(super) fn check(allowed: &AllowedOrigins, headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(ORIGIN) {
        Some(origin) if allow_origin(allowed, origin).is_none() => Err(Refusal::OriginNotAllowed),
        _ => Ok(()),
    }
}

/// Lets the page that sent the request read its answer, and see the advice in it.
pub(super) fn allow(allowed: &AllowedOrigins, request: &HeaderMap, response: &mut HeaderMap) {
    let Some(origin) = request.get(ORIGIN) else {
        return;
    };
    // A cache must not give one origin's answer to another.
    response.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allow_origin(allowed, origin) {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

fn allow_origin(allowed: &AllowedOrigins, origin: &HeaderValue) -> Option<HeaderValue> {
    match allowed {
        AllowedOrigins::Any => Some(ANY),
        AllowedOrigins::List(_) => allowed.allow(origin.to_str().ok()?).then(|| origin.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())])
    }

    #[test]
    fn a_list_narrows_who_may_send_and_read() {
        let list = crate::config::testing::origins(&["https://shop.example"]);
        assert_eq!(check(&list, &HeaderMap::new()), Ok(()));
        assert_eq!(check(&list, &from("https://SHOP.example:443")), Ok(()));
        let evil = from("https://evil.example");
        assert_eq!(check(&list, &evil), Err(Refusal::OriginNotAllowed));

        let mut answer = HeaderMap::new();
        allow(&list, &evil, &mut answer);
        assert_eq!(answer.get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        allow(&list, &from("https://shop.example"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
        assert_eq!(answer[VARY], "origin");
    }

    #[test]
    fn any_origin_is_a_star_and_no_origin_needs_nothing() {
        let mut answer = HeaderMap::new();
        allow(&AllowedOrigins::Any, &HeaderMap::new(), &mut answer);
        assert!(answer.is_empty());
        allow(&AllowedOrigins::Any, &from("null"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
