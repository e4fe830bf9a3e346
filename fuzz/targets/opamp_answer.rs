//! What ClickStack's app answers, and the collector's configuration in it: read, or refused; never more keys than it has bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert!(otelgate::keys::fuzzing::opamp_answer(data) <= data.len());
    assert!(otelgate::keys::fuzzing::ingestion(data) <= data.len());
});
