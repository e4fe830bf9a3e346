//! Looks for `Content-Length` in the bytes of an HTTP/1.1 head: hyper obeys RFC 9112 section 6.3 in that a `Transfer-Encoding` beside it
//! decides, and takes the length away, so that nobody after it sees that both were there.
//!
//! Only what comes while no request is in flight is looked at, from its first byte. A client that sends a request before the answer to the last one
//! (pipelining) is not seen, and needs not be: hyper closes the connection after a request that has both.

const NAME: &[u8] = b"content-length:";

/// How far the search in one head has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct LengthSearch {
    at: At,
    said: bool,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// So many bytes of this line are those of the name.
    Name(usize),
    /// The rest of a line.
    Rest,
    /// After the empty line.
    End,
}

impl Default for LengthSearch {
    fn default() -> Self {
        LengthSearch { at: At::Name(0), said: false }
    }
}

impl LengthSearch {
    /// Whether a line with a length came.
    pub(super) fn is_said(&self) -> bool {
        self.said
    }

    /// The next bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.said {
            let next = match self.at {
                At::End => return,
                At::Rest => memchr::memchr(b'\n', bytes).and_then(|end| bytes.get(end..)),
                At::Name(_) => Some(bytes),
            };
            let Some((byte, rest)) = next.and_then(<[u8]>::split_first) else {
                return;
            };
            bytes = rest;
            self.at = match self.at {
                At::Rest => At::Name(0),
                At::Name(0) if *byte == b'\n' => At::End,
                At::Name(0) if *byte == b'\r' => At::Name(0),
                At::Name(_) if *byte == b'\n' => At::Name(0),
                At::Name(matched) if NAME.get(matched) == Some(&byte.to_ascii_lowercase()) => At::Name(matched + 1),
                At::Name(_) | At::End => At::Rest,
            };
            self.said = matches!(self.at, At::Name(matched) if matched == NAME.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_head_and_no_other() {
        for (head, said) in [
            (&b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"[..], true),
            (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncONTENT-lENGTH:1\r\n\r\n", true),
            (b"POST / HTTP/1.1\ncontent-length: 1\n\n", true),
            (b"POST / HTTP/1.1\r\nx-content-length: 1\r\nx: content-length: 1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nx: 1\r\n\r\ncontent-length: 1\r\n", false),
            (b"POST / HTTP/1.1\r\ncontent-lengths: 1\r\n\r\n", false),
        ] {
            for size in [1, 2, 7, head.len()] {
                let mut search = LengthSearch::default();
                head.chunks(size).for_each(|bytes| search.read(bytes));
                assert_eq!(search.is_said(), said, "{}", String::from_utf8_lossy(head));
            }
        }
    }
}
