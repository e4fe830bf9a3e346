//! An issuer: where its keys are (OpenID Connect Discovery 1.0, section 4), and the keys, fetched beside the requests.
//!
//! Keys are fetched every `refresh_interval`, and when a token names a key that is not here, but never twice within [`FLOOR`]. While the issuer is
//! away its keys go on to count until they are `keys_max_age` old.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::key_set::KeySet;
use super::names::Names;
use super::token::Refused;
use crate::causes::causes;
use crate::config::OidcIssuer;
use crate::https::{self, Connector};
use crate::keys::Shared;
use crate::metrics::{Metrics, Outcome};

/// No two fetches are nearer to each other.
pub(super) const FLOOR: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A set of a hundred keys is 100 KiB.
const MAX_ANSWER: usize = 1 << 20;
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) config: Arc<OidcIssuer>,
    pub(super) names: Names,
    client: Client<Connector, Empty<Bytes>>,
    keys: ArcSwapOption<Fetched>,
    wanted: Notify,
    /// When keys were asked for last, and whether they came.
    asked: Mutex<Option<(Instant, bool)>>,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    at: SystemTime,
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("{0}")]
    Unreachable(String),
    #[error("{url} answers {status}")]
    Status { url: Uri, status: StatusCode },
    #[error("{0} answers with more than {max} KiB", max = MAX_ANSWER >> 10)]
    TooLarge(Uri),
    #[error("{0} is not what OpenID Connect Discovery describes; is `issuer` the issuer's address?")]
    NotDiscovery(Uri),
    #[error("it calls itself another issuer than keys.oidc.issuer, to the letter")]
    OtherIssuer,
    #[error("its jwks_uri is not https")]
    JwksUri,
    #[error("{0} is no JSON Web Key Set with a key for RS256, ES256 or EdDSA")]
    NotKeys(Uri),
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// Knows what an `old` one of the same address knows.
    pub(super) fn new(
        config: OidcIssuer,
        old: Option<&Issuer>,
        shared: Option<&Arc<Shared>>,
    ) -> Result<Issuer, https::SetupError> {
        let connector = https::connector(config.ca_file.as_deref())?;
        let config = Arc::new(config);
        Ok(Issuer {
            names: Names::new(config.clone(), old.map(|old| &old.names), shared.cloned()),
            config,
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector),
            keys: ArcSwapOption::from(old.and_then(|old| old.keys.load_full())),
            wanted: Notify::new(),
            asked: Mutex::default(),
        })
    }

    /// Its keys, unless none were ever fetched, or too long ago.
    pub(super) fn keys(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let fetched = self.keys.load();
        let fetched = fetched.as_ref()?;
        // A clock that was set back makes no key old.
        let age = now.duration_since(fetched.at).unwrap_or_default();
        (age <= self.config.keys_max_age).then(|| fetched.keys.clone())
    }

    /// A key is missing. Where its keys were fetched just now, that is `otherwise`; where not, they are fetched, and the token may be valid then.
    pub(super) fn want(&self, otherwise: Refused) -> Refused {
        let just_now = matches!(*self.asked.lock(), Some((at, true)) if at.elapsed() < FLOOR);
        if just_now {
            return otherwise;
        }
        self.wanted.notify_one();
        Refused::KeysAwaited
    }

    /// Fetches the keys now and again, for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut failures = 0u32;
        loop {
            let result = tokio::time::timeout(TIMEOUT, self.fetch()).await.unwrap_or(Err(FetchError::TimedOut));
            let outcome = if result.is_ok() { "ok" } else { "failed" };
            metrics.oidc_fetches.get_or_create(&Outcome { outcome }).inc();
            *self.asked.lock() = Some((Instant::now(), result.is_ok()));
            let pause = match result {
                Ok(keys) => {
                    self.take(keys, failures > 0);
                    failures = 0;
                    self.config.refresh_interval
                }
                Err(error) => {
                    if failures == 0 {
                        let known = if self.keys.load().is_some() {
                            "the keys stay as they were"
                        } else {
                            "no key is known yet"
                        };
                        warn!(issuer = self.config.issuer, %error, "an issuer's keys cannot be fetched; {known}");
                    }
                    failures = failures.saturating_add(1);
                    FLOOR.saturating_mul(1 << failures.min(4)).min(LONGEST_PAUSE).min(self.config.refresh_interval)
                }
            };
            tokio::time::sleep(FLOOR.min(pause)).await;
            tokio::select! {
                () = tokio::time::sleep(pause.saturating_sub(FLOOR)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    fn take(&self, keys: KeySet, after_failure: bool) {
        let old = self.keys.load_full();
        let same = old.as_ref().map(|old| old.keys.clone()).filter(|old| old.is_same(&keys));
        let count = keys.len();
        if same.is_none() || after_failure {
            info!(issuer = self.config.issuer, keys = count, "an issuer's keys were fetched");
        }
        let keys = same.unwrap_or_else(|| Arc::new(keys));
        self.keys.store(Some(Arc::new(Fetched { keys, at: SystemTime::now() })));
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let discovery = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let discovery: Uri = discovery.parse().map_err(|_| FetchError::OtherIssuer)?;
        let found = self.get(&discovery).await?;
        let found: Discovery =
            serde_json::from_slice(&found).map_err(|_| FetchError::NotDiscovery(discovery.clone()))?;
        if found.issuer != self.config.issuer {
            return Err(FetchError::OtherIssuer);
        }
        let jwks: Uri = found.jwks_uri.parse().map_err(|_| FetchError::JwksUri)?;
        // Where the configuration allows plain text, on this machine, it may lead to plain text there.
        if jwks.scheme_str() != Some("https")
            && (discovery.scheme_str() != Some("http") || jwks.host() != discovery.host())
        {
            return Err(FetchError::JwksUri);
        }
        let generation = self.keys.load().as_ref().map_or(0, |fetched| fetched.keys.generation + 1);
        let keys = KeySet::read(&self.get(&jwks).await?, generation);
        keys.filter(|keys| keys.len() > 0).ok_or(FetchError::NotKeys(jwks))
    }

    async fn get(&self, url: &Uri) -> Result<Bytes, FetchError> {
        let request = Request::get(url.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("otelgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new());
        let request = request.map_err(|error| FetchError::Unreachable(causes(&error)))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| FetchError::Unreachable(causes(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status { url: url.clone(), status: answer.status() });
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge(url.clone()),
            false => FetchError::Unreachable(causes(error.as_ref())),
        })?;
        Ok(body.to_bytes())
    }
}
