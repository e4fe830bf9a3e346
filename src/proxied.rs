//! Whose connection or request a proxy in front passes on: the PROXY protocol (versions 1 and 2, as HAProxy specifies it) before the first byte of a
//! connection, `X-Forwarded-For` and `Forwarded` (RFC 7239) in a request's headers.
//!
//! Anybody can write either, so both are read from peers only that the configuration names.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, ProxyHeader};

/// What both versions of the PROXY header begin with, by length.
const FIRST: usize = 12;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// The longest header that is read. Version 1 has 107 bytes at most; what version 2 adds to the addresses is a few hundred, and nobody here needs it.
pub const MAX_HEADER: usize = 2048;

/// How far a PROXY header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It needs so many bytes in all, or more. What follows it belongs to TLS or HTTP, so no more are read.
    Needs(usize),
    /// It is whole, and names this client; none when the proxy speaks for itself (its health check), or does not know.
    Whole(Option<IpAddr>),
}

/// It is no PROXY header, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header")]
pub struct NoHeader;

/// Reads the bytes of a connection until now, which are none of what follows the header.
///
/// # Errors
/// [`NoHeader`].
pub fn header(bytes: &[u8]) -> Result<Header, NoHeader> {
    if bytes.len() < FIRST {
        return Ok(Header::Needs(FIRST));
    }
    if bytes.starts_with(V2) {
        let length = match bytes.get(V2_FIXED - 2..V2_FIXED) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => return Ok(Header::Needs(V2_FIXED)),
        };
        if V2_FIXED + length > MAX_HEADER {
            return Err(NoHeader);
        }
        if bytes.len() < V2_FIXED + length {
            return Ok(Header::Needs(V2_FIXED + length));
        }
    } else if !bytes.starts_with(b"PROXY ") {
        return Err(NoHeader);
    }
    match ProxyHeader::parse(bytes, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        Ok((header, _)) => {
            Ok(Header::Whole(header.proxied_address().map(|address| address.source.ip().to_canonical())))
        }
        // A header of version 2 said its own length, which is here.
        Err(Error::BufferTooShort) if bytes.len() < MAX_HEADER && bytes.starts_with(b"P") => {
            Ok(Header::Needs(bytes.len() + 1))
        }
        Err(_) => Err(NoHeader),
    }
}

/// Who is believed about whom they pass on, and in which header they say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarders {
    /// Their addresses.
    pub from: Vec<IpNet>,
    /// `x-forwarded-for` or `forwarded`. One only: a proxy that writes one passes on the other as its client wrote it.
    pub header: HeaderName,
}

impl Forwarders {
    /// Whether this peer is one of them.
    pub fn include(&self, peer: IpAddr) -> bool {
        includes(&self.from, peer)
    }

    /// The client of a request that `peer` sent: the last one in the header that is no forwarder itself. What stands before it was written by the client, who
    /// may write anything. The peer, where the header says nothing that can be read.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let lines: Vec<&str> = headers.get_all(&self.header).iter().filter_map(|line| line.to_str().ok()).collect();
        for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let node = if self.header == FORWARDED { forwarded_for(element) } else { Some(element.trim()) };
            match node.and_then(address) {
                Some(address) => client = address,
                None => return client,
            }
            if !self.include(client) {
                return client;
            }
        }
        client
    }
}

/// Whether one of the networks holds the address.
pub fn includes(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The node after `for=` in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    nodes.next().map(|(_, node)| node.trim().trim_matches('"'))
}

/// An address, with or without a port, IPv6 with or without brackets.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse().ok().or_else(|| node.parse().ok().map(|node: SocketAddr| node.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Feeds a header as it is asked for; what came of it, and how many bytes it took.
    fn read(bytes: &[u8]) -> Result<(Option<IpAddr>, usize), NoHeader> {
        let mut have = 0;
        loop {
            match header(&bytes[..have])? {
                Header::Whole(client) => return Ok((client, have)),
                Header::Needs(more) if more > bytes.len() => panic!("cut at {have}"),
                Header::Needs(more) => have = more,
            }
        }
    }

    #[test]
    fn both_versions_are_read_and_no_byte_after_them() {
        let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n";
        assert_eq!(read(&[v1, &b"GET /"[..]].concat()), Ok((Some(ip("203.0.113.7")), v1.len())));
        let v1 = b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n";
        assert_eq!(read(&[v1, &b"GET /"[..]].concat()), Ok((Some(ip("2001:db8::7")), v1.len())));
        assert_eq!(read(b"PROXY UNKNOWN\r\nGET /"), Ok((None, 15)));
        let v2 = |command: u8, family: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            [V2, &[0x20 | command, family], &length, rest].concat()
        };
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        let tlv = [4, 0, 2, 0, 0];
        for (bytes, client) in [
            (v2(1, 0x11, &four), Some(ip("203.0.113.7"))),
            (v2(1, 0x11, &[&four[..], &tlv].concat()), Some(ip("203.0.113.7"))),
            (v2(0, 0x00, &[]), None),
            (v2(0, 0x11, &four), None),
            (v2(1, 0x00, &tlv), None),
        ] {
            assert_eq!(read(&[&bytes[..], b"\x16\x03\x01"].concat()), Ok((client, bytes.len())));
        }
        assert_eq!(read(&v2(1, 0x11, &[0; MAX_HEADER])), Err(NoHeader));
        assert_eq!(read(&v2(1, 0x11, &four[..8])), Err(NoHeader));
        for other in [
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0"[..],
            b"POST /v1/logs HTTP/1.1",
            b"PROXY TCP5 203.0.113.7 10",
        ] {
            assert_eq!(read(other), Err(NoHeader));
        }
        assert_eq!(read(&[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat()), Err(NoHeader));
    }

    #[test]
    fn the_client_is_the_last_one_that_is_no_forwarder() {
        let from = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let of = |header: &'static str, lines: &[&'static str]| {
            let header = HeaderName::from_static(header);
            let forwarders = Forwarders { from: from.clone(), header: header.clone() };
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&header, HeaderValue::from_static(line));
            }
            forwarders.client(ip("10.0.0.1"), &headers)
        };
        let both = |lines, client: &str| assert_eq!(of("x-forwarded-for", lines), ip(client), "{lines:?}");
        both(&[], "10.0.0.1");
        both(&["203.0.113.7"], "203.0.113.7");
        both(&["198.51.100.9, 203.0.113.7, 10.0.0.2"], "203.0.113.7");
        both(&["198.51.100.9", "203.0.113.7"], "203.0.113.7");
        both(&["203.0.113.7:4711"], "203.0.113.7");
        both(&["2001:db8::7"], "2001:db8::7");
        both(&["[2001:db8::7]:4711"], "2001:db8::7");
        both(&["203.0.113.7, unknown"], "10.0.0.1");
        both(&["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2");
        both(&["::ffff:203.0.113.7"], "203.0.113.7");
        let forwarded = |lines, client: &str| assert_eq!(of("forwarded", lines), ip(client), "{lines:?}");
        forwarded(&["for=198.51.100.9, for=203.0.113.7;proto=https"], "203.0.113.7");
        forwarded(&["proto=https; For=\"[2001:db8::7]:4711\", for=10.0.0.2"], "2001:db8::7");
        forwarded(&["for=203.0.113.7, for=_hidden"], "10.0.0.1");
        forwarded(&["by=203.0.113.7"], "10.0.0.1");
    }
}
