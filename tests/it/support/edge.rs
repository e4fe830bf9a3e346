//! An edge: a running otelgate with a database, certificate and keys of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use local_stack::{Certificates, ClickHouse, Gateway, Process};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::client::Client;

/// A running otelgate.
pub struct Edge {
    pub gateway: Gateway,
    pub certificates: Certificates,
    pub database: String,
    pub log: PathBuf,
    folder: TempDir,
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
    /// Name and password of the ingest user; the one with few rights when none.
    pub user: Option<(&'a str, &'a str)>,
    /// Failed authentications of an address in a minute.
    pub max_failures: u32,
    /// What its standard error is; the file `log` when none.
    pub stderr: Option<Stdio>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            name: "default",
            sections: "",
            keys: &[],
            clickhouse_url: None,
            user: None,
            max_failures: 1000,
            stderr: None,
        }
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
        fs::write(folder.path().join("keys.yaml"), keys_yaml(setup.keys)).expect("keys.yaml");
        let url = setup.clickhouse_url.as_deref().unwrap_or(&clickhouse.url);
        let (user, password) = setup.user.unwrap_or((&clickhouse.user, &clickhouse.password));
        fs::write(&config, configuration(&folder, &certificates, url, user, &database, &setup)).expect("configuration");
        let gateway = match setup.stderr {
            Some(stderr) => Self::launch_saying(&config, stderr, password).await,
            None => Self::launch(&config, &log, password).await,
        };
        Edge { gateway, certificates, database, log, folder }
    }

    async fn launch(config: &std::path::Path, log: &std::path::Path, password: &str) -> Gateway {
        match Gateway::start(config, &[("CLICKHOUSE_PASSWORD", password)], Some(log)).await {
            Ok(gateway) => gateway,
            Err(error) => panic!("otelgate does not start: {error:#}\n{}", fs::read_to_string(log).unwrap_or_default()),
        }
    }

    async fn launch_saying(config: &std::path::Path, stderr: Stdio, password: &str) -> Gateway {
        let mut command = tokio::process::Command::new(local_stack::binary("otelgate").expect("built"));
        command.arg("serve").arg("--config").arg(config).env("CLICKHOUSE_PASSWORD", password).stderr(stderr);
        let started = Process::start(&mut command, None, Duration::from_secs(30)).await;
        let (process, ready) = started.expect("otelgate starts");
        let field =
            |name: &str| ready.split(' ').find_map(|word| word.strip_prefix(name)).expect("an address").to_owned();
        Gateway { process, otlp: vec![field("otlp=")], admin: field("admin=") }
    }

    /// A client of this edge that speaks HTTP/2 (or HTTP/1.1).
    pub fn client(&self, http2: bool) -> Client {
        Client::new(&self.gateway.otlp[0], &self.certificates.ca, http2)
    }

    /// The keys file, which it rereads.
    pub fn keys_file(&self) -> PathBuf {
        self.folder.path().join("keys.yaml")
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

/// keys.yaml with [`KEY`] and these keys, which are their own names.
pub fn keys_yaml(keys: &[(&str, &str)]) -> String {
    let others: String = keys.iter().map(|(name, lines)| entry(name, name, lines)).collect();
    format!("keys:\n{}{others}", entry(KEY, "all", ""))
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
    setup: &Setup<'_>,
) -> String {
    let Setup { sections, max_failures, .. } = setup;
    format!(
        "listen:\n  otlp: [\"127.0.0.1:0\"]\n  admin: \"127.0.0.1:0\"\n\
         tls:\n  cert_file: {}\n  key_file: {}\n\
         keys:\n  file: {}\n  max_failures_per_minute: {max_failures}\n\
         sink:\n  clickhouse:\n    url: \"{url}\"\n    database: {database}\n    user: {user}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n    ttl: {{ logs: 7300d, traces: 7300d, metrics: 7300d, sessions: 7300d }}\n\
         {sections}\n",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.path().join("keys.yaml").display(),
    )
}
