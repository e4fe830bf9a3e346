//! `otelgate drain`: has the running process deliver everything and end, and says how far it is.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use otelgate::config::{self, Places};
use serde::Deserialize;

use super::{admin, count, rows};

/// How often the process is asked.
const EVERY: Duration = Duration::from_millis(500);

/// What the process answers.
#[derive(Debug, Deserialize)]
struct Progress {
    stage: String,
    waiting: u64,
    held: u64,
    quarantined: u64,
    why: Vec<String>,
    sink: Sink,
}

#[derive(Debug, Deserialize)]
struct Sink {
    why: Option<String>,
}

impl Progress {
    fn line(&self) -> String {
        let mut line = match self.stage.as_str() {
            "delivered" => return "everything is delivered".to_owned(),
            "leaving" => "not ready any more; requests are still taken until shutdown.drain_delay is over".to_owned(),
            stage => format!("{stage}: {} to deliver", rows(self.waiting + self.held)),
        };
        if let Some(why) = &self.sink.why {
            line += &format!("; {why}");
        }
        line
    }

    /// Whether only a person can have the rest delivered.
    fn is_stuck(&self) -> bool {
        self.stage == "delivering" && self.waiting == 0 && self.held > 0
    }
}

pub(super) fn run(file: &Path, timeout: Option<Duration>) -> anyhow::Result<()> {
    let config = config::load_places(file, &config::Process)?;
    admin::block_on(follow(&config, timeout))
}

async fn follow(config: &Places, timeout: Option<Duration>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut last = None::<Progress>;
    loop {
        let answer = match admin::ask(config, "POST", "/drain").await {
            Ok(answer) => answer,
            // Its answer was cut off, as by its end.
            Err(_) if last.is_some() => None,
            Err(error) => return Err(error),
        };
        let Some(answer) = answer else {
            return ended(config, last.is_some());
        };
        let progress: Progress =
            Deserialize::deserialize(answer).context("the running process is of another version")?;
        if last.as_ref().is_none_or(|last| last.line() != progress.line()) {
            super::print(format_args!("{}\n", progress.line()))?;
        }
        if progress.stage == "delivered" {
            return match progress.quarantined {
                0 => Ok(()),
                rows_left => bail!(
                    "{} in quarantine, refused by the storage, and in the spool's folder still: see `otelgate spool list`",
                    are(rows_left)
                ),
            };
        }
        if progress.is_stuck() {
            bail!(
                "{} held until somebody mends this; otelgate then delivers them and ends: {}",
                are(progress.held),
                progress.why.join("; ")
            );
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            let left = progress.waiting + progress.held;
            bail!(
                "not drained in time: {} to deliver; otelgate goes on, and SIGTERM ends it with them in the spool",
                rows(left)
            );
        }
        last = Some(progress);
        tokio::time::sleep(EVERY).await;
    }
}

/// Nothing listens: what is left lies in the folder, if anything.
fn ended(config: &Places, drained: bool) -> anyhow::Result<()> {
    let Some(spool) = config.spool.as_ref().filter(|spool| spool.dir.exists()) else {
        match drained {
            true => return Ok(()),
            false => bail!("nothing listens on the admin address, and there is no spool to look into"),
        }
    };
    let left = otelgate::spool::look(&spool.dir)?.len();
    if left > 0 {
        bail!(
            "otelgate does not run, and {} left in {}: start it to deliver",
            count(left, "batch file"),
            spool.dir.display()
        );
    }
    super::print("otelgate does not run, and nothing is left in its spool\n")
}

fn are(number: u64) -> String {
    format!("{} {}", rows(number), if number == 1 { "is" } else { "are" })
}
