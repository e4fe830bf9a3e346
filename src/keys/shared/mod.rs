//! Limits that replicas share through a Redis (or Valkey): each counts by itself, says what its keys used, and hears what the others used.
//!
//! A request never waits for anybody. A report goes out every `flush`, and at once when a key has used a fiftieth of its burst since its last one, with
//! all keys that were used since; a key that sends nothing costs nothing. Between two reports a replica knows less than was used, so that all of them
//! together let a little too much through, which the next ones pay: over time it evens out.
//!
//! Redis away: each replica takes the limit divided by the replicas seen last. Back: what each knows to be used is said as such, so that neither a
//! server that forgot everything nor one that forgot nothing gives or takes a burst.

mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::usage::{News, Report, Usage};
use crate::config::SharedLimits;
use crate::metrics::{Metrics, Outcome};
use crate::shared_server::SetupError;
pub(crate) use server::Server;

/// A replica says at least so often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// So many keys go into one call; the next ones follow in another.
const KEYS_A_CALL: usize = 1000;
/// The longest pause before a server that is away is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the keys of this process know of the replicas, and the replicas of them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Keys that were used since their last report.
    listed: Mutex<Vec<Arc<Usage>>>,
    /// The first of them is listed.
    first: Notify,
    early: Notify,
    /// One in so many of each limit is this process's own.
    parts: AtomicU32,
    state: Mutex<SharedState>,
    flush: Duration,
}

/// How it stands with the replicas.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SharedState {
    /// Whether the server answers.
    pub(crate) connected: bool,
    /// Replicas seen last, this one included; 0: none was ever.
    pub(crate) replicas: u32,
    /// One in so many of each limit is this replica's own now: 1 while the server answers.
    pub(crate) limits_divided_by: u32,
    /// Why the server does not answer.
    pub(crate) last_error: Option<String>,
}

impl Shared {
    /// Nobody was asked yet.
    ///
    /// # Errors
    /// The server can never be asked with these settings.
    pub(crate) fn open(config: &SharedLimits) -> Result<(Arc<Shared>, Server), SetupError> {
        let server = Server::new(config)?;
        let state = SharedState { limits_divided_by: 1, ..SharedState::default() };
        let shared = Shared {
            listed: Mutex::default(),
            first: Notify::new(),
            early: Notify::new(),
            parts: AtomicU32::new(1),
            state: Mutex::new(state),
            flush: config.flush,
        };
        Ok((Arc::new(shared), server))
    }

    /// How it stands.
    pub(crate) fn state(&self) -> SharedState {
        self.state.lock().clone()
    }

    /// One in so many of each limit may be used here.
    pub(super) fn parts(&self) -> u32 {
        self.parts.load(Ordering::Relaxed)
    }

    /// This key was used, and is to be spoken of.
    pub(super) fn used(&self, usage: &Arc<Usage>, news: News) {
        if news.first {
            let mut listed = self.listed.lock();
            listed.push(usage.clone());
            if listed.len() == 1 {
                self.first.notify_one();
            }
        }
        if news.early {
            self.early.notify_one();
        }
    }

    /// Reports and learns, for as long as it is polled.
    pub(crate) async fn follow(self: Arc<Self>, mut server: Server, metrics: Arc<Metrics>) {
        let (mut failures, mut asked) = (0u32, None::<Instant>);
        loop {
            if let Some(asked) = asked {
                self.due(asked).await;
            }
            asked = Some(Instant::now());
            let result = self.exchange(&mut server).await;
            let outcome = if result.is_ok() { "ok" } else { "failed" };
            metrics.shared_limit_calls.get_or_create(&Outcome { outcome }).inc();
            match result {
                Ok(replicas) => {
                    self.connected(replicas, server.url());
                    failures = 0;
                }
                Err(error) => {
                    self.away(&error, server.url());
                    let pause = self.flush.saturating_mul(1 << failures.min(5)).min(LONGEST_PAUSE);
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(pause).await;
                }
            }
            let state = self.state();
            metrics.shared_limit_connected.set(i64::from(state.connected));
            metrics.shared_limit_replicas.set(i64::from(state.replicas));
            metrics.shared_limit_divided_by.set(i64::from(state.limits_divided_by));
        }
    }

    /// Waits until the next report after the one that was made at `asked`: `flush` later when there is something to say, at once when it is much, and
    /// nobody is woken up meanwhile when there is nothing.
    async fn due(&self, asked: Instant) {
        let listed = async |told: &Notify| {
            while self.listed.lock().is_empty() {
                told.notified().await;
            }
        };
        tokio::select! {
            () = async {
                listed(&self.first).await;
                tokio::time::sleep_until(asked + self.flush).await;
            } => {}
            // It may have gone with the last report.
            () = async {
                self.early.notified().await;
                listed(&self.early).await;
            } => {}
            () = tokio::time::sleep_until(asked + HEARTBEAT) => {}
        }
    }

    /// Says what was used, in one call, and hears what the others used; how many replicas there are.
    async fn exchange(&self, server: &mut Server) -> Result<u32, String> {
        let keys: Vec<Arc<Usage>> = {
            let mut listed = self.listed.lock();
            let now = listed.len().min(KEYS_A_CALL);
            let rest = listed.split_off(now);
            std::mem::replace(&mut *listed, rest)
        };
        let reports: Vec<(Arc<Usage>, Report)> = keys
            .into_iter()
            .map(|usage| {
                let report = usage.report();
                (usage, report)
            })
            .collect();
        match server.call(&reports).await {
            Ok((replicas, debts)) => {
                for ((usage, report), debts) in reports.iter().zip(debts) {
                    usage.learn(report, debts);
                }
                Ok(replicas)
            }
            Err(error) => {
                // What they know is to be said once the server is back.
                for (usage, _) in &reports {
                    self.used(usage, News { first: usage.list(), early: false });
                }
                Err(error)
            }
        }
    }

    fn connected(&self, replicas: u32, url: &str) {
        let mut state = self.state.lock();
        if !state.connected {
            info!(url, replicas, "limits are shared with the other replicas");
        }
        *state = SharedState { connected: true, replicas, limits_divided_by: 1, last_error: None };
        self.parts.store(1, Ordering::Relaxed);
    }

    fn away(&self, error: &str, url: &str) {
        let mut state = self.state.lock();
        let divided = state.replicas.max(1);
        if state.connected || state.last_error.is_none() {
            warn!(
                url,
                error,
                replicas = divided,
                "limits cannot be shared now: each limit is divided by the replicas seen last"
            );
        }
        state.connected = false;
        state.limits_divided_by = divided;
        state.last_error = Some(error.to_owned());
        self.parts.store(divided, Ordering::Relaxed);
    }
}
