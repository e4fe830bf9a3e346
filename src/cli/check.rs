//! `otelgate check`

use std::path::Path;

use otelgate::config::Mistakes;

use super::{count, load, print};

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let loaded = load(file)?;
    if !loaded.faults.is_empty() {
        return Err(Mistakes(loaded.faults).into());
    }
    let keys = count(loaded.keys.len(), "key");
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        some => format!(", {}", count(some, "warning")),
    };
    print(format_args!("{}: no mistakes, {keys}{warnings}\n", file.display()))
}
