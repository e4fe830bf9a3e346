//! Certificates by themselves: ordered from a directory (RFC 8555), kept in a folder, renewed in time.
//!
//! What was ordered is a file like any other, which [`Tls`] reads again when it changes: so processes that share the folder share the certificate. One of
//! them orders at a time (a lock), and each can answer for the other's challenge, for its text lies in the folder too.
//!
//! Invariants: nothing that the directory says or does not say ends the process; what is shown stays until something better is there.
//!
//! - `cache`: the folder; `order`: from a name to a certificate; `client`: how the directory is spoken to
//! - `challenge`: TLS-ALPN-01 (RFC 8737) on the OTLP listeners; `http`: HTTP-01 on a listener of its own

mod cache;
mod challenge;
mod client;
mod http;
mod order;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::tls::Tls;
use crate::blocking;
use crate::causes::causes;
use crate::config::{Acme, Challenge};
use crate::metrics::{Metrics, Outcome};
use crate::readiness::{Check, Readiness, State};

pub(super) use cache::Cache;
pub(super) use challenge::{asked_for, config as challenge_config};
use order::OrderError;

/// How often the folder is looked at while another process orders, and at the least.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));
/// Longest time for one order.
const PATIENCE: Duration = Duration::from_secs(300);
/// First pause after an error, doubled with each that follows: after a refusal more, for directories count them.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Keeps a certificate that is good, for as long as it is polled.
pub(crate) async fn keep(acme: Acme, tls: Arc<Tls>, readiness: Readiness, metrics: Arc<Metrics>) {
    let cache = Cache::of(&acme);
    let check = readiness.check("certificate");
    check.set(State::No(format!("no certificate yet: one for {} is being ordered", acme.domains.join(", "))));
    let answering = async {
        if let Challenge::Http01(address) = acme.challenge {
            http::serve(address, &cache).await;
        }
    };
    let keeper = Keeper { acme: &acme, cache: &cache, tls: &tls, check, metrics: &metrics };
    tokio::join!(answering, keeper.run());
}

struct Keeper<'a> {
    acme: &'a Acme,
    cache: &'a Cache,
    tls: &'a Arc<Tls>,
    check: Check,
    metrics: &'a Metrics,
}

impl Keeper<'_> {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let pause = match self.step().await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    failures += 1;
                    self.failed(&error, pause(&error, failures))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks at what is kept, and orders when it is time; for how long there is nothing to do then.
    async fn step(&self) -> Result<Duration, OrderError> {
        let (cache, domains) = (self.cache.clone(), self.acme.domains.clone());
        let left = move || cache.open().map(|()| cache.left(&domains, SystemTime::now()));
        let left = blocking::run_io(left).await?;
        if !left.is_zero() {
            self.shown().await;
            return Ok(left.clamp(Duration::from_secs(1), LOOK_AGAIN.1));
        }
        let cache = self.cache.clone();
        let Some(_lock) = blocking::run_io(move || cache.lock()).await? else {
            return Ok(LOOK_AGAIN.0);
        };
        // Whoever had the lock may have ordered just now.
        let (cache, domains) = (self.cache.clone(), self.acme.domains.clone());
        if blocking::run_io(move || Ok(cache.left(&domains, SystemTime::now()))).await?.is_zero() {
            let order = tokio::time::timeout(PATIENCE, order::order(self.acme, self.cache)).await;
            order.unwrap_or(Err(OrderError::Slow(PATIENCE)))?;
            tracing::info!(domains = self.acme.domains.join(", "), "a new certificate was ordered");
            self.metrics.acme_orders.get_or_create(&Outcome { outcome: "ok" }).inc();
        }
        Ok(Duration::from_secs(1))
    }

    /// What is kept is good: it is in use from now on.
    async fn shown(&self) {
        if !self.tls.has_ordered() {
            let tls = Arc::clone(self.tls);
            // A panic would have been logged.
            let _ = blocking::run(move || tls.reload(true)).await;
        }
        if self.tls.has_ordered() {
            self.check.set(State::Ok);
        }
    }

    fn failed(&self, error: &OrderError, pause: Duration) -> Duration {
        let why = causes(error);
        tracing::error!(error = why, ?pause, "no certificate could be ordered; trying again");
        self.metrics.acme_orders.get_or_create(&Outcome { outcome: "failed" }).inc();
        self.check.set(match self.tls.has_ordered() {
            true => State::Degraded(format!("the certificate cannot be renewed: {why}")),
            false => State::No(format!("no certificate yet: {why}")),
        });
        pause
    }
}

fn pause(error: &OrderError, failures: u32) -> Duration {
    let first = if error.is_refusal() { PAUSE_AFTER_REFUSAL } else { PAUSE };
    first.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_are_longer_after_a_refusal() {
        let seconds = |error: &OrderError| [1, 2, 5, 100].map(|failures| pause(error, failures).as_secs());
        assert_eq!(seconds(&OrderError::Slow(PATIENCE)), [5, 10, 80, 3600]);
        assert_eq!(seconds(&OrderError::Refused("no".into())), [60, 120, 960, 3600]);
    }
}
