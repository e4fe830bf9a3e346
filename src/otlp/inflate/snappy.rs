//! Snappy, as one block (what most HTTP clients send) or framed (what gRPC clients send).

use std::io::Read;

use bytes::{Buf, Bytes};
use snap::raw::{Decoder, decompress_len};
use snap::read::FrameDecoder;

use super::corrupt;
use crate::reply::Refusal;

/// The framed reader's two buffers.
pub(super) const WORKING: u64 = 160 << 10;

/// The stream identifier that framed Snappy begins with. As a block it would be a copy from before the block's start, so that no block begins so.
const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// The most output that a byte of a block can make: a copy of three bytes makes 64.
const RATIO: usize = 22;

/// Whether `body` is framed.
pub(super) fn is_framed(body: &[u8]) -> bool {
    body.starts_with(IDENTIFIER)
}

/// The reader of a framed body.
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn framed(body: Bytes) -> Box<dyn Read + Send> {
    Box::new(FrameDecoder::new(body.reader()))
}

/// The length that a block says it inflates to.
///
/// # Errors
/// [`Refusal::Malformed`] when it says none, or one that its own length cannot make.
pub(super) fn declared(block: &[u8]) -> Result<usize, Refusal> {
    let declared = decompress_len(block).map_err(|_| corrupt())?;
    if declared > block.len().saturating_mul(RATIO) {
        return Err(corrupt());
    }
    Ok(declared)
}

/// Inflates a block into `out`, which is as long as it declared; returns that length.
///
/// # Errors
/// [`Refusal::Malformed`] when the block is corrupt.
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn block(block: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
    Decoder::new().decompress(block, out).map_err(|_| corrupt())
}
