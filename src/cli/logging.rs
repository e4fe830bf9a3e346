//! Where the log goes and how it looks: to standard error, as text for a person at a terminal, as JSON for a machine.

use std::io::{IsTerminal, stderr};

use otelgate::config::Log;
use tracing_subscriber::{EnvFilter, fmt};

/// Sets the log up for the whole process.
pub(super) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let lines = fmt().with_env_filter(filter).with_writer(stderr);
    let set = match stderr().is_terminal() {
        true => lines.with_target(false).try_init(),
        false => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(anyhow::Error::from_boxed)
}
