//! `otelgate doctor`: what is wrong with the whole, as a person would find it who looks at one thing after another.
//!
//! Each check is a look, which gathers facts, and a judgement, which is pure: facts in, a [`Finding`] out. A look that cannot be taken
//! is said, never guessed. Nothing is changed, but for one file of 4 KiB beside the spool that tells how long the disk takes.

mod clickhouse;
mod exposure;
mod own;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::config::{self, Process, SinkConfig};

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

/// Looks at everything that a configuration names, and at the ports of `outside` as a stranger.
pub async fn examine(file: &Path, outside: Option<&str>) -> Vec<Finding> {
    let how = format!("read {}", file.display());
    let check = "configuration";
    let loaded = match config::load(file, &Process) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let ok = Finding::ok(check, "", how);
            return mistakes
                .0
                .iter()
                .map(|mistake| ok.clone().wrong(mistake.to_string(), "correct the file"))
                .collect();
        }
    };
    let mut found = own::remarks(&loaded, &how);
    found.extend(own::look(file, &loaded).await);
    if let SinkConfig::ClickHouse(clickhouse) = &loaded.config.sink {
        found.extend(clickhouse::look(clickhouse).await);
    }
    if let Some(host) = outside {
        let own = loaded.config.listen.otlp.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>();
        found.extend(exposure::look(host, &own).await);
    }
    found
}
