//! ClickHouse's compressed frames, as `decompress=1` takes them: a CityHash128 (of CityHash 1.0.2) over what follows, a
//! method, the frame's size from the method on, the size of what is in it, and the compressed bytes.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::native::Output;
use super::settings::Compression;

/// What one frame holds before compression: ClickHouse's own `max_compress_block_size`.
const FRAME: usize = 1 << 20;
const NONE: u8 = 0x02;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
const CHECKSUM: usize = 16;
const HEADER: usize = 9;

/// Bytes that lie together are compressed from where they are when they are this many, so that a block is not copied first. A frame of its
/// own costs ClickHouse little from this size on.
const TOGETHER: usize = 32 << 10;

/// Compresses, keeping its table and its buffers from block to block.
pub(super) struct Compressor {
    method: Compression,
    table: CompressTable,
    /// Where a frame is compressed; its length is not known before.
    buffer: Vec<u8>,
    /// What lies in no frame yet.
    pieces: Vec<u8>,
    frames: Vec<u8>,
    uncompressed: usize,
}

impl Compressor {
    pub(super) fn new(method: Compression) -> Compressor {
        Compressor {
            method,
            table: CompressTable::large(),
            buffer: Vec::new(),
            pieces: Vec::new(),
            frames: Vec::new(),
            uncompressed: 0,
        }
    }

    /// Makes room for the frames of about this many bytes.
    pub(super) fn expect(&mut self, uncompressed: u64) {
        self.frames.reserve(usize::try_from(uncompressed / 3).unwrap_or(0));
    }

    /// The frames of all that was written, and how many bytes that was.
    pub(super) fn finish(&mut self) -> (Vec<u8>, u64) {
        self.flush();
        (std::mem::take(&mut self.frames), std::mem::take(&mut self.uncompressed) as u64)
    }

    fn flush(&mut self) {
        /// What the idle buffer may hold on to.
        const KEEP: usize = 1 << 20;
        let mut pieces = std::mem::take(&mut self.pieces);
        self.put(&pieces);
        pieces.clear();
        pieces.shrink_to(KEEP);
        self.pieces = pieces;
    }

    fn put(&mut self, raw: &[u8]) {
        self.uncompressed += raw.len();
        for chunk in raw.chunks(FRAME) {
            self.frame(chunk);
        }
    }

    fn frame(&mut self, raw: &[u8]) {
        let start = self.frames.len();
        self.frames.resize(start + CHECKSUM + HEADER, 0);
        let method = self.compress(raw);
        let frame = &mut self.frames[start..];
        // A frame is 1 MiB before compression, and hardly more after it.
        let size = u32::try_from(frame.len() - CHECKSUM).unwrap_or(u32::MAX);
        let raw_size = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        frame[CHECKSUM] = method;
        frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&size.to_le_bytes());
        frame[CHECKSUM + 5..CHECKSUM + 9].copy_from_slice(&raw_size.to_le_bytes());
        let checksum = cityhash_rs::cityhash_102_128(&frame[CHECKSUM..]).rotate_right(64);
        frame[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Appends the compressed bytes and returns the method's number. What does not get smaller is compressed too: ClickHouse refuses a body
    /// whose frames have different methods.
    fn compress(&mut self, chunk: &[u8]) -> u8 {
        const ZSTD_LEVEL: i32 = 1;
        let bound = get_maximum_output_size(chunk.len()).max(zstd::zstd_safe::compress_bound(chunk.len()));
        if self.buffer.len() < bound {
            self.buffer.resize(bound, 0);
        }
        let written = match self.method {
            Compression::None => None,
            Compression::Lz4 => {
                compress_into_with_table(chunk, &mut self.buffer, &mut self.table).ok().map(|len| (LZ4, len))
            }
            Compression::Zstd => {
                zstd::bulk::compress_to_buffer(chunk, &mut self.buffer, ZSTD_LEVEL).ok().map(|len| (ZSTD, len))
            }
        };
        match written {
            Some((method, len)) => {
                self.frames.extend_from_slice(&self.buffer[..len]);
                method
            }
            // Asked for; a compressor with that much room does not fail.
            None => {
                self.frames.extend_from_slice(chunk);
                NONE
            }
        }
    }
}

/// What lies in frames one after another; nothing when they are not what was written here.
#[expect(clippy::disallowed_methods, reason = "what the gateway itself compressed, in frames of a known size")]
pub(in crate::sink::clickhouse) fn inflate(mut frames: &[u8]) -> Option<Vec<u8>> {
    let mut raw = Vec::new();
    while !frames.is_empty() {
        let (_, rest) = frames.split_at_checked(CHECKSUM)?;
        let (head, _) = rest.split_first_chunk::<HEADER>()?;
        let [method, a, b, c, d, e, f, g, h] = *head;
        let size = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let raw_size = usize::try_from(u32::from_le_bytes([e, f, g, h])).ok()?;
        let (frame, rest) = rest.split_at_checked(size)?;
        let packed = frame.get(HEADER..)?;
        if raw_size > FRAME {
            return None;
        }
        match method {
            NONE => raw.extend_from_slice(packed),
            LZ4 => raw.extend(lz4_flex::block::decompress(packed, raw_size).ok()?),
            ZSTD => raw.extend(zstd::bulk::decompress(packed, raw_size).ok()?),
            _ => return None,
        }
        frames = rest;
    }
    Some(raw)
}

impl Output for Compressor {
    fn pieces(&mut self) -> &mut Vec<u8> {
        &mut self.pieces
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if bytes.len() < TOGETHER {
            self.pieces.extend_from_slice(bytes);
        } else {
            self.flush();
            self.put(bytes);
        }
    }
}
