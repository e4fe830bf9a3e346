//! OTLP/JSON becomes OTLP protobuf as it is read: one table of OTLP's messages (`otlp::descriptor`) says what each name means (`message`), and
//! protobuf bytes are written at once. No tree of values is built and no text is copied on the way, so that what a JSON request holds is its text
//! and its protobuf, both counted.
//!
//! What is taken is what OTLP allows (OTLP 1.11, "JSON Protobuf Encoding", and proto3's JSON mapping where it says nothing) and what ClickStack's
//! collector takes besides. The differential fuzz of `dev/oracle` compares the two; `docs/decisions/0008` lists where they differ:
//! - names in lowerCamelCase or as in the .proto files; unknown ones are skipped, whatever they hold; `null` is a field that is absent, or an
//!   element that is empty;
//! - trace and span ids are hex, other bytes base64 (either alphabet, padded or not);
//! - enums are integers or names; other numbers are numbers or strings, doubles also `"NaN"`, `"Infinity"` and `"-Infinity"`; what does not fit
//!   its field is refused, never cut;
//! - strings may hold control characters and bytes that are not UTF-8; half a surrogate pair is U+FFFD;
//! - a name that comes twice: the last number or string counts, lists append, messages merge, but for those of which only one counts (an
//!   array, a map, a metric's data): the last one replaces what was there;
//! - values nest 128 deep at the most. A record that nests deeper is left out, and said so in `partial_success`.
//!
//! A refusal says where, and which of OTLP's fields; it never repeats what was sent. A large text is transcoded off the reactor, from [`INLINE`]
//! bytes on.

mod encode;
mod message;
mod reader;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;

use self::encode::Encoder;
use self::message::Transcoder;
use self::reader::{MAX_DEPTH, Reader, Stop};
use super::buffer::Buffer;
use super::descriptor;
use super::inflate::INLINE;
use crate::blocking;
use crate::memory::Memory;
use crate::reply::Refusal;
use crate::signal::Signal;

/// A request that was JSON.
pub(super) struct Transcoded<M> {
    /// Counts the bytes.
    pub(super) memory: M,
    /// As protobuf.
    pub(super) bytes: Bytes,
    /// Records that nest too deep, and are left out.
    pub(super) dropped: u64,
}

/// Transcodes `text`, whose bytes `memory` counts as `counted`; what comes back is counted in their stead.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::TooLarge`] at `max` bytes of protobuf, [`Refusal::Unavailable`] when memory has no room.
pub(super) async fn to_protobuf<M: Memory>(
    mut memory: M,
    signal: Signal,
    text: Bytes,
    counted: u64,
    max: u64,
) -> Result<Transcoded<M>, Refusal> {
    let mut made = if text.len() > INLINE {
        memory.turn().await?;
        blocking::run_long(move || transcode(memory, signal, &text, max)).await??
    } else {
        transcode(memory, signal, &text, max)?
    };
    made.memory.shrink(counted);
    Ok(made)
}

/// [`to_protobuf`] on the calling thread, for fuzzing: the bytes, and how many records were left out.
#[doc(hidden)]
pub fn transcode_here<M: Memory>(memory: M, signal: Signal, text: &[u8], max: u64) -> Result<(Bytes, u64), Refusal> {
    transcode(memory, signal, text, max).map(|made| (made.bytes, made.dropped))
}

fn transcode<M: Memory>(memory: M, signal: Signal, text: &[u8], max: u64) -> Result<Transcoded<M>, Refusal> {
    let encoder = Encoder::new(Buffer::new(memory, max));
    let mut transcoder = Transcoder { reader: Reader::new(text), encoder, field: None, dropped: 0 };
    if let Err(stop) = transcoder.request(descriptor::request(signal)) {
        return Err(refusal(stop, transcoder.field, &transcoder.reader));
    }
    let dropped = transcoder.dropped;
    let (memory, bytes, _) = transcoder.encoder.into_buffer().into_parts();
    Ok(Transcoded { memory, bytes, dropped })
}

/// What a stop means to who sent the text, which may not be repeated.
fn refusal(stop: Stop, field: Option<&'static str>, reader: &Reader<'_>) -> Refusal {
    let (line, column) = reader.place();
    let place = format!("at line {line} column {column}");
    Refusal::Malformed(match (stop, field) {
        (Stop::Refused(refusal), _) => return refusal,
        (Stop::Short, _) => format!("the JSON is cut short {place}"),
        (Stop::Malformed, _) => format!("the JSON is not well-formed {place}"),
        (Stop::Deep, _) => format!("the JSON nests deeper than {MAX_DEPTH} {place}"),
        (Stop::Misfit, Some(field)) => {
            format!("the JSON field {field} holds something else than it may {place}")
        }
        (Stop::Misfit, None) => format!("the JSON is not an object {place}"),
    })
}
