//! A spool file of which anything may have become, in a folder that a process starts on. The start never fails on it, and makes
//! no room for more than is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otelgate::spool::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::start_on(data));
