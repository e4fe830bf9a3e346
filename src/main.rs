//! The program `otelgate`: arguments in, exit code out. Everything else is in the library.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
