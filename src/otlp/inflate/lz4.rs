//! One LZ4 frame. Concatenated, skippable and legacy frames are not taken: no client sends them, and each would cost new buffers.

use std::io::{self, ErrorKind, Read};

use bytes::{Buf, Bytes};
use lz4_flex::frame::FrameDecoder;

use super::corrupt;
use crate::reply::Refusal;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// The most output that a byte of a block can make: it makes a copy that much longer.
pub(super) const RATIO: u64 = 255;

/// Bytes that the decompressor needs: a block compressed, two decompressed, and the window between them.
///
/// # Errors
/// As [`block`].
pub(super) fn working(body: &[u8]) -> Result<u64, Refusal> {
    Ok(block(body)? * 3 + (64 << 10))
}

/// Bytes of the frame's largest block, which is inflated in one go.
///
/// # Errors
/// [`Refusal::Malformed`] when `body` does not begin like a frame.
pub(super) fn block(body: &[u8]) -> Result<u64, Refusal> {
    match body.split_first_chunk() {
        Some((&MAGIC, [_, block, ..])) => {
            // LZ4 frame format: 4 is 64 KiB, and each step up is four times that, up to 7.
            let steps = (block >> 4 & 7).saturating_sub(4);
            Ok(64 << 10 << (2 * steps))
        }
        _ => Err(corrupt()),
    }
}

/// The frame's reader.
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn frame(body: Bytes) -> Box<dyn Read + Send> {
    Box::new(OneFrame { decoder: FrameDecoder::new(Input { bytes: body, ran_dry: false }), ended: false })
}

/// lz4_flex takes a frame that is cut short between blocks for one that ended; what it asked of its input tells them apart.
struct OneFrame {
    decoder: FrameDecoder<Input>,
    ended: bool,
}

impl Read for OneFrame {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let got = self.decoder.read(out)?;
        if got == 0 && !out.is_empty() {
            let input = self.decoder.get_ref();
            if input.ran_dry {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if !input.bytes.is_empty() {
                return Err(ErrorKind::InvalidData.into());
            }
            self.ended = true;
        }
        Ok(got)
    }
}

struct Input {
    bytes: Bytes,
    ran_dry: bool,
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.ran_dry |= self.bytes.len() < out.len();
        let got = out.len().min(self.bytes.len());
        self.bytes.copy_to_slice(out.get_mut(..got).unwrap_or_default());
        Ok(got)
    }
}
