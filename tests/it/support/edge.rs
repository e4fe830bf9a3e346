//! An edge: a running otelgate with a database, certificate and keys of its own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use local_stack::{Certificates, ClickHouse, Gateway};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::client::Client;

/// A running otelgate.
pub struct Edge {
    pub gateway: Gateway,
    pub certificates: Certificates,
    pub database: String,
    pub log: PathBuf,
    _folder: TempDir,
}

/// How an edge differs from the default one.
pub struct Setup<'a> {
    /// Names the database; unique among the tests.
    pub name: &'a str,
    /// More sections of the configuration, as YAML.
    pub sections: &'a str,
    /// More entries of keys.yaml: name and the lines after it.
    pub keys: &'a [(&'a str, &'a str)],
    /// Where ClickHouse is; the shared one when none.
    pub clickhouse_url: Option<String>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { name: "default", sections: "", keys: &[], clickhouse_url: None }
    }
}

/// The key that may do everything.
pub const KEY: &str = "all-2f8e1c0a6b7d";

impl Edge {
    /// Starts an edge in front of `clickhouse`.
    pub async fn start(clickhouse: &ClickHouse, setup: Setup<'_>) -> Edge {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("otel_test_{}", setup.name);
        clickhouse
            .query(&format!("CREATE DATABASE IF NOT EXISTS {database}"), "TabSeparated")
            .await
            .expect("a database");
        let certificates = Certificates::in_folder(folder.path()).expect("certificates");
        let (config, log) = (folder.path().join("otelgate.yaml"), folder.path().join("otelgate.log"));
        let mut keys = format!("keys:\n{}", entry(KEY, "all", ""));
        for (name, lines) in setup.keys {
            keys.push_str(&entry(name, name, lines));
        }
        fs::write(folder.path().join("keys.yaml"), keys).expect("keys.yaml");
        let url = setup.clickhouse_url.as_deref().unwrap_or(&clickhouse.url);
        fs::write(&config, configuration(&folder, &certificates, url, &clickhouse.user, &database, setup.sections))
            .expect("configuration");
        let gateway = Self::launch(&config, &log, clickhouse).await;
        Edge { gateway, certificates, database, log, _folder: folder }
    }

    async fn launch(config: &std::path::Path, log: &std::path::Path, clickhouse: &ClickHouse) -> Gateway {
        match Gateway::start(config, &[("CLICKHOUSE_PASSWORD", &clickhouse.password)], Some(log)).await {
            Ok(gateway) => gateway,
            Err(error) => panic!("otelgate does not start: {error:#}\n{}", fs::read_to_string(log).unwrap_or_default()),
        }
    }

    /// A client of this edge that speaks HTTP/2 (or HTTP/1.1).
    pub fn client(&self, http2: bool) -> Client {
        Client::new(&self.gateway.otlp[0], &self.certificates.ca, http2)
    }

    /// Everything that it logged so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM; it must end well.
    pub async fn stop(self) {
        let status = self.gateway.process.stop(Duration::from_secs(60)).await.expect("ends in time");
        assert!(
            status.success(),
            "otelgate ended with {status}: {}",
            fs::read_to_string(&self.log).unwrap_or_default()
        );
    }
}

/// An entry of keys.yaml for a key in plain text.
fn entry(key: &str, name: &str, lines: &str) -> String {
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("  - name: {name}\n    sha256: \"{digest}\"\n{lines}")
}

/// Rows are kept for twenty years: the tests' records are of a fixed day.
fn configuration(
    folder: &TempDir,
    certificates: &Certificates,
    url: &str,
    user: &str,
    database: &str,
    sections: &str,
) -> String {
    format!(
        "listen:\n  otlp: [\"127.0.0.1:0\"]\n  admin: \"127.0.0.1:0\"\n\
         tls:\n  cert_file: {}\n  key_file: {}\n\
         keys:\n  file: {}\n  max_failures_per_minute: 1000\n\
         sink:\n  clickhouse:\n    url: \"{url}\"\n    database: {database}\n    user: {user}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    ttl: {{ logs: 7300d, traces: 7300d, metrics: 7300d, sessions: 7300d }}\n\
         {sections}\n",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.path().join("keys.yaml").display(),
    )
}
