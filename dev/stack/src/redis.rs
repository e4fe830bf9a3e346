//! A Redis (or Valkey) of its own, out of the distribution's package (`apt-get install redis-server`). It keeps nothing on disk: what it knew is gone
//! when it ends.

use std::path::{Path, PathBuf};
use std::process::{Command as Ask, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{Certificates, free_port};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    /// Its port on loopback.
    pub port: u16,
    program: &'static str,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// The program of it that is installed here; says aloud when there is none.
    pub fn installed() -> Option<&'static str> {
        let there = |program: &&str| {
            let answer = Ask::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            answer.is_ok_and(|status| status.success())
        };
        let program = ["redis-server", "valkey-server"].into_iter().find(there);
        if program.is_none() {
            #[allow(clippy::print_stderr, reason = "a skipped test is said aloud")]
            {
                eprintln!("SKIPPED: no Redis and no Valkey is installed here (apt-get install redis-server)");
            }
        }
        program
    }

    /// Starts it in `folder`: plain and open, or with a password and TLS only.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub async fn start(program: &'static str, folder: &Path, tls: Option<(&Certificates, &str)>) -> Result<Redis> {
        std::fs::create_dir_all(folder)?;
        let port = free_port()?;
        let log = folder.join("redis.log");
        let mut arguments: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(str::to_owned).into();
        let path = |path: &PathBuf| path.display().to_string();
        arguments.extend(["--dir".to_owned(), folder.display().to_string(), "--logfile".to_owned(), path(&log)]);
        let ports = match tls {
            None => vec!["--port".to_owned(), port.to_string()],
            Some((files, password)) => {
                let of_tls = [
                    ("--port", "0".to_owned()),
                    ("--tls-port", port.to_string()),
                    ("--tls-cert-file", path(&files.certificate)),
                    ("--tls-key-file", path(&files.key)),
                    ("--tls-ca-cert-file", path(&files.ca)),
                    ("--tls-auth-clients", "no".to_owned()),
                    ("--requirepass", password.to_owned()),
                ];
                of_tls.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
            }
        };
        arguments.extend(ports);
        let mut redis = Redis { port, program, arguments, child: None };
        redis.again().await.with_context(|| format!("its log is {}", log.display()))?;
        Ok(redis)
    }

    /// Starts it again on its port, with nothing of what it knew.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn again(&mut self) -> Result<()> {
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.child = Some(command.spawn().context("cannot start it")?);
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} does not listen on {}", self.program, self.port)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => Ok(child.kill().await?),
            None => Ok(()),
        }
    }
}
