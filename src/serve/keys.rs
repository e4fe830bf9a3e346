//! The sources of keys as one thing that is opened and followed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::until_it_fails;
use crate::config::{Config, KeyEntry, Surroundings};
use crate::keys::{
    ClickStackKeys, KeyRing, KeysFile, OpenError, Shared, SharedServer, Source, Tokens, look_after, watch,
};
use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// The ring and where its keys come from.
pub(super) struct KeySources {
    ring: Arc<KeyRing>,
    file: Option<KeysFile>,
    clickstack: Option<ClickStackKeys>,
    shared: Option<(Arc<Shared>, SharedServer)>,
    metrics: Arc<Metrics>,
}

/// What has to hear of a stop.
pub(super) struct Followed(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl KeySources {
    /// A ring of what is known before anybody is asked: the entries of keys.yaml, and what was kept of ClickStack's keys.
    pub(super) async fn open(
        config: &Config,
        entries: Vec<KeyEntry>,
        metrics: &Arc<Metrics>,
    ) -> Result<KeySources, OpenError> {
        let (shared, server) = match &config.shared_limits {
            Some(config) => Some(Shared::open(config)?).unzip(),
            None => (None, None),
        };
        let oidc = config.keys.oidc.clone();
        let tokens = if oidc.is_empty() {
            None
        } else {
            Some(Tokens::new(oidc, shared.as_ref(), metrics.clone()).map_err(OpenError::Oidc)?)
        };
        let ring = Arc::new(KeyRing::taking(tokens, shared.clone()));
        ring.replace(Source::File, entries.into());
        let file = config.keys.file.clone().map(|file| KeysFile::new(file, config.key_rules(), metrics.clone()));
        let clickstack = match config.keys.clickstack.clone() {
            Some(source) => Some(ClickStackKeys::open(source, config.state_dir.clone(), &ring, metrics.clone()).await?),
            None => None,
        };
        let shared = shared.zip(server);
        Ok(KeySources { ring, file, clickstack, shared, metrics: metrics.clone() })
    }

    pub(super) fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Keeps the ring in step with its sources from now on.
    pub(super) fn follow(
        self,
        surroundings: impl Surroundings + Clone + Send + 'static,
        readiness: &Readiness,
        beside: &mut JoinSet<()>,
    ) -> Followed {
        let KeySources { ring, file, clickstack, shared, metrics } = self;
        if let Some((shared, server)) = shared {
            beside.spawn(shared.follow(server, metrics.clone()));
        }
        beside.spawn(look_after(ring.clone(), metrics));
        if let Some(tokens) = ring.tokens() {
            tokens.follow().for_each(|issuer| {
                beside.spawn(issuer);
            });
        }
        if let Some(file) = file {
            beside.spawn(until_it_fails("keys.yaml is no longer reread", watch(file, ring.clone(), surroundings)));
        }
        Followed(clickstack.map(|source| {
            let (stop, stopped) = oneshot::channel();
            let stopped = async move {
                let _ = stopped.await;
            };
            (stop, tokio::spawn(source.follow(ring, readiness.clone(), stopped)))
        }))
    }
}

impl Followed {
    /// Tells those who want to hear of a clean stop, for at most so long.
    pub(super) async fn stop(self, within: Duration) {
        if let Some((stop, task)) = self.0 {
            drop(stop);
            let _ = tokio::time::timeout(within, task).await;
        }
    }
}
