//! The program `otelgate`: arguments in, exit code out. Everything else is in the library.

mod cli;

/// Requests and blocks of megabytes come and go on every thread. glibc's allocator gives memory back from the end of a heap only, and keeps what one
/// large request needed for as long as the program runs; jemalloc gives it back within twenty seconds (`docs/decisions/0013-allocator.md`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use tikv_jemallocator::Jemalloc as System;

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
use std::alloc::System;

/// Keys that requests present pass through the buffers of many crates: what is freed is wiped.
#[global_allocator]
static ALLOCATOR: wiping::Wiping<System> = wiping::Wiping(System);

fn main() -> std::process::ExitCode {
    cli::run()
}
