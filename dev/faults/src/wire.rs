//! HTTP/1.1 messages as raw bytes, read to their end, so that the proxy can cut them wherever it likes.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A message's head, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Every byte of it, the empty line too.
    pub(crate) bytes: Vec<u8>,
    length: Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Sized(usize),
    Chunked,
}

impl Head {
    /// Reads a head; `None` when the connection ends before it.
    pub(crate) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
        let mut bytes = Vec::new();
        let mut length = Length::Sized(0);
        loop {
            let start = bytes.len();
            if from.read_until(b'\n', &mut bytes).await? == 0 {
                return if start == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let line = String::from_utf8_lossy(&bytes[start..]).trim().to_ascii_lowercase();
            if line.is_empty() {
                return Ok(Some(Head { bytes, length }));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Length::Sized(value.trim().parse().map_err(io::Error::other)?);
            } else if line.strip_prefix("transfer-encoding:").is_some_and(|value| value.contains("chunked")) {
                length = Length::Chunked;
            }
        }
    }

    /// The first line.
    pub(crate) fn line(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == b'\r').unwrap_or(self.bytes.len());
        std::str::from_utf8(&self.bytes[..end]).unwrap_or_default()
    }

    /// A parameter of the first line's address, as it stands there.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.line().split(' ').nth(1)?.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// With another parameter in the first line's address.
    pub(crate) fn with_parameter(&self, parameter: &str) -> Head {
        let line = self.line().len();
        let end = self.line().rfind(' ').unwrap_or(line);
        let bytes = [&self.bytes[..end], b"&", parameter.as_bytes(), &self.bytes[end..]].concat();
        Head { bytes, length: self.length }
    }

    /// Half of the body when its length is announced, all of it otherwise.
    pub(crate) async fn half_a_body(&self, from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
        match self.length {
            Length::Sized(length) => sized(from, length / 2).await,
            Length::Chunked => chunked(from).await,
        }
    }

    /// The body's bytes, with the framing of chunks.
    pub(crate) async fn body(&self, from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
        match self.length {
            Length::Sized(length) => sized(from, length).await,
            Length::Chunked => chunked(from).await,
        }
    }
}

async fn sized(from: &mut (impl AsyncBufRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunked(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let start = body.len();
        from.read_until(b'\n', &mut body).await?;
        let line = String::from_utf8_lossy(&body[start..]).into_owned();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        if length == 0 {
            break;
        }
        body.extend(sized(from, length + 2).await?);
    }
    loop {
        let start = body.len();
        from.read_until(b'\n', &mut body).await?;
        if body[start..].trim_ascii().is_empty() {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_read_to_their_end() {
        let text = b"POST /?a=1&query=INSERT%20x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nPUT / HTTP/1.1\r\ncontent-length: 4\r\n\r\nwxyz";
        let mut from = tokio::io::BufReader::new(&text[..]);
        let head = Head::read(&mut from).await.unwrap().unwrap();
        assert_eq!((head.parameter("a"), head.parameter("query")), (Some("1"), Some("INSERT%20x")));
        let more = head.with_parameter("b=2");
        assert_eq!(more.line(), "POST /?a=1&query=INSERT%20x&b=2 HTTP/1.1");
        assert_eq!(head.body(&mut from).await.unwrap(), b"3\r\nabc\r\n0\r\n\r\n");
        let head = Head::read(&mut from).await.unwrap().unwrap();
        assert_eq!(head.half_a_body(&mut from).await.unwrap(), b"wx");
        assert_eq!(sized(&mut from, 2).await.unwrap(), b"yz");
        assert!(Head::read(&mut from).await.unwrap().is_none());
    }
}
