//! The server in the middle: one script, called with all keys that were used. Its clock is the only one that counts, and what it keeps expires by
//! itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, Script, TlsCertificates};

use crate::config::SharedLimits;
use crate::keys::usage::{RATES, Report, Usage};

/// A connection and a call take milliseconds, or the server is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_millis(500);
/// A replica that was not seen for so long is gone.
const REPLICA_TTL: Duration = Duration::from_secs(5);

/// In microseconds, some 35 years: what a number of the server's holds to the last digit.
const LONGEST: u64 = 1 << 50;

/// Why the server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA file cannot be read.
    #[error("limits.shared.ca_file: cannot read {path}: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The client refuses the settings; its words could repeat them.
    #[error("limits.shared: the address or the certificates cannot be used")]
    Client,
}

/// The way to the server.
pub(crate) struct Server {
    url: String,
    client: Client,
    connection: Option<MultiplexedConnection>,
    script: Script,
    prefix: String,
    id: String,
}

impl Server {
    pub(super) fn new(config: &SharedLimits) -> Result<Server, SetupError> {
        let info = config.url.as_str().into_connection_info().map_err(|_| SetupError::Client)?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &config.password {
            settings = settings.set_password(password.expose());
        }
        let info = info.set_redis_settings(settings);
        let root_cert = match &config.ca_file {
            None => None,
            Some(path) => {
                let read = std::fs::read(path);
                Some(read.map_err(|source| SetupError::CaFile { path: path.clone(), source })?)
            }
        };
        let client = if config.url.starts_with("rediss:") {
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        } else {
            Client::open(info)
        };
        Ok(Server {
            url: config.url.clone(),
            client: client.map_err(|_| SetupError::Client)?,
            connection: None,
            script: Script::new(include_str!("script.lua")),
            // What is in braces decides the place in a cluster: all keys of one call have one.
            prefix: format!("{{{}}}:", config.prefix),
            id: format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// Where it is, without a password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Says what was used; how many replicas there are, and how far each rate of each key is used by all, in the reports' order.
    ///
    /// # Errors
    /// In words, none of which is a password.
    pub(super) async fn call(
        &mut self,
        reports: &[(Arc<Usage>, Report)],
    ) -> Result<(u32, Vec<[Duration; RATES]>), String> {
        let result = self.ask(reports).await;
        if result.is_err() {
            self.connection = None;
        }
        let numbers = result.map_err(|error| said(&error))?;
        let (replicas, debts) = numbers.split_first().ok_or("its answer is not the script's")?;
        let (debts, rest) = debts.as_chunks::<RATES>();
        if debts.len() != reports.len() || !rest.is_empty() {
            return Err("its answer is not the script's".to_owned());
        }
        let time = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Ok((u32::try_from(*replicas).unwrap_or(1), debts.iter().map(|debts| debts.map(time)).collect()))
    }

    async fn ask(&mut self, reports: &[(Arc<Usage>, Report)]) -> Result<Vec<i64>, RedisError> {
        let mut call = self.script.prepare_invoke();
        call.key(format!("{}replicas", self.prefix)).arg(&self.id).arg(micros(REPLICA_TTL));
        for (usage, report) in reports {
            call.key(format!("{}limit:{}", self.prefix, usage.id));
            for (rate, limit) in usage.rates().iter().enumerate() {
                let most = limit.tolerance().saturating_mul(2);
                call.arg(micros(report.floor[rate])).arg(micros(report.used[rate])).arg(micros(most));
            }
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(CALL_TIMEOUT));
                none.insert(self.client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        call.invoke_async(connection).await
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LONGEST)
}

/// What the client says of the network is said; of what the server says only its code, for it may repeat what it was sent.
fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("it answers {code}"),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}
