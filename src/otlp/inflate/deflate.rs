//! Gzip, zlib and raw deflate.

use std::io::{self, ErrorKind, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

/// Inflate's state and its window of 32 KiB.
pub(super) const WORKING: u64 = 64 << 10;

/// Gzip: members one after another, each with its checksum.
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn gzip(body: Bytes) -> Box<dyn Read + Send> {
    Box::new(MultiGzDecoder::new(body.reader()))
}

/// One zlib stream, or one raw deflate stream where zlib's header is missing. (A raw stream that begins like one would be a stored block with
/// padding bits set, which no compressor writes.)
#[expect(clippy::disallowed_methods, reason = "behind the capped decompressor")]
pub(super) fn zlib_or_raw(body: Bytes) -> Box<dyn Read + Send> {
    let zlib = matches!(body.first_chunk(), Some(&[method, flags])
        if method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([method, flags]) % 31 == 0);
    Box::new(OneStream { state: Decompress::new(zlib), input: body, ended: false })
}

/// flate2's own reader takes a stream that is cut short for one that ended; this one does not.
struct OneStream {
    state: Decompress,
    input: Bytes,
    ended: bool,
}

impl Read for OneStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(&self.input, out, FlushDecompress::None)?;
        let taken = self.state.total_in() - before_in;
        let made = self.state.total_out() - before_out;
        self.input.advance(usize::try_from(taken).map_err(io::Error::other)?);
        self.ended = status == Status::StreamEnd;
        if self.ended && !self.input.is_empty() {
            return Err(ErrorKind::InvalidData.into());
        }
        if !self.ended && made == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        usize::try_from(made).map_err(io::Error::other)
    }
}
