//! The program `otelgate`: arguments in, exit code out. Everything else is in the library.

mod cli;

/// Keys that requests present pass through the buffers of many crates: what is freed is wiped.
#[global_allocator]
static ALLOCATOR: wiping::Wiping = wiping::Wiping;

fn main() -> std::process::ExitCode {
    cli::run()
}
