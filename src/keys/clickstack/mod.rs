//! Keys from ClickStack itself: the ingestion key in HyperDX's team settings is valid here, there and then, and a rotated one too.
//!
//! ClickStack's app hands its keys to its collectors over OpAMP; otelgate asks as one more of them. Invariants: a key is held as its
//! digest as soon as the answer is read; an answer that cannot be used changes nothing; one message at a time.

mod exchange;
mod ingestion;
mod known;
mod opamp;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{KeyRing, Offer, Source};
use crate::blocking;
use crate::config;
use crate::https;
use crate::metrics::{Metrics, Outcome};
use crate::readiness::Readiness;
use crate::shared_server;
use crate::state_file;
use exchange::{App, ExchangeError};
use ingestion::TeamKey;
use known::{Kept, Known};
use opamp::{Agent, Health, Told};

/// The first pause after a failure while no key was ever known; doubled up to the poll interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A stop waits this long for the app to hear of it.
const GOODBYE: Duration = Duration::from_secs(2);
/// The file in the state folder.
const KEPT: &str = "clickstack-keys.json";
/// The name of the key of requests that present none.
const ANONYMOUS: &str = "anonymous";

/// Why the source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The certificates of `keys.clickstack.ca_file`.
    #[error("keys.clickstack: {0}")]
    Tls(#[from] https::SetupError),
    /// The server through which limits are shared.
    #[error(transparent)]
    Shared(#[from] shared_server::SetupError),
    /// The certificates of a `ca_file` of `keys.oidc`.
    #[error("keys.oidc: {0}")]
    Oidc(https::SetupError),
    /// The state folder.
    #[error("{path}: {source}; otelgate keeps the digests of ClickStack's keys there (state_dir)")]
    State {
        /// The file or folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The source of keys that is ClickStack's app.
#[derive(Debug)]
pub(crate) struct ClickStackKeys {
    config: config::ClickStackKeys,
    app: App,
    agent: Agent,
    known: Known,
    kept: PathBuf,
    failures: u32,
    metrics: Arc<Metrics>,
}

impl ClickStackKeys {
    /// Reads what was kept in `state_dir`, so that a start while the app is away admits what was admitted before, and puts it into the ring.
    ///
    /// # Errors
    /// [`OpenError`]. What was kept by another version, or is damaged, is no error: it is said, and the app is asked.
    pub(crate) async fn open(
        config: config::ClickStackKeys,
        state_dir: PathBuf,
        ring: &KeyRing,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let kept = state_dir.join(KEPT);
        let app = App::new(config.url.clone(), config.ca_file.as_deref())?;
        let path = kept.clone();
        let bytes = blocking::run_io(move || {
            std::fs::create_dir_all(&state_dir)?;
            read_if_there(&path)
        });
        let shown = kept.display().to_string();
        let failed = |source| OpenError::State { path: shown.clone(), source };
        let bytes = bytes.await.map_err(failed)?;
        let restored = bytes.and_then(|bytes| restore(&bytes, config.grace));
        let (instance, known) = restored.unwrap_or_else(|| (new_instance(), Known::default()));
        if config.open_ingestion {
            warn!("keys.clickstack.open_ingestion: when ClickStack does not enforce keys, anybody may send");
        }
        let agent = Agent::new(instance, unix_nanos());
        let source = ClickStackKeys { config, app, agent, known, kept, failures: 0, metrics };
        // The id must be on disk before the app hears it.
        source.keep().await.map_err(failed)?;
        source.offer(ring);
        Ok(source)
    }

    /// Asks the app again and again and keeps the ring in step with it, by `changed` settings from when they come, until `stop`; then the app hears
    /// that this otelgate goes.
    pub(crate) async fn follow(
        mut self,
        ring: Arc<KeyRing>,
        readiness: Readiness,
        mut changed: Receiver<config::ClickStackKeys>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        let mut next_poll = Instant::now();
        loop {
            let expiry = self.known.next_expiry();
            tokio::select! {
                () = tokio::time::sleep_until(next_poll) => {
                    let pause = self.poll(&ring, &readiness).await;
                    next_poll = Instant::now() + pause;
                }
                () = tokio::time::sleep_until(expiry.unwrap_or(next_poll)), if expiry.is_some() => {
                    self.known.expire(Instant::now());
                    self.changed(&ring).await;
                }
                Ok(()) = changed.changed() => {
                    let config = changed.borrow_and_update().clone();
                    self.take_over(config, &ring);
                    next_poll = Instant::now();
                }
                () = &mut stop => break,
            }
        }
        let goodbye = self.agent.goodbye();
        // Nobody is there to hear how it went.
        let _ = tokio::time::timeout(GOODBYE, self.app.exchange(&goodbye)).await;
    }

    /// Goes on with other settings; keys stay until the app that is asked by then tells of others.
    fn take_over(&mut self, config: config::ClickStackKeys, ring: &KeyRing) {
        if (&config.url, &config.ca_file) != (&self.config.url, &self.config.ca_file) {
            match App::new(config.url.clone(), config.ca_file.as_deref()) {
                Ok(app) => (self.app, self.failures) = (app, 0),
                Err(error) => {
                    warn!(%error, "keys.clickstack: the app is asked as before");
                    return;
                }
            }
            self.agent.lost();
        }
        self.config = config;
        self.offer(ring);
    }

    /// One question to the app; how long to wait before the next.
    async fn poll(&mut self, ring: &KeyRing, readiness: &Readiness) -> Duration {
        let instance = self.agent.instance();
        let message = self.agent.poll(&Health::of(readiness));
        let answer = match self.app.exchange(&message).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error),
        };
        self.metrics.key_polls.get_or_create(&Outcome { outcome: "ok" }).inc();
        if std::mem::take(&mut self.failures) > 0 {
            info!(url = %self.config.url, "ClickStack's app answers again");
        }
        let news = match self.agent.take(answer) {
            Told::Ingestion(ingestion) => self.known.learn(ingestion, Instant::now(), self.config.grace),
            Told::Nothing => false,
        };
        if news {
            self.say();
        }
        if news || self.agent.instance() != instance {
            self.changed(ring).await;
        }
        self.config.poll_interval
    }

    fn failed(&mut self, error: &ExchangeError) -> Duration {
        self.agent.lost();
        self.metrics.key_polls.get_or_create(&Outcome { outcome: "failed" }).inc();
        if self.failures == 0 {
            let still = if self.known.is_waiting() { "no key is known yet" } else { "the keys stay as they were" };
            warn!(url = %self.config.url, %error, "ClickStack's app cannot be asked for its keys; {still}");
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let pause =
            if self.known.is_waiting() { doubled.min(self.config.poll_interval) } else { self.config.poll_interval };
        error.retry_after().map_or(pause, |advice| advice.max(pause))
    }

    /// What the app says now, in words, once.
    fn say(&self) {
        match (self.known.is_open(), self.config.open_ingestion) {
            (true, true) => warn!("ClickStack does not enforce keys: anybody may send, as the key `{ANONYMOUS}`"),
            (true, false) => warn!(
                "ClickStack does not enforce keys; otelgate stays closed. Turn enforcement on in ClickStack, or write keys.clickstack.open_ingestion: true"
            ),
            (false, _) if self.known.keys().is_empty() => warn!("ClickStack has no ingestion key yet"),
            _ => {}
        }
    }

    /// Brings what is known into the ring and onto the disk.
    async fn changed(&self, ring: &KeyRing) {
        self.offer(ring);
        if let Err(error) = self.keep().await {
            warn!(file = %self.kept.display(), %error, "the digests of ClickStack's keys could not be kept; a start while the app is away would not know them");
        }
    }

    fn offer(&self, ring: &KeyRing) {
        let entry = |key: &TeamKey| self.config.defaults.entry(format!("clickstack-{}", key.team), key.sha256);
        let open = self.known.is_open() && self.config.open_ingestion;
        ring.replace(
            Source::ClickStack,
            Offer {
                keys: self.known.keys().iter().map(entry).collect(),
                vanished: self.known.vanished().iter().map(|vanished| entry(&vanished.key)).collect(),
                anonymous: open.then(|| self.config.defaults.entry(ANONYMOUS.to_owned(), [0; 32])),
                waiting: self.known.is_waiting(),
            },
        );
        super::count(ring, &self.metrics);
    }

    async fn keep(&self) -> io::Result<()> {
        let (path, kept) = (self.kept.clone(), Kept::new(self.agent.instance(), &self.known));
        blocking::run_io(move || state_file::replace(&path, &serde_json::to_vec(&kept)?)).await
    }
}

impl Health {
    fn of(readiness: &Readiness) -> Health {
        let (ready, report) = readiness.report();
        Health { problem: (!ready).then_some(report) }
    }
}

fn read_if_there(path: &std::path::Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn restore(bytes: &[u8], grace: Duration) -> Option<([u8; 16], Known)> {
    let kept = serde_json::from_slice::<Kept>(bytes).map_err(io::Error::from);
    kept.and_then(|kept| kept.restore(grace))
        .inspect_err(|_| warn!("{KEPT} in state_dir cannot be used, and is written anew"))
        .ok()
}

/// A UUID of version 7 (RFC 9562, 5.7).
fn new_instance() -> [u8; 16] {
    let mut id: [u8; 16] = rand::random();
    let milliseconds = (unix_nanos() / 1_000_000).to_be_bytes();
    id[..6].copy_from_slice(&milliseconds[2..]);
    id[6] = id[6] & 0x0f | 0x70;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the fuzz targets reach.
pub(super) mod fuzzing {
    use prost::Message as _;

    use super::ingestion::{self, Ingestion};
    use super::opamp::{Agent, Told, proto::ServerToAgent};

    /// How many keys an answer of the app names.
    pub fn opamp_answer(bytes: &[u8]) -> usize {
        let told = ServerToAgent::decode(bytes).map(|answer| Agent::new([7; 16], 1).take(answer));
        match told {
            Ok(Told::Ingestion(told)) => count(&told),
            Ok(Told::Nothing) | Err(_) => 0,
        }
    }

    /// How many keys a collector's configuration names.
    pub fn ingestion(bytes: &[u8]) -> usize {
        ingestion::read(bytes).map_or(0, |told| count(&told))
    }

    fn count(told: &Ingestion) -> usize {
        match told {
            Ingestion::Keys(keys) => keys.len(),
            Ingestion::NoKeyYet | Ingestion::Open => 0,
        }
    }
}
