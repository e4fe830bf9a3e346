//! The configuration file, read again while the program runs.
//!
//! Invariants: a file is taken over whole or not at all, and one with a mistake changes nothing but what is said of it; what is changed is changed by
//! swaps, so that no connection is closed and no request waits or fails for it; a limit that stayed the same keeps what was used of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::keys::Followed;
use crate::admin::status::ConfigurationWatch;
use crate::blocking;
use crate::config::{Config, Log, Mistakes, Next, Seen, Surroundings, TTL, read_again};
use crate::gateway::Gateway;
use crate::metrics::{Metrics, Outcome};
use crate::rounds::{Changes, Rounds};
use crate::sink::Sink;

/// Where the configuration came from, and what the program does about a changed section `log`.
pub struct Origin {
    /// The configuration's file.
    pub file: PathBuf,
    /// Called when section `log` changed.
    pub log: Box<dyn Fn(&Log) + Send>,
}

/// What runs by the configuration.
pub(super) struct Reload {
    pub(super) origin: Origin,
    /// What counts now.
    pub(super) config: Arc<Config>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) sources: Followed,
    pub(super) status: ConfigurationWatch,
    pub(super) metrics: Arc<Metrics>,
}

impl Reload {
    /// Looks at the file, and at those that it names as `${file:…}`, until `stop`: in each of `rounds`, and at once at SIGHUP.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub(super) async fn follow(
        &mut self,
        rounds: &Rounds,
        surroundings: impl Surroundings + Clone + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        tokio::pin!(stop);
        let seen = Arc::new(Mutex::new(None::<Seen>));
        let (looked_at, around) = (seen.clone(), surroundings.clone());
        let differs = move || looked_at.lock().as_ref().is_none_or(|seen| !seen.is_current(&around));
        let mut changes = Changes::of(rounds, differs)?;
        loop {
            let asked = tokio::select! {
                asked = changes.next() => asked,
                () = &mut stop => return Ok(()),
            };
            let (file, current, surroundings) = (self.origin.file.clone(), self.config.clone(), surroundings.clone());
            let seen = seen.clone();
            // A file may lie on a disk that hangs.
            let read = move || {
                let mut seen = seen.lock();
                let (now, next) = read_again(&file, &current, &surroundings);
                *seen = Some(now);
                next
            };
            match blocking::run(read).await? {
                Ok(next) => self.take_over(next, asked).await,
                Err(Mistakes(mistakes)) => self.refuse(mistakes.iter().map(ToString::to_string).collect()),
            }
        }
    }

    /// Everything that can fail first, then one swap after another.
    async fn take_over(&mut self, next: Next, asked: bool) {
        let Next { config, keys, changes, waiting, remarks } = next;
        if changes.is_empty() && !asked && self.status.is_good(&waiting) {
            return;
        }
        let renewal = match self.sink.clone().renewal(&config.sink) {
            Ok(renewal) => renewal,
            Err(why) => return self.refuse(vec![why]),
        };
        let prepared = match self.sources.prepare(&self.config, &config).await {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(vec![error.to_string()]),
        };
        self.gateway.take_over(config.cors.allowed_origins.clone(), config.keys.max_failures_per_minute);
        if changes.iter().any(|name| name.starts_with("sink.")) {
            renewal();
        }
        if config.log.level != self.config.log.level {
            (self.origin.log)(&config.log);
        }
        self.sources.take_over(&config, keys, prepared).await;
        self.config = Arc::new(config);
        self.say(&changes, waiting, asked);
        remarks.iter().for_each(|remark| warn!("{remark}"));
    }

    fn say(&self, changes: &[&'static str], waiting: Vec<&'static str>, asked: bool) {
        let file = self.origin.file.display();
        if asked || !changes.is_empty() {
            info!(%file, changes = changes.join(", "), "configuration read again");
            self.metrics.config_reloads.get_or_create(&Outcome { outcome: "ok" }).inc();
        }
        if changes.contains(&TTL) {
            info!(
                "{TTL} counts for tables that are created from now on; `otelgate schema apply --ttl` brings it to those that are there"
            );
        }
        if !waiting.is_empty() {
            warn!(%file, waiting = waiting.join(", "), "these settings were changed too; they wait for a restart");
        }
        self.metrics.config_refused.set(0);
        self.metrics.config_waiting.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        self.status.good(!changes.is_empty(), waiting);
    }

    fn refuse(&self, mistakes: Vec<String>) {
        mistakes.iter().for_each(|mistake| error!("{mistake}"));
        error!(file = %self.origin.file.display(), "the configuration stays as it was: the file has mistakes");
        self.metrics.config_reloads.get_or_create(&Outcome { outcome: "refused" }).inc();
        self.metrics.config_refused.set(1);
        self.status.refused(mistakes);
    }
}
