//! Ingestion keys, and what stands of them in keys.yaml.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::process::binary;

/// An ingestion key.
#[derive(Debug, Clone)]
pub struct Key {
    /// What a client sends.
    pub key: String,
    /// Its entry in keys.yaml.
    pub entry: String,
}

impl Key {
    /// A key that everybody knows.
    pub fn known(name: &str, key: &str) -> Key {
        Key { key: key.to_owned(), entry: format!("  - name: {name}\n    sha256: \"{}\"\n", digest(key)) }
    }

    /// A new key, as `otelgate keys new --name NAME` makes it.
    ///
    /// # Errors
    /// It fails.
    pub async fn new(name: &str) -> Result<Key> {
        let output = Command::new(binary("otelgate")?).args(["keys", "new", "--name", name]).output().await?;
        if !output.status.success() {
            bail!("otelgate keys new failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        let key = text.lines().find_map(|line| line.strip_prefix("key: ")).context("no line `key: …`")?;
        let at = text.find("  - name:").context("no entry for keys.yaml")?;
        Ok(Key { key: key.trim().to_owned(), entry: text[at..].to_owned() })
    }

    /// With more settings in its entry, one a line.
    #[must_use]
    pub fn with(mut self, settings: &str) -> Key {
        settings.lines().for_each(|line| self.entry += &format!("    {line}\n"));
        self
    }

    /// With limits that no load on this machine reaches.
    #[must_use]
    pub fn unlimited(self) -> Key {
        self.with("limits: { requests_per_second: 1000000, bytes_per_second: 100GiB, records_per_second: 100000000 }")
    }
}

/// A key's digest, as keys.yaml has it.
pub fn digest(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole of keys.yaml.
pub fn keys_yaml(keys: &[Key]) -> String {
    let entries: String = keys.iter().map(|key| key.entry.as_str()).collect();
    format!("keys:\n{entries}")
}
