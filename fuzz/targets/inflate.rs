//! The decompressor, in every encoding: the first byte chooses it. Output never passes the limit, and a block of Snappy becomes what the `snap` crate makes of it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use otelgate::otlp::{Compression, fuzzing};
use otelgate_fuzz::Budget;

const MAX: u64 = 1 << 20;

/// What framed Snappy begins with.
const FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// What the `snap` crate makes of a block.
fn snap_makes(block: &[u8]) -> Option<Vec<u8>> {
    snap::raw::decompress_len(block).ok().filter(|declared| *declared as u64 <= MAX)?;
    snap::raw::Decoder::new().decompress_vec(block).ok()
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let compression = match choice % 5 {
        0 => Compression::Gzip,
        1 => Compression::Zstd,
        2 => Compression::Deflate,
        3 => Compression::Snappy,
        _ => Compression::Lz4,
    };
    let result = fuzzing::inflate_here(Budget::new(16 * MAX), compression, Bytes::copy_from_slice(body), MAX);
    if let Ok(output) = &result {
        assert!(output.len() as u64 <= MAX);
    }
    if compression == Compression::Snappy && !body.starts_with(FRAMED) {
        assert_eq!(result.ok().as_deref(), snap_makes(body).as_deref());
    }
});
