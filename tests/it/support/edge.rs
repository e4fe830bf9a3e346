//! An edge: a running otelgate with a database, certificate and keys of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use stack::{Certificates, ClickHouse, Config, Files, Gateway, Key};
use tempfile::TempDir;

use super::client::Client;

/// A running otelgate.
pub struct Edge {
    pub gateway: Gateway,
    pub certificates: Certificates,
    pub database: String,
    pub files: Files,
    _folder: TempDir,
}

/// How an edge differs from the default one.
pub struct Setup<'a> {
    /// Names the database; unique among the tests.
    pub name: &'a str,
    /// A line of section `sink.clickhouse`.
    pub sink: &'a str,
    /// How long tables keep their rows, as `sink.clickhouse.ttl`; twenty years when empty, since most tests' records are of a fixed day.
    pub ttl: &'a str,
    /// More sections of the configuration, as YAML.
    pub sections: &'a str,
    /// More entries of keys.yaml: name and the lines after it.
    pub keys: &'a [(&'a str, &'a str)],
    /// Where ClickHouse is; the shared one when none.
    pub clickhouse_url: Option<String>,
    /// The shards instead of that, as the configuration has them.
    pub shards: &'a str,
    /// Name and password of the ingest user; the one with few rights when none.
    pub user: Option<(&'a str, &'a str)>,
    /// Failed authentications of an address in a minute.
    pub max_failures: u32,
    /// Ports of its listeners (OTLP, admin); 0: any.
    pub ports: (u16, u16),
    /// Another source of keys, as a line of section `keys`.
    pub key_source: &'a str,
    /// More of section `tls`, after a comma.
    pub tls: &'a str,
    /// What its standard error is; the file `log` when none.
    pub stderr: Option<Stdio>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            name: "default",
            sink: "",
            ttl: "",
            sections: "",
            keys: &[],
            clickhouse_url: None,
            shards: "",
            user: None,
            max_failures: 1000,
            ports: (0, 0),
            key_source: "",
            tls: "",
            stderr: None,
        }
    }
}

/// The key that may do everything.
pub const KEY: &str = "all-2f8e1c0a6b7d";

impl Edge {
    /// Starts an edge in front of `clickhouse`.
    pub async fn start(clickhouse: &ClickHouse, setup: Setup<'_>) -> Edge {
        Edge::start_as(clickhouse, setup, true).await
    }

    /// As [`Edge::start`], without TLS.
    pub async fn start_plain(clickhouse: &ClickHouse, setup: Setup<'_>) -> Edge {
        Edge::start_as(clickhouse, setup, false).await
    }

    async fn start_as(clickhouse: &ClickHouse, setup: Setup<'_>, tls: bool) -> Edge {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("otel_test_{}", setup.name);
        clickhouse
            .query(&format!("CREATE DATABASE IF NOT EXISTS {database}"), "TabSeparated")
            .await
            .expect("a database");
        let certificates = Certificates::in_folder(folder.path()).expect("certificates");
        let url = setup.clickhouse_url.as_deref().unwrap_or(&clickhouse.url);
        let user = setup.user.unwrap_or((&clickhouse.user, &clickhouse.password));
        let config = Config::new(folder.path(), "");
        let config = if tls { config.tls(&certificates).tls_setting(setup.tls) } else { config };
        let config = config
            .max_failures(setup.max_failures)
            .key_source(setup.key_source)
            .ports(setup.ports.0, setup.ports.1)
            .store_at(url, user, &database);
        let config = if setup.shards.is_empty() { config } else { config.shards(setup.shards) };
        let config = match setup.ttl {
            "" => config.keeping(),
            ttl => config.sink(&format!("ttl: {ttl}")),
        };
        let config = config.sink(setup.sink).section(setup.sections);
        let files = config.write().expect("configuration");
        fs::write(&files.keys, keys_yaml(setup.keys)).expect("keys.yaml");
        let started = match setup.stderr {
            Some(stderr) => files.start_saying(stderr).await,
            None => files.start().await,
        };
        let gateway = started.unwrap_or_else(|error| panic!("{error:#}"));
        Edge { gateway, certificates, database, files, _folder: folder }
    }

    /// A client of this edge that speaks HTTP/2 (or HTTP/1.1).
    pub fn client(&self, http2: bool) -> Client {
        Client::new(&self.gateway.otlp[0], Some(&self.certificates.ca), http2).expect("a client")
    }

    /// The keys file, which it rereads.
    pub fn keys_file(&self) -> PathBuf {
        self.files.keys.clone()
    }

    /// Another otelgate of the same configuration; its log goes on with this one's.
    pub async fn another(&self) -> Gateway {
        self.files.start().await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.files.config.clone()
    }

    /// Everything that it logged so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.files.log).unwrap_or_default()
    }

    /// SIGKILL, and another start with the same configuration.
    pub async fn start_again(self) -> Edge {
        let Edge { gateway, certificates, database, files, _folder } = self;
        gateway.process.kill().await.expect("killed");
        let gateway = files.start().await.unwrap_or_else(|error| panic!("{error:#}"));
        Edge { gateway, certificates, database, files, _folder }
    }

    /// SIGTERM; it must end well.
    pub async fn stop(self) {
        let status = self.gateway.process.stop(Duration::from_secs(60)).await.expect("ends in time");
        assert!(
            status.success(),
            "otelgate ended with {status}: {}",
            fs::read_to_string(&self.files.log).unwrap_or_default()
        );
    }
}

/// keys.yaml with [`KEY`] and these keys, which are their own names.
pub fn keys_yaml(keys: &[(&str, &str)]) -> String {
    let others = keys.iter().map(|(name, settings)| Key::known(name, name).with(settings));
    stack::keys_yaml(&[Key::known("all", KEY)].into_iter().chain(others).collect::<Vec<_>>())
}
