//! The PROXY header. It is never asked for more than its most, and what is whole stays so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otelgate::proxied::{Header, MAX_HEADER, header};

fuzz_target!(|data: &[u8]| {
    let mut have = 0;
    while let Some(bytes) = data.get(..have) {
        match header(bytes) {
            Ok(Header::Needs(more)) => {
                assert!(more > have && more <= MAX_HEADER);
                have = more;
            }
            Ok(Header::Whole(_)) | Err(_) => return,
        }
    }
});
