//! Forms of HTTP/1.1 that two readers understand in two ways (RFC 9112): each is to be refused, and to end its connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What stands between the request line and the body, and the body.
const FORMS: &[(&str, &str)] = &[
    ("no Host", "content-length: 0\r\n\r\n"),
    ("two Hosts", "host: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n"),
    ("an invalid Host", "host: a b\r\ncontent-length: 0\r\n\r\n"),
    ("a Host with a user", "host: a@b\r\ncontent-length: 0\r\n\r\n"),
    ("chunked twice", "host: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", "host: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("another transfer coding", "host: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("a coding of nobody", "host: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("a length and a coding", "host: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", "host: a\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n"),
    ("a list of lengths", "host: a\r\ncontent-length: 0, 5\r\n\r\n"),
    ("a negative length", "host: a\r\ncontent-length: -1\r\n\r\n"),
    ("a length with a sign", "host: a\r\ncontent-length: +5\r\n\r\nhello"),
    ("a length that wraps around", "host: a\r\ncontent-length: 18446744073709551617\r\n\r\nx"),
    ("a space before the colon", "host: a\r\ncontent-length : 0\r\n\r\n"),
    ("a folded line", "host: a\r\nx-a: b\r\n c\r\ncontent-length: 0\r\n\r\n"),
    ("a bare CR in a value", "host: a\r\nx-a: b\rc\r\ncontent-length: 0\r\n\r\n"),
    ("a NUL in a value", "host: a\r\nx-a: b\0c\r\ncontent-length: 0\r\n\r\n"),
    ("a line without a colon", "host: a\r\nx\r\ncontent-length: 0\r\n\r\n"),
    (
        "a chunk size that wraps around",
        "host: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
    ),
    ("a chunk size that is no number", "host: a\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n"),
];

/// How many there are, and which of them were not refused, with what was said instead.
pub(crate) async fn try_all(server: SocketAddr, key: &str) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    for (name, form) in FORMS {
        let head =
            format!("POST /v1/logs HTTP/1.1\r\nauthorization: {key}\r\ncontent-type: application/x-protobuf\r\n{form}");
        let exchange = tokio::time::timeout(Duration::from_secs(20), exchange(server, &head));
        let said = exchange.await.map_or_else(|_| "left open".to_owned(), |said| said.unwrap_or_default());
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 5");
        if !refused {
            wrong.push(format!("{name}: {}", said.lines().next().unwrap_or_default()));
        }
    }
    (FORMS.len(), wrong)
}

/// All that a server says before it closes the connection.
async fn exchange(server: SocketAddr, head: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut said = Vec::new();
    // A reset after an answer does not undo it.
    let _ = stream.read_to_end(&mut said).await;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
