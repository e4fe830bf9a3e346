//! otelgate itself, as a process, with a configuration of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
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
        let (process, ready) = Process::start(&mut command, log, PATIENCE).await?;
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
}

/// A new ingestion key, as `otelgate keys new` makes it.
#[derive(Debug, Clone)]
pub struct Key {
    /// What a client sends.
    pub key: String,
    /// Its entry in keys.yaml.
    pub entry: String,
}

/// Runs `otelgate keys new --name NAME`.
///
/// # Errors
/// It fails.
pub async fn new_key(name: &str) -> Result<Key> {
    let output = Command::new(binary("otelgate")?).args(["keys", "new", "--name", name]).output().await?;
    if !output.status.success() {
        bail!("otelgate keys new failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let key = text.lines().find_map(|line| line.strip_prefix("key: ")).context("no line `key: …`")?.trim().to_owned();
    let at = text.find("  - name:").context("no entry for keys.yaml")?;
    Ok(Key { key, entry: text[at..].to_owned() })
}
