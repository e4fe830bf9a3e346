//! Own telemetry: otelgate's metrics, lines of its log and a sample of requests, written where everybody's telemetry goes, by the same path.
//!
//! Invariants: it has a key of its own, `otelgate`, with limits and a share of the spool of its own, so that it takes nothing from others; at most one request of
//! it is under way; what it causes makes no telemetry: its requests are not sampled, its key's series are left out, what is said about it is not noted.
//! What finds no room is counted and gone; what was counted meanwhile goes out with the next metrics.

mod message;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{self, AllowedOrigins, KeyEntry, KeyLimits};
use crate::gateway::Gateway;
use crate::keys::Key;
use crate::metrics::{Metrics, OfSignal};
use crate::notes::Notes;
use crate::reply::Refusal;
use crate::signal::Signal;
use message::Who;
use snapshot::{Series, Snapshot};

/// The key's name.
const KEY: &str = "otelgate";
/// What it may send.
const LIMITS: KeyLimits = KeyLimits {
    requests_per_second: 10,
    bytes_per_second: 1 << 20,
    records_per_second: 1000,
    burst: Duration::from_secs(10),
};
/// Points of metrics in one request.
const POINTS: usize = 1000;
/// How often lines and requests are written, when there are any.
const EVERY: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last of it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Own telemetry while it is written.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<()>,
}

struct Telemetry {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    notes: Arc<Notes>,
    key: Arc<Key>,
    settings: config::Telemetry,
    who: Who,
    /// What went out, and when.
    before: Snapshot,
    since: BTreeMap<Series, SystemTime>,
    began: SystemTime,
}

/// Writes what `settings` ask for from now on. Nothing happens where they ask for nothing.
pub(crate) fn start(
    settings: &config::Telemetry,
    gateway: &Arc<Gateway>,
    metrics: &Arc<Metrics>,
    notes: Arc<Notes>,
) -> Running {
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = watch::channel(());
    if settings.is_on() {
        let telemetry = Telemetry {
            gateway: gateway.clone(),
            metrics: metrics.clone(),
            notes,
            key: Key::own(entry()),
            settings: settings.clone(),
            who: Who::new(&identity()),
            before: Snapshot::default(),
            since: BTreeMap::new(),
            began: SystemTime::now(),
        };
        tokio::spawn(async move {
            telemetry.run(stopped).await;
            drop(end);
        });
    }
    Running { stop, ended }
}

impl Running {
    /// Writes what is there, and no more: between the last request and the end. Waits for it, but not for long.
    pub(crate) async fn finish(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        // An error is the end.
        let _ = timeout(GOODBYE, ended.changed()).await;
    }
}

impl Telemetry {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut notes = interval(EVERY);
        let mut metrics = interval(self.settings.metrics.unwrap_or(EVERY));
        for ticks in [&mut notes, &mut metrics] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick comes at once.
            ticks.reset();
        }
        loop {
            tokio::select! {
                _ = notes.tick() => self.write_notes().await,
                _ = metrics.tick() => self.write_metrics().await,
                _ = stopped.changed() => break,
            }
        }
        self.write_notes().await;
        self.write_metrics().await;
    }

    async fn write_notes(&self) {
        let (lines, dropped) = self.notes.take_lines();
        self.dropped(Signal::Logs, dropped);
        let records = lines.iter().map(message::log_record).collect();
        self.write_or_drop(Signal::Logs, records).await;
        let (requests, dropped) = self.notes.take_requests();
        self.dropped(Signal::Traces, dropped);
        let records = requests.iter().map(message::span).collect();
        self.write_or_drop(Signal::Traces, records).await;
    }

    async fn write_or_drop(&self, signal: Signal, records: Vec<Vec<u8>>) {
        let count = records.len() as u64;
        if count > 0 && self.write(signal, self.who.request(records.into_iter())).await.is_err() {
            self.dropped(signal, count);
        }
    }

    async fn write_metrics(&mut self) {
        if self.settings.metrics.is_none() {
            return;
        }
        let Ok(text) = self.metrics.text() else { return };
        let now = SystemTime::now();
        let mut snapshot = Snapshot::read(&text, KEY);
        let changed: Vec<_> = snapshot.since(&self.before).0.into_iter().collect();
        let mut refused = BTreeSet::new();
        for points in changed.chunks(POINTS) {
            let since = |series| self.since.get(series).copied().unwrap_or(self.began);
            let records = points.iter().map(|(series, value)| message::metric(series, value, since(series), now));
            let request = self.who.request(records);
            if self.write(Signal::Metrics, request).await.is_ok() {
                self.since.extend(points.iter().map(|(series, _)| (series.clone(), now)));
            } else {
                self.dropped(Signal::Metrics, points.len() as u64);
                refused.extend(points.iter().map(|(series, _)| series.clone()));
            }
        }
        // What did not go out is added to the next.
        for series in refused {
            match self.before.0.remove(&series) {
                Some(before) => drop(snapshot.0.insert(series, before)),
                None => drop(snapshot.0.remove(&series)),
            }
        }
        self.before = snapshot;
    }

    async fn write(&self, signal: Signal, request: Bytes) -> Result<(), Refusal> {
        let written = self.gateway.take_own(&self.key, signal, request, self.settings.max_spool_bytes).await;
        written.inspect_err(|refusal| {
            crate::limited!(info, %signal, %refusal, "own telemetry finds no room");
        })
    }

    fn dropped(&self, signal: Signal, records: u64) {
        self.metrics.telemetry_dropped_records.get_or_create(&OfSignal { signal: signal.name() }).inc_by(records);
    }
}

/// The key that own telemetry is of. Nobody can show it: its value is not known to anybody.
fn entry() -> KeyEntry {
    KeyEntry {
        name: KEY.to_owned(),
        sha256: rand::random(),
        signals: Signal::ALL.into(),
        certificate: None,
        expires: None,
        resource: BTreeMap::new(),
        origins: AllowedOrigins::Any,
        enabled: true,
        limits: LIMITS,
    }
}

fn identity() -> [(&'static str, String); 4] {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    [
        ("service.name", KEY.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", format!("{:032x}", rand::random::<u128>())),
        ("host.name", host.trim().to_owned()),
    ]
}
