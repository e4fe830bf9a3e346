//! A child process that says `ready …` on its first line, and can be stopped or killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command` and waits for its line `ready …`, whose rest is returned. Its standard input stays open
    /// as long as the [`Process`] lives, so that a child may end with its parent; standard error is inherited or goes to `log`.
    ///
    /// # Errors
    /// The command cannot be started, ends before it is ready, or is not ready in time.
    pub async fn start(command: &mut Command, log: Option<&Path>, patience: Duration) -> Result<(Process, String)> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        if let Some(log) = log {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
            command.stderr(file);
        }
        let mut child = command
            // Ctrl-C on a terminal is for the program that started this one, which stops its children in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(rest) = line.strip_prefix("ready") {
                    return Ok(rest.trim().to_owned());
                }
            }
            bail!("{name} ended before it was ready")
        };
        let Ok(ready) = tokio::time::timeout(patience, ready).await else {
            bail!("{name} was not ready within {patience:?}")
        };
        let ready = ready?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((Process { name, child }, ready))
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        kill_process(Pid::from_raw(pid).context("no such process")?, signal)?;
        Ok(())
    }

    /// SIGTERM, then waits.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(patience).await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait(mut self, patience: Duration) -> Result<ExitStatus> {
        let Ok(status) = tokio::time::timeout(patience, self.child.wait()).await else {
            bail!("{} did not end within {patience:?}", self.name)
        };
        Ok(status?)
    }

    /// SIGKILL, then waits.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// The path of a binary of this workspace: beside the running one.
///
/// # Errors
/// It has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is missing: run `cargo build --workspace --bins` first", path.display());
    }
    Ok(path)
}
