//! An issuer's keys (JWKS) and a token, with a zero byte between them. No token that was made up is good, whatever keys an issuer publishes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (keys, token) = data.split_at(at);
    assert!(!otelgate::keys::fuzzing::token(keys, token.get(1..).unwrap_or_default()));
});
