//! Zstandard (RFC 8878).

use std::io::Read;

use bytes::{Buf, Bytes};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::corrupt;
use crate::reply::Refusal;

/// The decompressor's memory besides its window.
const CONTEXT: u64 = 512 << 10;
/// Base-2 logarithm of the largest window: 8 MiB, which RFC 9659 sets for content codings.
const WINDOW_LOG: u32 = 23;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Set in a frame's descriptor when the frame has no window but its content.
const SINGLE_SEGMENT: u8 = 1 << 5;

/// Frames one after another.
///
/// # Errors
/// [`Refusal::Malformed`] when the decompressor cannot be made.
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn frames(body: Bytes) -> Result<Box<dyn Read + Send>, Refusal> {
    let mut decoder = Decoder::with_buffer(body.reader()).map_err(|_| corrupt())?;
    decoder.window_log_max(WINDOW_LOG).map_err(|_| corrupt())?;
    Ok(Box::new(decoder))
}

/// Bytes that the decompressor needs for the largest window of `body`'s frames.
///
/// # Errors
/// [`Refusal::Malformed`] for a window over 8 MiB.
pub(super) fn working(mut body: &[u8]) -> Result<u64, Refusal> {
    let mut largest = 0;
    while let Some(window) = window(body) {
        if window > 1 << WINDOW_LOG {
            let why = "the zstd window is larger than 8 MiB".to_owned();
            return Err(Refusal::Malformed(why));
        }
        largest = largest.max(window);
        // What is wrong with the frame is for the decompressor to say.
        let Ok(length) = find_frame_compressed_size(body) else {
            break;
        };
        body = body.get(length..).unwrap_or_default();
    }
    Ok(largest + CONTEXT)
}

/// A frame's window (RFC 8878, 3.1.1.1.2), or less when its content is smaller; `None` at the end, 0 for a skippable frame.
fn window(frame: &[u8]) -> Option<u64> {
    let (magic, rest) = frame.split_first_chunk()?;
    if *magic != MAGIC {
        return Some(0);
    }
    let content = get_frame_content_size(frame).ok().flatten();
    match rest.first_chunk()? {
        [descriptor, _] if descriptor & SINGLE_SEGMENT != 0 => content,
        [_, window] => {
            let base = 1_u64 << (10 + (window >> 3));
            let size = base + base / 8 * u64::from(window & 7);
            Some(content.map_or(size, |content| size.min(content)))
        }
    }
}
