//! A Redis (or Valkey) through which otelgates know of each other: one connection, over which one script at a time is called.
//!
//! Nobody waits for it for long: it answers within milliseconds, or it is away. What it is asked is up to who asks.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo as _, RedisError, ScriptInvocation,
    TlsCertificates,
};
use serde::Serialize;

use crate::config;

/// A connection and a call take milliseconds, or the server is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA file cannot be read.
    #[error("{section}.ca_file: cannot read {path}: {source}")]
    CaFile {
        /// Where the server is configured.
        section: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The client refuses the settings; its words could repeat them.
    #[error("{0}: the address or the certificates cannot be used")]
    Client(&'static str),
}

/// How it stands with what is shared.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sharing {
    /// Whether the server answers.
    pub(crate) connected: bool,
    /// Why it does not.
    pub(crate) last_error: Option<String>,
}

/// The way to the server.
pub(crate) struct SharedServer {
    url: String,
    client: Client,
    connection: Option<MultiplexedConnection>,
    prefix: String,
    id: String,
}

impl SharedServer {
    /// Nothing is connected yet. `section` is where it is configured, for messages.
    ///
    /// # Errors
    /// The server can never be asked with these settings.
    pub(crate) fn new(config: &config::SharedServer, section: &'static str) -> Result<SharedServer, SetupError> {
        let unusable = |_: RedisError| SetupError::Client(section);
        let info = config.url.as_str().into_connection_info().map_err(unusable)?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &config.password {
            settings = settings.set_password(password.expose());
        }
        let info = info.set_redis_settings(settings);
        let root_cert = match &config.ca_file {
            None => None,
            Some(path) => {
                let read = std::fs::read(path);
                Some(read.map_err(|source| SetupError::CaFile { section, path: path.clone(), source })?)
            }
        };
        let client = if config.url.starts_with("rediss:") {
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        } else {
            Client::open(info)
        };
        Ok(SharedServer {
            url: config.url.clone(),
            client: client.map_err(unusable)?,
            connection: None,
            // What is in braces decides the place in a cluster: all keys of one call have one.
            prefix: format!("{{{}}}:", config.prefix),
            id: format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// Where it is, without a password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What this process is called there: another name at each start.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What something is called there.
    pub(crate) fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Calls a script, over a new connection when there is none.
    ///
    /// # Errors
    /// In words, none of which is a password. The next call begins with a connection of its own.
    pub(crate) async fn call<T: FromRedisValue>(&mut self, script: &ScriptInvocation<'_>) -> Result<T, String> {
        let result = self.ask(script).await;
        if result.is_err() {
            self.connection = None;
        }
        result.map_err(|error| said(&error))
    }

    async fn ask<T: FromRedisValue>(&mut self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(CALL_TIMEOUT));
                none.insert(self.client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        script.invoke_async(connection).await
    }
}

/// What the client says of the network is said; of what the server says only its code, for it may repeat what it was sent.
fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("it answers {code}"),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}
