//! The decompressor, in every encoding: the first byte chooses it. Output never passes the limit.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use otelgate::otlp::{Compression, fuzzing};
use otelgate_fuzz::Budget;

const MAX: u64 = 1 << 20;

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
    if let Ok(output) = result {
        assert!(output.len() as u64 <= MAX);
    }
});
