//! gRPC's framing. A message that is taken is all of the body behind its prefix.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use otelgate::otlp::{Compression, fuzzing};

fuzz_target!(|data: &[u8]| {
    for compression in [None, Some(Compression::Gzip)] {
        if let Ok((message, _)) = fuzzing::message(Bytes::copy_from_slice(data), compression) {
            assert_eq!(message, data[5..]);
        }
    }
});
