//! The sources of keys as one thing that is opened, followed, and changed while it is followed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch as channel};
use tokio::task::{JoinHandle, JoinSet};

use super::until_it_fails;
use crate::config::{self, Config, KeyEntry, Surroundings};
use crate::keys::{
    ClickStackKeys, KeyRing, KeysFile, KeysPlace, LimitsServer, Offer, OpenError, Shared, Source, Tokens, look_after,
    watch,
};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::rounds::Rounds;

/// How long a source that is no longer wanted may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// The ring and where its keys come from.
pub(super) struct KeySources {
    ring: Arc<KeyRing>,
    clickstack: Option<ClickStackKeys>,
    shared: Option<(Arc<Shared>, LimitsServer)>,
    metrics: Arc<Metrics>,
}

/// Sources that are followed.
pub(super) struct Followed {
    ring: Arc<KeyRing>,
    file: channel::Sender<KeysPlace>,
    clickstack: Option<FollowedApp>,
    /// Fetches the keys of issuers.
    issuers: JoinSet<()>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// What a changed configuration needs and may fail.
pub(super) struct Prepared {
    app: Option<ClickStackKeys>,
    /// None: the issuers are the same.
    tokens: Option<Option<Arc<Tokens>>>,
}

/// ClickStack's app, while it is asked.
struct FollowedApp {
    settings: channel::Sender<config::ClickStackKeys>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

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
        let ring = Arc::new(KeyRing::sharing(shared.clone()));
        ring.take_tokens(Tokens::of(&config.keys.oidc, None, shared.as_ref(), metrics)?);
        ring.replace(Source::File, entries.into());
        let clickstack = open_app(config, &ring, metrics).await?;
        let shared = shared.zip(server);
        Ok(KeySources { ring, clickstack, shared, metrics: metrics.clone() })
    }

    pub(super) fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Keeps the ring in step with its sources from now on.
    pub(super) fn follow(
        self,
        config: &Config,
        surroundings: impl Surroundings + Clone + Send + 'static,
        readiness: &Readiness,
        rounds: &Rounds,
        beside: &mut JoinSet<()>,
    ) -> Followed {
        let KeySources { ring, clickstack, shared, metrics } = self;
        if let Some((shared, server)) = shared {
            beside.spawn(shared.follow(server, metrics.clone()));
        }
        look_after(ring.clone(), rounds, metrics.clone());
        let (file, place) = channel::channel(place(config));
        let watched = KeysFile::new(place.borrow().clone(), metrics.clone());
        let watched = watch(watched, rounds.clone(), place, ring.clone(), surroundings);
        beside.spawn(until_it_fails("keys.yaml is no longer reread", watched));
        let (readiness, issuers) = (readiness.clone(), JoinSet::new());
        let mut followed = Followed { ring, file, clickstack: None, issuers, readiness, metrics };
        followed.ask_issuers();
        if let (Some(source), Some(settings)) = (clickstack, config.keys.clickstack.clone()) {
            followed.ask(source, settings);
        }
        followed
    }
}

impl Followed {
    /// Opens what a changed configuration names and `old` did not. Keys that were kept of ClickStack's count from then on; nothing else changes yet.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) async fn prepare(&self, old: &Config, config: &Config) -> Result<Prepared, OpenError> {
        let of = || Tokens::of(&config.keys.oidc, self.ring.tokens().as_deref(), self.ring.shares(), &self.metrics);
        let tokens = if old.keys.oidc == config.keys.oidc { None } else { Some(of()?) };
        let app = match self.clickstack {
            Some(_) => None,
            None => open_app(config, &self.ring, &self.metrics).await?,
        };
        Ok(Prepared { app, tokens })
    }

    /// Takes over a changed configuration: `entries` are those of keys.yaml, where they may be others.
    pub(super) async fn take_over(&mut self, config: &Config, entries: Option<Vec<KeyEntry>>, prepared: Prepared) {
        let Prepared { app: opened, tokens } = prepared;
        if let Some(tokens) = tokens {
            self.ring.take_tokens(tokens);
            self.ask_issuers();
        }
        // First who looks at the file, so that nobody looks by the old rules after the new ones were applied.
        if let Some(entries) = entries {
            self.file.send_replace(place(config));
            self.ring.replace(Source::File, entries.into());
        }
        match (&config.keys.clickstack, self.clickstack.take(), opened) {
            (Some(settings), Some(app), _) => {
                app.settings.send_if_modified(|current| {
                    let differs = current != settings;
                    if differs {
                        current.clone_from(settings);
                    }
                    differs
                });
                self.clickstack = Some(app);
            }
            (Some(settings), None, Some(source)) => self.ask(source, settings.clone()),
            (None, Some(app), _) => {
                // Until it has ended, an answer of the app's may come.
                app.end(GOODBYE).await;
                self.ring.replace(Source::ClickStack, Offer::default());
            }
            (_, None, _) => {}
        }
    }

    /// Those that were asked before are no longer.
    fn ask_issuers(&mut self) {
        self.issuers = JoinSet::new();
        for issuer in self.ring.tokens().iter().flat_map(|tokens| tokens.follow()) {
            self.issuers.spawn(issuer);
        }
    }

    fn ask(&mut self, source: ClickStackKeys, settings: config::ClickStackKeys) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (settings, changed) = channel::channel(settings);
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(source.follow(self.ring.clone(), self.readiness.clone(), changed, stopped));
        self.clickstack = Some(FollowedApp { settings, stop, task });
    }

    /// Tells those who want to hear of a clean stop, for at most so long.
    pub(super) async fn stop(self, within: Duration) {
        if let Some(app) = self.clickstack {
            app.end(within).await;
        }
    }
}

impl FollowedApp {
    /// Lets it say goodbye to the app, for at most so long; then it has ended.
    async fn end(self, within: Duration) {
        let FollowedApp { settings: _settings, stop, mut task } = self;
        drop(stop);
        if tokio::time::timeout(within, &mut task).await.is_err() {
            task.abort();
            let _ = task.await;
        }
    }
}

async fn open_app(
    config: &Config,
    ring: &KeyRing,
    metrics: &Arc<Metrics>,
) -> Result<Option<ClickStackKeys>, OpenError> {
    let Some(source) = config.keys.clickstack.clone() else { return Ok(None) };
    Ok(Some(ClickStackKeys::open(source, config.state_dir.clone(), ring, metrics.clone()).await?))
}

fn place(config: &Config) -> KeysPlace {
    config.keys.file.clone().map(|file| (file, config.key_rules()))
}
