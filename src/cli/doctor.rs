//! `otelgate doctor`

use std::path::Path;
use std::process::ExitCode;

use otelgate::doctor::{Outcome, examine};

use super::admin::block_on;
use super::{count, print};

/// 1 when something is wrong.
pub(super) fn run(file: &Path, json: bool, outside: Option<&str>) -> anyhow::Result<ExitCode> {
    let found = block_on(async { Ok(examine(file, outside).await) })?;
    let wrong = found.iter().filter(|finding| finding.outcome == Outcome::Wrong).count();
    if json {
        print(format_args!("{}\n", serde_json::to_string_pretty(&found)?))?;
    } else {
        found.iter().try_for_each(|finding| print(format_args!("{finding}\n")))?;
        let warnings = found.iter().filter(|finding| finding.outcome == Outcome::Warning).count();
        print(format_args!("{}, {wrong} wrong, {}\n", count(found.len(), "check"), count(warnings, "warning")))?;
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
