//! Whether a request's form can be believed, before anything else of it is: whom it is for, and where it ends. What two readers of the same bytes
//! may understand in two ways is refused, since the other reader is the proxy in front that passed it on (request smuggling).
//!
//! Over HTTP/2 `h2` itself refuses connection-specific fields (RFC 9113 section 8.2.2), and over HTTP/1.1 hyper a `Content-Length` that is no
//! number or two that differ, and codings that do not end with `chunked`.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Version, header};

use crate::listen::Peer;
use crate::reply::Refusal;

/// Holds the head of a request to RFC 9112 (sections 3.2, 6.1 and 6.3) and RFC 9113 (section 8.3.1).
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::UnknownTransferCoding`]. Over HTTP/1.1 nothing on the connection can be believed after either.
pub(super) fn check(head: &Parts, peer: &Peer) -> Result<(), Refusal> {
    host(head)?;
    if head.version >= Version::HTTP_2 {
        return Ok(());
    }
    transfer_codings(&head.headers)?;
    let two_lengths = head.headers.contains_key(header::TRANSFER_ENCODING)
        && (head.headers.contains_key(header::CONTENT_LENGTH) || peer.said_length());
    if two_lengths { Err(malformed("both Transfer-Encoding and Content-Length")) } else { Ok(()) }
}

/// One host, and one that can be: HTTP/1.1 must say it in `Host`, HTTP/2 in `:authority` or `host`, and where both do they agree.
fn host(head: &Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (said, another) = (hosts.next(), hosts.next());
    let authority = head.uri.authority();
    if another.is_some() {
        return Err(malformed("more than one Host"));
    }
    if said.is_some_and(|host| !is_host(host)) || authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(malformed("an invalid Host"));
    }
    match (head.version, said, authority) {
        (Version::HTTP_11, None, _) | (Version::HTTP_2, None, None) => Err(malformed("no Host")),
        // An absolute form over HTTP/1.1 overrides `Host` (RFC 9112 section 3.2.2).
        (Version::HTTP_2, Some(said), Some(authority))
            if !said.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(malformed("Host and :authority differ"))
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2); empty where the target names nobody.
fn is_host(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    let port = |authority: &Authority| match authority.as_str().strip_prefix(authority.host()) {
        Some("" | ":") => true,
        Some(_) => authority.port_u16().is_some(),
        None => false,
    };
    let named = |value: &[u8]| Authority::try_from(value).is_ok_and(|authority| port(&authority));
    value.is_empty() || named(value)
}

/// `chunked`, once and alone: the only coding that is undone here.
fn transfer_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let (chunked, others): (Vec<&[u8]>, Vec<&[u8]>) =
        codings.filter(|coding| !coding.is_empty()).partition(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    match (chunked.len(), others.len()) {
        (_, 1..) => Err(Refusal::UnknownTransferCoding),
        (2.., 0) => Err(malformed("chunked more than once")),
        _ => Ok(()),
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn checked(version: Version, uri: &str, lines: &[(&'static str, &[u8])]) -> Result<(), Refusal> {
        let mut request = http::Request::post(uri).version(version);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let peer = Peer::unconnected(IpAddr::V4(Ipv4Addr::LOCALHOST));
        check(&request.body(()).unwrap().into_parts().0, &peer)
    }

    #[test]
    fn a_host_is_one_and_can_be() {
        for host in ["a.example", "a.example:4318", "[::1]:4318", "127.0.0.1", "a:", "", "a_b", "xn--bcher-kva.example"]
        {
            assert_eq!(checked(Version::HTTP_11, "/v1/logs", &[("host", host.as_bytes())]), Ok(()), "{host}");
        }
        for host in
            ["a b", "a/b", "a@b", "a, b", "a:b", "a:99999", "[::1", "::1", "a?b", "a#b", "a\\b", "http://a", "a\tb"]
        {
            assert!(checked(Version::HTTP_11, "/v1/logs", &[("host", host.as_bytes())]).is_err(), "{host}");
        }
        assert!(checked(Version::HTTP_11, "/v1/logs", &[("host", "ä.example".as_bytes())]).is_err());
        assert!(checked(Version::HTTP_11, "/v1/logs", &[]).is_err());
        assert!(checked(Version::HTTP_11, "http://a/v1/logs", &[]).is_err(), "the absolute form needs Host too");
        assert_eq!(checked(Version::HTTP_10, "/v1/logs", &[]), Ok(()));
        assert!(checked(Version::HTTP_10, "/v1/logs", &[("host", b"a"), ("host", b"a")]).is_err());
    }

    #[test]
    fn over_http_2_host_and_authority_agree() {
        let uri = "https://a.example:4317/v1/logs";
        for lines in [&[][..], &[("host", &b"A.example:4317"[..])]] {
            assert_eq!(checked(Version::HTTP_2, uri, lines), Ok(()), "{lines:?}");
        }
        for lines in
            [&[("host", &b"b.example:4317"[..])][..], &[("host", b"a.example:4317"), ("host", b"a.example:4317")]]
        {
            assert!(checked(Version::HTTP_2, uri, lines).is_err(), "{lines:?}");
        }
        assert!(checked(Version::HTTP_2, "https://user@a.example/v1/logs", &[]).is_err());
        assert_eq!(checked(Version::HTTP_2, "/v1/logs", &[("host", b"a")]), Ok(()));
        assert!(checked(Version::HTTP_2, "/v1/logs", &[]).is_err());
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coded = |lines: &[&'static str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("transfer-encoding", line.as_bytes())).collect();
            checked(Version::HTTP_11, "/v1/logs", &[&[("host", &b"a"[..])][..], &lines].concat())
        };
        for good in [&[][..], &["chunked"], &["Chunked"], &[" , chunked ,"]] {
            assert_eq!(coded(good), Ok(()), "{good:?}");
        }
        for twice in [&["chunked, chunked"][..], &["chunked", "chunked"], &["chunked,CHUNKED"]] {
            assert!(matches!(coded(twice), Err(Refusal::Malformed(_))), "{twice:?}");
        }
        for other in
            [&["gzip, chunked"][..], &["gzip", "chunked"], &["identity, chunked"], &["chunked;x=1"], &["xchunked"]]
        {
            assert_eq!(coded(other), Err(Refusal::UnknownTransferCoding), "{other:?}");
        }
    }
}
