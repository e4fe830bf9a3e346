//! `otelgate doctor`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use otelgate::config::{self, Process, Secret};
use otelgate::doctor::{Also, Outcome, examine};

use super::{admin, count, print};

/// Where passwords are read from: arguments are seen by everybody on the machine.
const READERS_PASSWORD: &str = "OTELGATE_AS_PASSWORD";
const ADMINISTRATORS_PASSWORD: &str = "OTELGATE_ADMINISTRATOR_PASSWORD";

/// What else is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct More {
    /// Knock at the stack's ports at this address, as a stranger would
    #[arg(long, value_name = "HOST")]
    from_outside: Option<String>,
    /// Read this Compose file: published ports, missing and written secrets
    #[arg(long, value_name = "FILE")]
    compose: Option<PathBuf>,
    /// Log in to ClickHouse as HyperDX's user too, with the password in OTELGATE_AS_PASSWORD: what it may do, and its settings
    #[arg(long = "as", value_name = "USER")]
    reader: Option<String>,
    /// Log in to ClickHouse as this user too, with the password in OTELGATE_ADMINISTRATOR_PASSWORD: quota, addresses and logs, which the ingest user may
    /// not know
    #[arg(long, value_name = "USER")]
    administrator: Option<String>,
}

/// 1 when something is wrong.
pub(super) fn run(file: &Path, json: bool, more: &More) -> anyhow::Result<ExitCode> {
    let account = |user: &'_ Option<String>, variable| {
        let password = Secret::new(std::env::var(variable).unwrap_or_default());
        user.clone().map(|user| (user, password))
    };
    let (reader, administrator) =
        (account(&more.reader, READERS_PASSWORD), account(&more.administrator, ADMINISTRATORS_PASSWORD));
    let found = admin::block_on(async {
        let running = match config::load_places(file, &Process) {
            Ok(places) => Some(admin::status(&places).await),
            Err(_) => None,
        };
        let also = Also {
            running,
            outside: more.from_outside.as_deref(),
            compose: more.compose.as_deref(),
            reader: reader.as_ref().map(|(user, password)| (user.as_str(), password.clone())),
            administrator: administrator.as_ref().map(|(user, password)| (user.as_str(), password.clone())),
        };
        Ok(examine(file, also).await)
    })?;
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
