//! The one decompressor, for every encoding: it stops at the limit, reserves its output and its own working memory before it uses them, and
//! takes a body only when it is whole. No other code calls a decompressor on what a client sent (`clippy.toml` sees to it).
//!
//! A small body can inflate to a thousand times its size, so its length says little about the work: the first [`INLINE`] bytes of output are
//! made where the request is, which for most requests is all of it (the number is an estimate of a millisecond's work, not a measurement), and the rest on a thread for blocking
//! work, where it holds up no connection, [`TURN`] bytes a turn. What can make a core work for long and give nothing meanwhile (a large body of empty members, a large block of LZ4)
//! goes there from the start.

mod deflate;
mod lz4;
mod snappy;
mod zstd;

#[cfg(test)]
mod tests;

use std::io::Read;

use bytes::Bytes;

use super::Compression;
use super::buffer::{Buffer, too_large};
use crate::blocking;
use crate::memory::Memory;
use crate::reply::Refusal;

/// Output that is made on the connection's own thread, in bytes.
pub(super) const INLINE: usize = 256 << 10;

/// Output that is made in a turn, in bytes: some 1 to 10 ms of work.
const TURN: usize = 2 << 20;

/// A body on its way to being inflated.
struct Inflating<M> {
    source: Source,
    output: Buffer<M>,
    max: u64,
}

enum Source {
    /// Gives output piece by piece.
    Stream(Box<dyn Read + Send>),
    /// The same, which looks back at what it gave.
    Block(snappy::Block),
}

/// Inflates `body`, whose bytes `memory` counts as `counted`; what comes back is counted in their stead, by the number beside it.
///
/// # Errors
/// [`Refusal::TooLarge`] at `max` bytes of output, [`Refusal::Malformed`] for what is corrupt, cut short or followed by something else,
/// [`Refusal::Unavailable`] when memory has no room.
pub(super) async fn inflate<M: Memory>(
    memory: M,
    compression: Compression,
    body: Bytes,
    counted: u64,
    max: u64,
) -> Result<(M, Bytes, u64), Refusal> {
    let short = is_short(compression, &body);
    let (mut inflating, working) = Inflating::begin(memory, compression, body, max)?;
    if !short || !inflating.advance(INLINE)? {
        let mut done = false;
        while !done {
            inflating.output.memory().turn().await?;
            (inflating, done) = blocking::run_long(move || {
                let done = inflating.advance(TURN)?;
                Ok::<_, Refusal>((inflating, done))
            })
            .await??;
        }
    }
    let Inflating { source, output, .. } = inflating;
    drop(source);
    let (mut memory, bytes, inflated) = output.into_parts();
    memory.shrink(counted.saturating_add(working));
    Ok((memory, bytes, inflated))
}

/// Whether [`INLINE`] bytes of output are made soon, whatever is in `body`.
fn is_short(compression: Compression, body: &[u8]) -> bool {
    let at_once = match compression {
        Compression::Lz4 => lz4::block(body).unwrap_or(0).min(len_of(body.len()).saturating_mul(lz4::RATIO)),
        _ => 0,
    };
    len_of(body.len()).max(at_once) <= len_of(INLINE)
}

/// [`inflate`] on the calling thread, for fuzzing.
#[doc(hidden)]
pub fn inflate_here<M: Memory>(memory: M, compression: Compression, body: Bytes, max: u64) -> Result<Bytes, Refusal> {
    let (mut inflating, _) = Inflating::begin(memory, compression, body, max)?;
    while !inflating.advance(usize::MAX)? {}
    Ok(inflating.output.into_parts().1)
}

impl<M: Memory> Inflating<M> {
    /// Looks at the body's first bytes, reserves what its decompressor needs (the number that is returned) and makes it.
    fn begin(mut memory: M, compression: Compression, body: Bytes, max: u64) -> Result<(Self, u64), Refusal> {
        if body.is_empty() {
            return Err(corrupt());
        }
        let working = match compression {
            Compression::Gzip | Compression::Deflate => deflate::WORKING,
            Compression::Zstd => zstd::working(&body)?,
            Compression::Snappy => snappy::WORKING,
            Compression::Lz4 => lz4::working(&body)?,
        };
        memory.lend(working)?;
        let mut output = Buffer::new(memory, max);
        let source = match compression {
            Compression::Gzip => Source::Stream(deflate::gzip(body)),
            Compression::Deflate => Source::Stream(deflate::zlib_or_raw(body)),
            Compression::Zstd => Source::Stream(zstd::frames(body)?),
            Compression::Lz4 => Source::Stream(lz4::frame(body)),
            Compression::Snappy if snappy::is_framed(&body) => Source::Stream(snappy::framed(body)),
            Compression::Snappy => {
                let block = snappy::Block::new(body)?;
                if block.left() > max {
                    return Err(too_large(max));
                }
                output.aim_at(block.left());
                Source::Block(block)
            }
        };
        let inflating = Inflating { source, output, max };
        Ok((inflating, working))
    }

    /// Makes up to `budget` bytes of output; says whether that was the end.
    fn advance(&mut self, budget: usize) -> Result<bool, Refusal> {
        let mut made = 0;
        while made < budget {
            let left = self.output.left();
            if left == 0 {
                return match self.source.read(&mut [0], 0) {
                    Ok(0) => Ok(true),
                    Ok(_) => Err(too_large(self.max)),
                    Err(_) => Err(corrupt()),
                };
            }
            let most = self.output.spare().clamp(PIECE, INLINE);
            let most = most.min(usize::try_from(left).unwrap_or(most));
            let got = self.output.read(most, |out, at| self.source.read(out, at))?;
            if got == 0 {
                return Ok(true);
            }
            made += got;
        }
        Ok(false)
    }
}

impl Source {
    /// Gives what fits into `out` from `at` on, behind all that it gave before; nothing at its end.
    fn read(&mut self, out: &mut [u8], at: usize) -> Result<usize, Refusal> {
        match self {
            Source::Stream(source) => source.read(out.get_mut(at..).unwrap_or_default()).map_err(|_| corrupt()),
            Source::Block(block) => block.read(out, at),
        }
    }
}

/// The least output that is asked for at a time.
const PIECE: usize = 8 << 10;

fn len_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn corrupt() -> Refusal {
    Refusal::Malformed("the compressed bytes are corrupt or cut short".to_owned())
}
