//! otelgate itself, as a process, with a configuration of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::process::{Process, binary};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `otelgate serve`.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// OTLP addresses (`https://127.0.0.1:4317`), in the order of the configuration.
    pub otlp: Vec<String>,
    /// The admin address.
    pub admin: String,
}

impl Gateway {
    /// Starts `otelgate serve --config FILE` and waits until every listener accepts.
    ///
    /// # Errors
    /// It ends before it is ready: its log says why.
    pub async fn start(config: &Path, env: &[(&str, &str)], log: Option<&Path>) -> Result<Gateway> {
        let mut command = Command::new(binary("otelgate")?);
        command.arg("serve").arg("--config").arg(config).envs(env.iter().copied());
        Self::launch(&mut command, log).await
    }

    /// Starts a command that starts otelgate.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn launch(command: &mut Command, log: Option<&Path>) -> Result<Gateway> {
        let (process, ready) = Process::start(command, log, PATIENCE).await?;
        let field = |name: &str| {
            ready
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name))
                .with_context(|| format!("no {name} in {ready:?}"))
        };
        let otlp = field("otlp=")?.split(',').map(str::to_owned).collect();
        let admin = field("admin=")?.to_owned();
        Ok(Gateway { process, otlp, admin })
    }

    /// GET from the listener for people.
    ///
    /// # Errors
    /// It does not answer, or not with 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let (status, body) = ask(&self.admin, "GET", path, "").await?;
        ensure!(status == 200, "GET {path} answered {status}: {body}");
        Ok(body)
    }
}

/// Asks the listener for people at this address (`http://127.0.0.1:9317`), with a method, a path and more header lines; its status and body.
///
/// # Errors
/// It does not answer.
pub async fn ask(admin: &str, method: &str, path: &str, headers: &str) -> Result<(u16, String)> {
    let address = admin.strip_prefix("http://").context("the address begins with http://")?;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status in {head:?}"))?, body.to_owned()))
}
