//! ClickHouse's compressed frames, as `decompress=1` takes them: a CityHash128 (of CityHash 1.0.2) over what follows, a
//! method, the frame's size from the method on, the size of what is in it, and the compressed bytes.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::factory::Compression;

/// What one frame holds before compression: ClickHouse's own `max_compress_block_size`.
const FRAME: usize = 1 << 20;
const CHECKSUM: usize = 16;
const HEADER: usize = 9;

/// Compresses, keeping its table from frame to frame.
pub(super) struct Compressor {
    method: Compression,
    table: CompressTable,
    /// Where a frame is compressed; its length is not known before.
    buffer: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(method: Compression) -> Compressor {
        Compressor { method, table: CompressTable::large(), buffer: Vec::new() }
    }

    /// The frames of `raw`.
    pub(super) fn frames(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(raw.len() / 3 + CHECKSUM + HEADER);
        for chunk in raw.chunks(FRAME) {
            let start = out.len();
            out.resize(start + CHECKSUM + HEADER, 0);
            let method = self.compress(chunk, &mut out);
            let frame = &mut out[start..];
            // A frame is 1 MiB before compression, and hardly more after it.
            let size = u32::try_from(frame.len() - CHECKSUM).unwrap_or(u32::MAX);
            let raw_size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            frame[CHECKSUM] = method;
            frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&size.to_le_bytes());
            frame[CHECKSUM + 5..CHECKSUM + 9].copy_from_slice(&raw_size.to_le_bytes());
            let checksum = cityhash_rs::cityhash_102_128(&frame[CHECKSUM..]).rotate_right(64);
            frame[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        }
        out
    }

    /// Appends the compressed bytes and returns the method's number. What does not get smaller goes as it is.
    fn compress(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> u8 {
        const NONE: u8 = 0x02;
        const LZ4: u8 = 0x82;
        const ZSTD: u8 = 0x90;
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
            Some((method, len)) if len < chunk.len() => {
                out.extend_from_slice(&self.buffer[..len]);
                method
            }
            _ => {
                out.extend_from_slice(chunk);
                NONE
            }
        }
    }
}
