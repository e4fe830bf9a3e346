//! Plain HTTP that comes to a port that speaks TLS: the commonest mistake of whoever sets an exporter up. It is told so in its own
//! protocol, as other servers do; an alert of TLS would say nothing to it.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stream::Watched;

/// What a client that speaks HTTP/1.1 is answered.
const HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
content-type: text/plain; charset=utf-8\r\n\
content-length: 55\r\n\
connection: close\r\n\
\r\n\
This port speaks TLS: use https:// instead of http://.\n";

/// And one that begins with HTTP/2, as gRPC without TLS does: an empty SETTINGS, and GOAWAY (PROTOCOL_ERROR) with
/// the reason as its debug data, which gRPC's clients show.
const HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
\0\0\x3b\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\
this port speaks TLS: use https, or TLS credentials";

/// The HTTP that a client speaks without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// A method, and whatever follows.
    Http1,
    /// The preface of HTTP/2.
    Http2,
}

/// Waits for the first bytes, which stay in the socket, and says whether they are plain HTTP.
///
/// # Errors
/// The socket's.
pub(super) async fn spoken(tcp: &TcpStream) -> io::Result<Option<Spoken>> {
    let mut first = [0; 4];
    let count = tcp.peek(&mut first).await?;
    Ok(of(first.get(..count).unwrap_or_default()))
}

/// A record of TLS begins with its type, which is no letter; a method of HTTP is letters.
fn of(first: &[u8]) -> Option<Spoken> {
    match first {
        [b'P', b'R', b'I', ..] => Some(Spoken::Http2),
        [letter, ..] if letter.is_ascii_uppercase() => Some(Spoken::Http1),
        _ => None,
    }
}

/// Says what is wrong, and closes.
///
/// # Errors
/// The socket's.
pub(super) async fn refuse(mut stream: Watched, spoken: Spoken) -> io::Result<()> {
    let answer = match spoken {
        Spoken::Http1 => HTTP1,
        Spoken::Http2 => HTTP2,
    };
    stream.write_all(answer).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_no_http() {
        assert_eq!(of(b"\x16\x03\x01\x02"), None);
        assert_eq!(of(b"\x80\x2e\x01\x03"), None);
        assert_eq!(of(b""), None);
        assert_eq!(of(b"G"), Some(Spoken::Http1));
        assert_eq!(of(b"POST"), Some(Spoken::Http1));
        assert_eq!(of(b"PRI "), Some(Spoken::Http2));
    }

    #[test]
    fn the_lengths_are_those_of_the_words() {
        let body = HTTP1.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let said = format!("content-length: {}\r\n", HTTP1.len() - body);
        assert!(std::str::from_utf8(HTTP1).unwrap().contains(&said), "{said}");
        let goaway = &HTTP2[9..];
        assert_eq!(usize::from(goaway[2]), goaway.len() - 9);
    }
}
