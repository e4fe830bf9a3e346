//! The key that a request presents, in any of the three forms that ClickStack's clients use.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::keys::MAX_TOKEN_BYTES;

/// The header that carries nothing but a key.
pub(super) const X_API_KEY: &str = "x-api-key";

/// What the headers say of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented<'h> {
    /// There is no such header.
    Nothing,
    /// Two that differ, or one that is neither a key nor a token: empty, longer than 8 KiB, or not visible ASCII.
    Unclear,
    /// This, and perhaps more than once.
    Key(&'h [u8]),
}

/// The presented key: `authorization: <key>`, `authorization: Bearer <key>` (RFC 6750; the scheme in any case) or
/// `x-api-key: <key>`.
pub(super) fn presented(headers: &HeaderMap) -> Presented<'_> {
    let authorization = headers.get_all(AUTHORIZATION).iter();
    let authorization = authorization.map(|value| without_scheme(value.as_bytes()));
    let x_api_key = headers.get_all(X_API_KEY).iter();
    let mut keys = authorization.chain(x_api_key.map(|value| value.as_bytes()));
    match keys.next() {
        None => Presented::Nothing,
        Some(key) if keys.all(|other| other == key) && is_whole(key) => Presented::Key(key),
        Some(_) => Presented::Unclear,
    }
}

fn is_whole(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= MAX_TOKEN_BYTES && key.iter().all(u8::is_ascii_graphic)
}

fn without_scheme(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii_start(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key_of(lines: &[(&'static str, &[u8])]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        match presented(&headers) {
            Presented::Key(key) => Some(String::from_utf8(key.to_vec()).unwrap()),
            Presented::Nothing => Some("nothing".to_owned()),
            Presented::Unclear => None,
        }
    }

    #[test]
    fn three_forms_and_any_mix_that_agrees() {
        let (auth, api) = ("authorization", "x-api-key");
        for lines in [
            &[(auth, &b"abc"[..])][..],
            &[(auth, b"Bearer abc")],
            &[(auth, b"bEARER   abc")],
            &[(api, b"abc")],
            &[(api, b"abc"), (auth, b"abc"), (auth, b"Bearer abc"), (api, b"abc")],
        ] {
            assert_eq!(key_of(lines).as_deref(), Some("abc"), "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_one_clear_key_is_none() {
        let (auth, api) = ("authorization", "x-api-key");
        let long = vec![b'a'; MAX_TOKEN_BYTES + 1];
        assert_eq!(key_of(&[]).as_deref(), Some("nothing"));
        for lines in [
            &[(auth, &b""[..])][..],
            &[(auth, b"Bearer ")],
            &[(auth, b"Basic abc")],
            &[(auth, b"ab c")],
            &[(auth, "schlüssel".as_bytes())],
            &[(api, &long)],
            &[(auth, b"abc"), (api, b"abd")],
            &[(auth, b"abc"), (auth, b"abd")],
            &[(auth, b"abc"), (api, b"")],
            &[(auth, b"Bearer abc"), (api, b"Bearer abc")],
        ] {
            assert_eq!(key_of(lines), None, "{lines:?}");
        }
    }
}
