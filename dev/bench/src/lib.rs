//! What the benches share: the key that their clients present, and the load.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use stack::{Key, binary};
use tokio::process::Command;

/// What clients present.
pub const KEY: &str = "bench-key";

/// The entry of [`KEY`], with limits that no load reaches.
pub fn key() -> Key {
    Key::known("bench", KEY).unlimited()
}

/// Runs `otelgate-load` against an endpoint, whose CA is in the file `ca`, with more arguments; its report.
///
/// # Errors
/// It fails.
pub async fn load(endpoint: &str, ca: &Path, key: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(binary("otelgate-load")?);
    command.args(["--endpoint", endpoint, "--json", "-"]).args(arguments).arg("--ca").arg(ca).env("OTELGATE_KEY", key);
    let output = command.output().await?;
    ensure!(output.status.success(), "otelgate-load failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
