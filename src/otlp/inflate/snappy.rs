//! Snappy, as one block (what most HTTP clients send) or framed (what gRPC clients send).

use std::io::Read;

use bytes::{Buf, Bytes};
use snap::read::FrameDecoder;

use super::{corrupt, len_of};
use crate::reply::Refusal;
use crate::varint;

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

/// A block on its way to being inflated, so many bytes at a time: the `snap` crate makes all of it in one go, which for 64 MiB takes a core for tens of milliseconds. What
/// this makes is what that makes (`a_block_is_what_snap_makes_of_it`).
///
/// Format: <https://github.com/google/snappy/blob/main/format_description.txt>.
pub(super) struct Block {
    bytes: Bytes,
    /// So much of it is read.
    taken: usize,
    /// Bytes that it has still to make.
    left: usize,
    /// What is being made, and how many bytes of it are still to be.
    element: (Element, usize),
}

#[derive(Clone, Copy)]
enum Element {
    /// Bytes that stand in the block.
    Literal,
    /// Bytes that were made so many bytes before.
    Copy(usize),
}

impl Block {
    /// Nothing of it is made yet.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it declares no length, or one that its own length cannot make.
    pub(super) fn new(bytes: Bytes) -> Result<Self, Refusal> {
        let (declared, rest) = varint::split(&bytes).ok_or_else(corrupt)?;
        let left = usize::try_from(declared).ok().filter(|declared| *declared <= bytes.len().saturating_mul(RATIO));
        let (left, taken) = (left.ok_or_else(corrupt)?, bytes.len() - rest.len());
        Ok(Block { bytes, taken, left, element: (Element::Literal, 0) })
    }

    /// How many bytes it has still to make.
    pub(super) fn left(&self) -> u64 {
        len_of(self.left)
    }

    /// Makes what fits into `out` from `at` on, behind all that it made before; returns how many bytes these were, none at its end.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when the block is corrupt, cut short, or goes on behind its end.
    pub(super) fn read(&mut self, out: &mut [u8], at: usize) -> Result<usize, Refusal> {
        if self.left == 0 {
            return if self.taken == self.bytes.len() { Ok(0) } else { Err(corrupt()) };
        }
        let most = self.left.min(out.len().saturating_sub(at));
        self.fill(out, at, at + most).ok_or_else(corrupt)?;
        self.left -= most;
        Ok(most)
    }

    /// Fills `out` from `at` to `end`.
    fn fill(&mut self, out: &mut [u8], mut at: usize, end: usize) -> Option<()> {
        let last = at + self.left;
        let mut rest = self.bytes.get(self.taken..)?;
        let (mut element, mut length) = self.element;
        while at < end {
            if length == 0 {
                (element, length) = next(&mut rest)?;
                if length > last - at {
                    return None;
                }
            }
            let now = length.min(end - at);
            match element {
                Element::Literal => {
                    let (bytes, after) = rest.split_at_checked(now)?;
                    if now > WIDE || !wide(out, at, rest) {
                        out.get_mut(at..at + now)?.copy_from_slice(bytes);
                    }
                    rest = after;
                }
                Element::Copy(back) => {
                    let from = at.checked_sub(back)?;
                    if back < WIDE || now > WIDE || !wide_within(out, at, from) {
                        repeat(out.get_mut(from..at + now)?, back)?;
                    }
                }
            }
            (at, length) = (at + now, length - now);
        }
        self.element = (element, length);
        self.taken = self.bytes.len() - rest.len();
        Some(())
    }
}

/// The next element and its length; nothing where there is none, or only a part of it.
#[inline]
fn next(rest: &mut &[u8]) -> Option<(Element, usize)> {
    let [tag] = take(rest)?;
    let upper = usize::from(tag >> 2);
    Some(match tag & 3 {
        0 if upper < 60 => (Element::Literal, upper + 1),
        0 => (Element::Literal, long(rest, upper - 59)?.checked_add(1)?),
        1 => (Element::Copy(upper >> 3 << 8 | usize::from(u8::from_le_bytes(take(rest)?))), (upper & 7) + 4),
        2 => (Element::Copy(usize::from(u16::from_le_bytes(take(rest)?))), upper + 1),
        _ => (Element::Copy(long(rest, 4)?), upper + 1),
    })
}

#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

/// A number of so many bytes, the lowest first.
fn long(rest: &mut &[u8], bytes: usize) -> Option<usize> {
    let (number, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(number.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Most elements are shorter, and so many bytes are copied sooner than fewer: what is too much is written again by the next one.
const WIDE: usize = 16;

/// Copies [`WIDE`] bytes; says whether there were so many.
#[inline]
fn wide(out: &mut [u8], at: usize, from: &[u8]) -> bool {
    let to = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<WIDE>);
    to.zip(from.first_chunk()).map(|(to, from)| *to = *from).is_some()
}

/// The same from what was made before.
#[inline]
fn wide_within(out: &mut [u8], at: usize, from: usize) -> bool {
    let bytes = out.get(from..).and_then(<[u8]>::first_chunk::<WIDE>).copied();
    bytes.is_some_and(|bytes| wide(out, at, &bytes))
}

/// Repeats the first `back` bytes until `out` is full; nothing where there are none.
fn repeat(out: &mut [u8], back: usize) -> Option<()> {
    let mut made = back;
    while made < out.len() {
        let now = made.min(out.len() - made);
        if now == 0 {
            return None;
        }
        out.copy_within(..now, made);
        made += now;
    }
    Some(())
}
