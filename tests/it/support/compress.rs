//! Compressors, one for each content encoding that a client may use.

use std::io::{Read, Write};

use flate2::Compression;

/// Compresses `bytes`; `form` is a content encoding, or `snappy-framed` and `deflate-raw` for an encoding's second form.
pub fn compress(form: &str, bytes: &[u8]) -> Vec<u8> {
    let read = |mut reader: Box<dyn Read + '_>| {
        let mut compressed = Vec::new();
        reader.read_to_end(&mut compressed).expect("in memory");
        compressed
    };
    match form {
        "gzip" => read(Box::new(flate2::read::GzEncoder::new(bytes, Compression::fast()))),
        "zlib" | "deflate" => read(Box::new(flate2::read::ZlibEncoder::new(bytes, Compression::fast()))),
        "deflate-raw" => read(Box::new(flate2::read::DeflateEncoder::new(bytes, Compression::fast()))),
        "zstd" => zstd::bulk::compress(bytes, 1).expect("in memory"),
        "snappy" => snap::raw::Encoder::new().compress_vec(bytes).expect("in memory"),
        "snappy-framed" => read(Box::new(snap::read::FrameEncoder::new(bytes))),
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect("in memory");
            encoder.finish().expect("in memory")
        }
        _ => unreachable!("no such form: {form}"),
    }
}

/// The content encoding that names a form.
pub fn encoding(form: &str) -> &str {
    form.trim_end_matches("-framed").trim_end_matches("-raw")
}
