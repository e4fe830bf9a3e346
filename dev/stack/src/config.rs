//! otelgate's configuration, as a person would write it. Everything here that starts otelgate builds it with this, so that a change of
//! its settings is one change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::gateway::Gateway;
use crate::process::binary;
use crate::{Certificates, ClickHouse, Key, keys_yaml};

/// A configuration, before it is written. By default: free ports of loopback, plain text, a sink that has to be named.
#[derive(Debug, Clone)]
pub struct Config {
    files: Files,
    ports: [u16; 2],
    listen: String,
    tls: String,
    keys: Vec<Key>,
    max_failures: Option<u32>,
    key_source: String,
    sink: String,
    state: String,
    spool: String,
    sections: String,
}

/// What a written configuration lies in, and what otelgate needs beside it.
#[derive(Debug, Clone)]
pub struct Files {
    /// The configuration.
    pub config: PathBuf,
    /// keys.yaml.
    pub keys: PathBuf,
    /// Where otelgate logs.
    pub log: PathBuf,
    /// The ingest user's password, which the configuration takes from the environment.
    pub password: String,
}

impl Config {
    /// A configuration whose files lie in `folder`, with names that begin with `prefix`.
    pub fn new(folder: &Path, prefix: &str) -> Config {
        let path = |name: &str| folder.join(format!("{prefix}{name}"));
        Config {
            files: Files {
                config: path("otelgate.yaml"),
                keys: path("keys.yaml"),
                log: path("otelgate.log"),
                password: String::new(),
            },
            ports: [0, 0],
            listen: String::new(),
            tls: "{ plaintext: true }".to_owned(),
            keys: Vec::new(),
            max_failures: None,
            key_source: String::new(),
            sink: String::new(),
            state: format!("state_dir: {}\n", path("state").display()),
            spool: "spool: none\n".to_owned(),
            sections: String::new(),
        }
    }

    /// Listens for OTLP and for people on these ports; 0 picks a free one.
    #[must_use]
    pub fn ports(mut self, otlp: u16, admin: u16) -> Config {
        self.ports = [otlp, admin];
        self
    }

    /// Another setting of section `listen`, `idle_timeout: 1s` say.
    #[must_use]
    pub fn listen(mut self, setting: &str) -> Config {
        self.listen += &format!(", {setting}");
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: &Certificates) -> Config {
        self.tls = format!("{{ cert_file: {}, key_file: {} }}", tls.certificate.display(), tls.key.display());
        self
    }

    /// Speaks TLS by these settings of section `tls` alone.
    #[must_use]
    pub fn tls_section(mut self, settings: &str) -> Config {
        self.tls = format!("{{ {settings} }}");
        self
    }

    /// More settings of section `tls`; nothing adds nothing. After [`Config::tls`].
    #[must_use]
    pub fn tls_setting(mut self, settings: &str) -> Config {
        if !settings.is_empty() {
            self.tls = self.tls.replace(" }", &format!(", {settings} }}"));
        }
        self
    }

    /// Knows this key too.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Config {
        self.keys.push(key.clone());
        self
    }

    /// Failed authentications of an address in a minute.
    #[must_use]
    pub fn max_failures(mut self, count: u32) -> Config {
        self.max_failures = Some(count);
        self
    }

    /// Another source of keys, `clickstack: { url: … }` say; nothing adds nothing.
    #[must_use]
    pub fn key_source(mut self, source: &str) -> Config {
        source.clone_into(&mut self.key_source);
        self
    }

    /// Stores into a database of ClickHouse, as its ingest user.
    #[must_use]
    pub fn store(self, clickhouse: &ClickHouse, database: &str) -> Config {
        self.store_at(&clickhouse.url, (&clickhouse.user, &clickhouse.password), database)
    }

    /// Stores into a database of the ClickHouse at this address, as this user with this password.
    #[must_use]
    pub fn store_at(mut self, url: &str, (user, password): (&str, &str), database: &str) -> Config {
        password.clone_into(&mut self.files.password);
        self.sink = format!(
            "  clickhouse:\n    url: \"{url}\"\n    database: {database}\n    user: {user}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n"
        );
        self
    }

    /// Divides rows over shards, as `sink.clickhouse.shards` has them, instead of one address. After [`Config::store`].
    #[must_use]
    pub fn shards(mut self, shards: &str) -> Config {
        let lines = self.sink.lines().map(|line| match line.starts_with("    url: ") {
            true => format!("    shards: {shards}\n"),
            false => format!("{line}\n"),
        });
        self.sink = lines.collect();
        self
    }

    /// Keeps rows for twenty years, where their times are of a fixed day. After [`Config::store`].
    #[must_use]
    pub fn keeping(self) -> Config {
        self.sink("ttl: { logs: 7300d, traces: 7300d, metrics: 7300d, sessions: 7300d }")
    }

    /// Forwards to a collector by `grpc` or `http`.
    #[must_use]
    pub fn forward(mut self, endpoint: &str, protocol: &str) -> Config {
        self.sink = format!("  forward:\n    endpoint: \"{endpoint}\"\n    protocol: {protocol}\n");
        self
    }

    /// Forwards to any of these. Instead of [`Config::forward`].
    #[must_use]
    pub fn forward_to(mut self, endpoints: &[String], protocol: &str) -> Config {
        self.sink = format!("  forward:\n    endpoint: {endpoints:?}\n    protocol: {protocol}\n");
        self
    }

    /// The collector wants this in `authorization`, and shows a certificate that this CA signed. After [`Config::forward`].
    #[must_use]
    pub fn token(self, token: &str, ca: &Path) -> Config {
        self.sink(&format!("token: \"{token}\"")).sink(&format!("ca_file: {}", ca.display()))
    }

    /// Another setting of the sink.
    #[must_use]
    pub fn sink(mut self, setting: &str) -> Config {
        self.sink += &format!("    {setting}\n");
        self
    }

    /// With a spool, as is the default of who writes nothing: below the state folder, which is one of this folder's.
    #[must_use]
    pub fn spool(mut self) -> Config {
        self.spool.clear();
        self
    }

    /// Another section, `spool: { dir: … }` say, or several; what is indented goes on with the sink. Without one for the spool there is none: what
    /// is answered is in ClickHouse then.
    #[must_use]
    pub fn section(mut self, text: &str) -> Config {
        let has = |name: &str| text.lines().any(|line| line.starts_with(name));
        if has("spool:") {
            self.spool.clear();
        }
        if has("state_dir:") {
            self.state.clear();
        }
        self.sections += text.trim_end_matches('\n');
        self.sections.push('\n');
        self
    }

    /// The text.
    pub fn text(&self) -> String {
        let [otlp, admin] = self.ports;
        let failures = self.max_failures.map_or_else(String::new, |max| format!(", max_failures_per_minute: {max}"));
        let source = if self.key_source.is_empty() { String::new() } else { format!(", {}", self.key_source) };
        format!(
            "{}listen: {{ otlp: [\"127.0.0.1:{otlp}\"], admin: \"127.0.0.1:{admin}\"{} }}\ntls: {}\nkeys: {{ file: {}{failures}{source} }}\n\
             sink:\n{}{}{}",
            self.state,
            self.listen,
            self.tls,
            self.files.keys.display(),
            self.sink,
            self.sections,
            self.spool
        )
    }

    /// Writes the configuration, and keys.yaml when it has keys.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self) -> Result<Files> {
        if !self.keys.is_empty() {
            fs::write(&self.files.keys, keys_yaml(&self.keys))?;
        }
        fs::write(&self.files.config, self.text())?;
        Ok(self.files.clone())
    }

    /// Writes it and starts otelgate.
    ///
    /// # Errors
    /// It does not start; the message has its log.
    pub async fn start(&self) -> Result<Gateway> {
        self.write()?.start().await
    }
}

impl Files {
    /// Starts otelgate; its log is appended to.
    ///
    /// # Errors
    /// It does not start; the message has its log.
    pub async fn start(&self) -> Result<Gateway> {
        let env = [("CLICKHOUSE_PASSWORD", self.password.as_str())];
        let gateway = Gateway::start(&self.config, &env, Some(&self.log)).await;
        gateway.with_context(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let end = log.char_indices().rev().nth(END_OF_LOG).map_or(0, |(at, _)| at);
            format!("otelgate does not start; {} ends with\n{}", self.log.display(), &log[end..])
        })
    }

    /// Starts otelgate with another standard error than its log.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_saying(&self, stderr: Stdio) -> Result<Gateway> {
        let mut command = self.command()?;
        Gateway::launch(command.arg("serve").arg("--config").arg(&self.config).stderr(stderr), None).await
    }

    /// `otelgate`, with what the configuration takes from the environment.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("otelgate")?);
        command.env("CLICKHOUSE_PASSWORD", &self.password);
        Ok(command)
    }
}

/// So many characters of a log explain why otelgate did not start.
const END_OF_LOG: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_what_a_person_would_write() {
        let key = Key::known("shop", "secret").with("limits: { requests_per_second: 4 }");
        let config = Config::new(Path::new("/f"), "a-")
            .ports(4317, 9317)
            .key(&key)
            .store_at("http://h:1", ("u", "p"), "otel")
            .section("    create_schema: false")
            .section("spool: { dir: /s }\n");
        let expected = "state_dir: /f/a-state\nlisten: { otlp: [\"127.0.0.1:4317\"], admin: \"127.0.0.1:9317\" }\ntls: { plaintext: true }\nkeys: { file: /f/a-keys.yaml }\n\
             sink:\n  clickhouse:\n    url: \"http://h:1\"\n    database: otel\n    user: u\n    password: \"${env:CLICKHOUSE_PASSWORD}\"\n    create_schema: false\n\
             spool: { dir: /s }\n";
        assert_eq!(config.text(), expected);
        assert!(Config::new(Path::new("/f"), "").text().ends_with("spool: none\n"));
        assert!(key.entry.ends_with("25b\"\n    limits: { requests_per_second: 4 }\n"), "{}", key.entry);
    }
}
