//! `otelgate doctor`: what is wrong with the whole, as a person would find it who looks at one thing after another.
//!
//! Each check is a look, which gathers facts, and a judgement, which is pure: facts in, a [`Finding`] out. A look that cannot be taken
//! is said, never guessed. Nothing is changed, but for one file of 4 KiB beside the spool that tells how long the disk takes.

mod any_certificate;
mod clickhouse;
mod clocks;
mod compose;
mod exposure;
mod knock;
#[cfg(test)]
mod list;
mod listener;
mod own;
mod running;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::config::{self, Process, Secret, SinkConfig, Tls};

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Works, and somebody should look after it.
    Warning,
    /// Has to be mended.
    Wrong,
    /// The look could not be taken.
    CannotTell,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name.
    pub check: &'static str,
    /// How it stands.
    pub outcome: Outcome,
    /// What was found, and what it means.
    pub what: String,
    /// How it was found.
    pub how: String,
    /// What mends it.
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>, how: impl Into<String>) -> Finding {
        Finding { check, outcome: Outcome::Ok, what: what.into(), how: how.into(), mend: None }
    }

    fn cannot_tell(check: &'static str, what: impl Into<String>, how: impl Into<String>) -> Finding {
        Finding { outcome: Outcome::CannotTell, ..Finding::ok(check, what, how) }
    }

    fn warning(self, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { outcome: Outcome::Warning, what: what.into(), mend: Some(mend.into()), ..self }
    }

    /// What is wrong is a warning only.
    fn softened(self) -> Finding {
        let outcome = if self.outcome == Outcome::Wrong { Outcome::Warning } else { self.outcome };
        Finding { outcome, ..self }
    }

    fn wrong(self, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { outcome: Outcome::Wrong, ..self.warning(what, mend) }
    }
}

impl fmt::Display for Finding {
    /// One line, and one more with what mends it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Wrong => "wrong",
            Outcome::CannotTell => "cannot tell",
        };
        write!(f, "{outcome:<12}{}: {} ({})", self.check, self.what, self.how)?;
        match &self.mend {
            Some(mend) => write!(f, "\n{:<12}→ {mend}", ""),
            None => Ok(()),
        }
    }
}

/// What else is looked at.
#[derive(Debug, Default)]
pub struct Also<'a> {
    /// The stack's ports at this address, as a stranger.
    pub outside: Option<&'a str>,
    /// What the process of this configuration says of itself at `/status`, or why that is not known; the caller asks it. `None`: it is not looked at.
    pub running: Option<Result<Value, String>>,
    /// A Compose file.
    pub compose: Option<&'a Path>,
    /// What HyperDX's user may do.
    pub reader: Option<Account<'a>>,
    /// Who may know what the ingest user may not.
    pub administrator: Option<Account<'a>>,
}

/// A user of ClickHouse, and its password.
pub type Account<'a> = (&'a str, Secret);

/// Looks at everything that a configuration names, and at what else is asked for.
pub async fn examine(file: &Path, also: Also<'_>) -> Vec<Finding> {
    let how = format!("read {}", file.display());
    let check = "configuration";
    let running = also.running.iter().flat_map(|said| running::look(file, said));
    let loaded = match config::load(file, &Process) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let ok = Finding::ok(check, "", how);
            let mistakes = mistakes.0.iter().map(|mistake| ok.clone().wrong(mistake.to_string(), "correct the file"));
            return mistakes.chain(running).chain(also.compose.into_iter().flat_map(compose::look)).collect();
        }
    };
    let mut found = own::remarks(&loaded, &how);
    found.extend(own::look(file, &loaded).await);
    found.extend(running);
    let plaintext = matches!(loaded.config.tls, Tls::Plaintext);
    found.extend(listener::look(&loaded.config.listen.otlp, plaintext).await);
    found.extend(clocks::look(&loaded.config).await);
    if let SinkConfig::ClickHouse(clickhouse) = &loaded.config.sink {
        found.extend(clickhouse::look(clickhouse, also.administrator).await);
        if let Some(account) = also.reader {
            found.extend(server::look_as(clickhouse, account).await);
        }
    }
    found.extend(also.compose.into_iter().flat_map(compose::look));
    if let Some(host) = also.outside {
        let own = loaded.config.listen.otlp.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>();
        found.extend(exposure::look(host, &own).await);
    }
    found
}
