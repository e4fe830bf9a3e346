//! gRPC's message framing ("gRPC over HTTP/2", Length-Prefixed-Message): a byte that says whether the message is compressed, its length in four
//! bytes, the message. `Export` is unary, so that there is exactly one.

use bytes::Bytes;

use super::Compression;
use super::buffer::{len, too_large};
use crate::reply::Refusal;

/// Bytes before a message.
const PREFIX: usize = 5;
/// The same, where bytes are counted.
pub(super) const PREFIX_BYTES: u64 = 5;

/// How many bytes the body has when its first bytes are `start`: known once the prefix is there, and refused at once when that is too many.
///
/// # Errors
/// [`Refusal::TooLarge`] when the message is longer than `max`.
pub(super) fn total(start: &[u8], max: u64) -> Result<Option<u64>, Refusal> {
    let Some([_, length @ ..]) = start.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = u64::from(u32::from_be_bytes(*length));
    if length > max {
        return Err(too_large(max));
    }
    Ok(Some(length + PREFIX_BYTES))
}

/// The one message of a whole body, and how it is compressed.
///
/// # Errors
/// [`Refusal::Malformed`] when there is no message, more than one or a part of one, and when the message is compressed but the head did not
/// say how.
pub fn message(mut body: Bytes, compression: Option<Compression>) -> Result<(Bytes, Option<Compression>), Refusal> {
    let whole = total(&body, u64::MAX)?;
    if whole != Some(len(&body)) {
        return Err(malformed("the body is not exactly one gRPC message"));
    }
    let compression = match (body.first(), compression) {
        (Some(0), _) => None,
        (Some(1), Some(compression)) => Some(compression),
        (Some(1), None) => return Err(malformed("a compressed gRPC message without grpc-encoding")),
        _ => return Err(malformed("the gRPC message's first byte is neither 0 nor 1")),
    };
    Ok((body.split_off(PREFIX), compression))
}

fn malformed(why: &str) -> Refusal {
    Refusal::Malformed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &'static [u8], compression: Option<Compression>) -> Option<(Vec<u8>, bool)> {
        let (message, compression) = message(Bytes::from_static(body), compression).ok()?;
        Some((message.to_vec(), compression.is_some()))
    }

    #[test]
    fn one_message_is_taken_and_nothing_else() {
        let gzip = Some(Compression::Gzip);
        assert_eq!(split(b"\0\0\0\0\x02ab", None), Some((b"ab".to_vec(), false)));
        assert_eq!(split(b"\0\0\0\0\0", gzip), Some((vec![], false)));
        assert_eq!(split(b"\x01\0\0\0\x01a", gzip), Some((b"a".to_vec(), true)));
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x02a",
            b"\0\0\0\0\x01ab",
            b"\0\0\0\0\0\0\0\0\0\0",
            b"\x02\0\0\0\0",
            b"\x01\0\0\0\0",
        ] {
            assert_eq!(split(wrong, None), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_the_message_arrives() {
        assert_eq!(total(b"\0\0\0\0", 9), Ok(None));
        assert_eq!(total(b"\0\0\0\0\x09", 9), Ok(Some(14)));
        assert_eq!(total(b"\0\0\0\0\x0a", 9), Err(too_large(9)));
    }
}
