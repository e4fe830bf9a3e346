//! OTLP/JSON becomes OTLP protobuf as it is parsed: one table of OTLP's messages (`otlp::descriptor`) drives one visitor (`message`), which writes
//! protobuf bytes. No tree of values is built, so that what a JSON request holds is its text, its protobuf, and the parser's copy of its longest
//! string, all counted.
//!
//! Rules (OTLP 1.11, "JSON Protobuf Encoding", and proto3's JSON mapping where it says nothing):
//! - names in lowerCamelCase; unknown names are skipped, whatever they hold; `null` is a field that is absent, or an element that is empty;
//! - trace and span ids are hex, other bytes base64 (either alphabet, padded or not);
//! - enums are integers; other numbers are numbers or strings, doubles also `"NaN"`, `"Infinity"` and `"-Infinity"`; what does not fit its field
//!   is refused, never cut;
//! - a name that comes twice is what the same field twice is in protobuf: the last number or string counts, messages merge, lists append;
//! - values nest 128 deep at the most.
//!
//! A refusal says where, and which of OTLP's fields; it never repeats what was sent. A large text is transcoded off the reactor, from [`INLINE`]
//! bytes on.

mod encode;
mod message;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use serde::de::DeserializeSeed;
use serde_json::error::Category;

use self::encode::Encoder;
use super::buffer::{Buffer, len};
use super::descriptor;
use super::inflate::INLINE;
use crate::blocking;
use crate::memory::Memory;
use crate::reply::Refusal;
use crate::signal::Signal;

/// Transcodes `text`, whose bytes `memory` counts as `counted`; what comes back is counted in their stead, by the number beside it.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::TooLarge`] at `max` bytes of protobuf, [`Refusal::Unavailable`] when memory has no room.
pub(super) async fn to_protobuf<M: Memory>(
    memory: M,
    signal: Signal,
    text: Bytes,
    counted: u64,
    max: u64,
) -> Result<(M, Bytes, u64), Refusal> {
    let (mut memory, bytes, made) = if text.len() > INLINE {
        blocking::run(move || transcode(memory, signal, &text, max)).await??
    } else {
        transcode(memory, signal, &text, max)?
    };
    memory.shrink(counted);
    Ok((memory, bytes, made))
}

/// [`to_protobuf`] on the calling thread, for fuzzing.
#[doc(hidden)]
pub fn transcode_here<M: Memory>(memory: M, signal: Signal, text: &[u8], max: u64) -> Result<Bytes, Refusal> {
    transcode(memory, signal, text, max).map(|(_, bytes, _)| bytes)
}

fn transcode<M: Memory>(mut memory: M, signal: Signal, text: &[u8], max: u64) -> Result<(M, Bytes, u64), Refusal> {
    let working = parser_copies(text);
    memory.grow(working)?;
    let mut encoder = Encoder::new(Buffer::new(memory, max));
    let mut parser = serde_json::Deserializer::from_slice(text);
    let request = message::Request { message: descriptor::request(signal), encoder: &mut encoder };
    request.deserialize(&mut parser).and_then(|()| parser.end()).map_err(|error| refusal(&mut encoder, &error))?;
    let (mut memory, bytes, made) = encoder.into_buffer().into_parts();
    memory.shrink(working);
    Ok((memory, bytes, made))
}

/// The most bytes that the parser copies: it does so with a string that has escapes in it and with a long number, into a buffer that doubles.
fn parser_copies(text: &[u8]) -> u64 {
    const SMALL: usize = 64 << 10;
    if text.len() <= SMALL {
        return 2 * len(text);
    }
    let (mut longest, mut start, mut after_escape) = (0, 0, 0);
    for at in memchr::memchr2_iter(b'"', b'\\', text) {
        if at < after_escape {
            continue;
        }
        if text.get(at) == Some(&b'\\') {
            after_escape = at + 2;
        } else {
            longest = longest.max(at - start);
            start = at;
        }
    }
    2 * u64::try_from(longest.max(text.len() - start)).unwrap_or(u64::MAX / 2)
}

/// What an error of the parser means; its own text may hold what was sent.
fn refusal<M>(encoder: &mut Encoder<M>, error: &serde_json::Error) -> Refusal {
    if let Some(refusal) = encoder.refusal.take() {
        return refusal;
    }
    let place = format!("line {} column {}", error.line(), error.column());
    Refusal::Malformed(match (error.classify(), encoder.field) {
        (Category::Eof, _) => format!("the JSON is cut short at {place}"),
        (Category::Data, Some(field)) => {
            format!("the JSON field {field} holds something else than it may at {place}")
        }
        (Category::Data, None) => format!("the JSON is not an object at {place}"),
        (Category::Syntax | Category::Io, _) => {
            format!("the JSON is not well-formed, or nests too deep, at {place}")
        }
    })
}
