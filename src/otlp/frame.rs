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
/// [`Refusal::NotOneMessage`]; [`Refusal::Framing`] when there is a part of one, and when the message is compressed but the head did not say how.
pub fn message(mut body: Bytes, compression: Option<Compression>) -> Result<(Bytes, Option<Compression>), Refusal> {
    match total(&body, u64::MAX)? {
        None if body.is_empty() => return Err(Refusal::NotOneMessage),
        Some(whole) if whole < len(&body) => return Err(Refusal::NotOneMessage),
        Some(whole) if whole == len(&body) => {}
        _ => return Err(Refusal::Framing("it is cut short")),
    }
    let compression = match (body.first(), compression) {
        (Some(0), _) => None,
        (Some(1), Some(compression)) => Some(compression),
        (Some(1), None) => return Err(Refusal::Framing("it is compressed, and grpc-encoding does not say how")),
        _ => return Err(Refusal::Framing("its first byte is neither 0 nor 1")),
    };
    Ok((body.split_off(PREFIX), compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &'static [u8], compression: Option<Compression>) -> Result<(Vec<u8>, bool), Option<Refusal>> {
        let (message, compression) = message(Bytes::from_static(body), compression)
            .map_err(|refusal| (refusal == Refusal::NotOneMessage).then_some(refusal))?;
        Ok((message.to_vec(), compression.is_some()))
    }

    #[test]
    fn one_message_is_taken_and_nothing_else() {
        let gzip = Some(Compression::Gzip);
        assert_eq!(split(b"\0\0\0\0\x02ab", None), Ok((b"ab".to_vec(), false)));
        assert_eq!(split(b"\0\0\0\0\0", gzip), Ok((vec![], false)));
        assert_eq!(split(b"\x01\0\0\0\x01a", gzip), Ok((b"a".to_vec(), true)));
        for wrong in [&b""[..], b"\0\0\0\0\x01ab", b"\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(split(wrong, None), Err(Some(Refusal::NotOneMessage)), "{wrong:?}");
        }
        for wrong in [&b"\0\0\0\0"[..], b"\0\0\0\0\x02a", b"\x02\0\0\0\0", b"\x01\0\0\0\0"] {
            assert_eq!(split(wrong, None), Err(None), "{wrong:?}");
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_the_message_arrives() {
        assert_eq!(total(b"\0\0\0\0", 9), Ok(None));
        assert_eq!(total(b"\0\0\0\0\x09", 9), Ok(Some(14)));
        assert_eq!(total(b"\0\0\0\0\x0a", 9), Err(too_large(9)));
    }
}
