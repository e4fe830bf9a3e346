//! Browsers (Fetch Standard, "CORS protocol"): the preflight, which carries no key, and the headers without which a page may not read an answer.
//!
//! No cookies are involved, so an origin is no secret and no authority: narrowing the list keeps other people's pages from using a key that they
//! copied out of a page, and nothing more.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::config::AllowedOrigins;
use crate::reply::{Refusal, ReplyBody};

/// `*` stands for every header but `authorization`, which must be named (Fetch Standard, "CORS non-wildcard request-header name").
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, x-api-key, content-type, content-encoding, *");
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("retry-after");
const POST: HeaderValue = HeaderValue::from_static("POST");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Two hours, in seconds: the longest that Chromium takes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether this is a browser that asks if it may send.
pub(super) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight; [`allow`] adds the origin.
pub(super) fn preflight() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, POST);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
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
        response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER);
    }
}

fn allow_origin(allowed: &AllowedOrigins, origin: &HeaderValue) -> Option<HeaderValue> {
    match allowed {
        AllowedOrigins::Any => Some(ANY),
        AllowedOrigins::List(list) => {
            let text = origin.to_str().ok()?;
            let listed = list.iter().any(|listed| listed.eq_ignore_ascii_case(text));
            listed.then(|| origin.clone())
        }
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
        let list = AllowedOrigins::List(["https://shop.example".to_owned()].into());
        assert_eq!(check(&list, &HeaderMap::new()), Ok(()));
        assert_eq!(check(&list, &from("https://SHOP.example")), Ok(()));
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
