//! Forwarding: a batch's parts are export requests to a collector, or to any other OTLP endpoint.
//!
//! | module | what it does |
//! | --- | --- |
//! | `encode` | what clients sent into export requests, by concatenation |
//! | `endpoints` | which address is taken |
//! | `connect` | TLS and plaintext connections to it |
//! | `refusal` | connections that remember that our certificate was refused |
//! | `export` | one export, over gRPC or HTTP |
//! | `answer` | what an answer means |
//!
//! A collector keeps no token and cannot be asked what it has: an export whose outcome is unknown goes again, so its records arrive at least
//! once, and perhaps twice; `otelgate_forward_unknown_records_total` counts them. `docs/forwarding.md` says what that is worth.

mod answer;
mod connect;
mod encode;
mod endpoints;
mod export;
mod gather;
mod refusal;

#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use self::answer::{Answer, Class, Failure, PartialSuccess};
use self::connect::Connect;
use self::encode::{Messages, OtlpChunk, cut};
use self::endpoints::{Endpoints, Lease};
use self::export::{Exporter, Message};
use crate::blocking;
use crate::chunk::ChunkEncoder;
use crate::config::{self, SinkConfig};
use crate::limited;
use crate::metrics::{Metrics, OfSignal, OfZone};
use crate::rounds::{Changes, Rounds};
use crate::signal::Signal;
use crate::sink::{AfterUnknown, BoxFuture, Condition, Heard, Look, Outcome, PartDelivery, Renewal, Sink};

pub(crate) use self::connect::SetupError;

/// Longest wait for the answer that readiness goes by.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// A collector that took something this short a time ago is not asked whether it is there.
const FRESH: Duration = Duration::from_secs(10);
/// Between two questions of somebody who needs an answer, however often they come.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// A collector as a sink.
#[derive(Debug)]
pub(crate) struct Collector {
    endpoints: Arc<Endpoints>,
    exporter: Exporter,
    /// Counts tokens and certificates: another one may be taken where the old one was not.
    changes: watch::Sender<u64>,
    messages: [Arc<Messages>; Signal::ALL.len()],
    metrics: Arc<Metrics>,
    heard: Heard,
    /// When it was asked last.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Collector {
    /// Reads certificates and token; opens no connection. Addresses, and certificates that one of `rounds` finds changed, are kept current on the current
    /// runtime as long as the collector lives.
    ///
    /// # Errors
    /// [`SetupError`]: a file that cannot be read or used.
    pub(crate) fn new(
        config: &config::Forward,
        rounds: &Rounds,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Collector>, SetupError> {
        let connect = Connect::new(config, metrics.clone())?;
        let changes = connect.changes(rounds)?;
        let endpoints = Arc::new(Endpoints::new(config, connect));
        tokio::spawn(keep_current(Arc::downgrade(&endpoints)));
        let collector = Arc::new(Collector {
            endpoints,
            exporter: Exporter::new(config)?,
            changes: watch::Sender::new(0),
            messages: Signal::ALL.map(|_| Arc::new(Messages::new(config.max_message_bytes))),
            metrics,
            heard: Heard::default(),
            asked: tokio::sync::Mutex::default(),
        });
        tokio::spawn(keep_certificates(Arc::downgrade(&collector), changes));
        Ok(collector)
    }

    /// What is held may be taken from who shows another token or certificate.
    fn shows_another(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn export(&self, part: &PartDelivery) -> Outcome {
        let Some(signal) = signal_of(&part.name.table) else {
            let why = format!(
                "this batch holds rows for the table {} of a ClickHouse; start with sink.clickhouse to deliver it",
                part.name.table
            );
            return Outcome::Hold { why };
        };
        let of = OfSignal { signal: signal.name() };
        let message = match self.message(signal, part).await {
            Ok(message) => message,
            Err(why) => return Outcome::Refused { why },
        };
        let (answer, endpoint) = self.send(signal, message).await;
        self.hear(&part.name.table, &answer, &endpoint);
        match answer {
            Answer::Taken(None) => Outcome::Delivered,
            Answer::Taken(Some(partial)) => {
                self.metrics.forward_rejected_records.get_or_create(&of).inc_by(partial.rejected);
                let PartialSuccess { rejected, message: why } = partial;
                limited!(warn, %signal, endpoint, rejected, why, "the collector took an export without some of its records");
                Outcome::DeliveredBut { rejected, why }
            }
            Answer::Failed(failure) => {
                if failure.class == Class::Unknown {
                    self.count_unknown(signal, part);
                }
                failure.outcome(&endpoint)
            }
        }
    }

    fn count_unknown(&self, signal: Signal, part: &PartDelivery) {
        let records = part.only_rows.map_or(part.rows, |(_, rows)| rows);
        self.metrics.forward_unknown_records.get_or_create(&OfSignal { signal: signal.name() }).inc_by(records);
    }

    async fn message(&self, signal: Signal, part: &PartDelivery) -> Result<Message, String> {
        let pieces: Vec<Bytes> = match part.only_rows {
            None => part.body.clone(),
            Some(rows) => {
                cut(signal, &part.body, rows).map_err(|fault| format!("the batch is damaged: {}", fault.within(&[])))?
            }
        };
        self.exporter.message(pieces).await.map_err(|error| format!("cannot be compressed: {error}"))
    }

    /// Tries one peer after another as long as none can be connected to; anything else ends the attempt.
    async fn send(&self, signal: Signal, message: Message) -> (Answer, String) {
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut last = None;
        while let Some(Lease(peer)) = self.endpoints.lease(&tried).await.as_ref() {
            let zone = if peer.far { "other" } else { "own" };
            self.metrics.forward_exports.get_or_create(&OfZone { zone }).inc();
            let answer = self.exporter.exchange(peer, signal, message.clone()).await;
            let name = format!("{} ({})", peer.uri, peer.address);
            match &answer {
                Answer::Taken(_) => {
                    peer.did_well();
                }
                Answer::Failed(Failure { class: Class::Unreachable, .. }) => {
                    peer.failed(None);
                    self.endpoints.in_trouble();
                    tried.push(peer.address);
                    last = Some((answer, name));
                    continue;
                }
                Answer::Failed(Failure { class: Class::Retry(advice), .. }) => peer.failed(*advice),
                Answer::Failed(Failure { class: Class::Unknown, .. }) => peer.failed(None),
                Answer::Failed(Failure { class: Class::Hold(_), .. }) => {
                    peer.did_well();
                    self.endpoints.in_trouble();
                    // What has to be mended there may be well elsewhere; nothing of it was taken.
                    tried.push(peer.address);
                    last = Some((answer, name));
                    continue;
                }
                Answer::Failed(_) => peer.did_well(),
            }
            return (answer, name);
        }
        last.unwrap_or_else(|| {
            let why = "no endpoint's name can be resolved";
            (Answer::Failed(Failure::new(Class::Unreachable, why)), "sink.forward.endpoint".to_owned())
        })
    }

    fn hear(&self, signal: &Arc<str>, answer: &Answer, endpoint: &str) {
        match answer {
            Answer::Taken(_) => self.heard.takes(signal),
            Answer::Failed(Failure { class: Class::Refused, .. }) => self.heard.answered(),
            // Most collectors have no pipeline for them; that says nothing about what everybody sends.
            Answer::Failed(Failure { class: Class::NotServed, .. }) if **signal == *Signal::Profiles.name() => {
                self.heard.answered();
            }
            Answer::Failed(failure @ Failure { class: Class::NotServed, .. }) => {
                self.heard.holds(signal, format!("{endpoint}: {}", failure.why));
            }
            Answer::Failed(failure) => self.heard.out(format!("{endpoint}: {}", failure.why)),
        }
    }

    /// For somebody who needs to know: asks when it was not heard for long, or did not do well when it was; not more often than every
    /// [`ASK_PAUSE`].
    async fn ask_anew(&self) -> Condition {
        let mut asked = self.asked.lock().await;
        let lately = asked.is_some_and(|at| at.elapsed() < ASK_PAUSE);
        if !lately && !self.heard.well_within(FRESH) {
            *asked = Some(Instant::now());
            // What a signal was refused for is asked for itself: without a spool nobody sends what would tell.
            for signal in Signal::ALL {
                let troubled = self.heard.troubled().iter().any(|of| **of == *signal.name());
                if troubled || signal == Signal::Traces {
                    self.ask(signal, troubled).await;
                }
            }
        }
        self.heard.condition()
    }

    /// An empty request is a question that any OTLP endpoint answers, and that checks the credentials too.
    async fn ask(&self, signal: Signal, was_troubled: bool) {
        let asking = async {
            let message = self.exporter.message(Vec::new()).await.map_err(|error| error.to_string())?;
            Ok(self.send(signal, message).await)
        };
        let asked = tokio::time::timeout(READY_TIMEOUT, asking)
            .await
            .unwrap_or_else(|_| Err(format!("the collector does not answer within {READY_TIMEOUT:?}")));
        match asked {
            Err(why) => self.heard.out(why),
            // It is there, and may take what is not empty.
            Ok((Answer::Taken(_) | Answer::Failed(Failure { class: Class::Refused, .. }), _)) if was_troubled => {
                self.heard.takes(&signal.name().into());
            }
            Ok((Answer::Taken(_) | Answer::Failed(Failure { class: Class::Refused, .. }), _)) => self.heard.answered(),
            // Or the other signals.
            Ok((Answer::Failed(Failure { class: Class::NotServed, .. }), _)) if !was_troubled => self.heard.answered(),
            Ok((answer, endpoint)) => self.hear(&signal.name().into(), &answer, &endpoint),
        }
    }
}

async fn keep_current(endpoints: Weak<Endpoints>) {
    while let Some(endpoints) = endpoints.upgrade() {
        endpoints.keep_current().await;
    }
}

async fn keep_certificates(collector: Weak<Collector>, mut changes: Changes) {
    loop {
        let asked = changes.next().await;
        let Some(collector) = collector.upgrade() else { return };
        let reload = move || {
            if collector.endpoints.reload(asked) {
                collector.shows_another();
            }
        };
        // On a disk that hangs nothing but this waits. A panic was told of by the hook.
        let _ = blocking::run(reload).await;
    }
}

fn signal_of(table: &str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal.name() == table)
}

impl Sink for Collector {
    fn takes(&self, _: Signal) -> bool {
        true
    }

    fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder> {
        Box::new(OtlpChunk::new(signal, self.messages[signal.index()].clone()))
    }

    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome> {
        Box::pin(self.export(part))
    }

    fn look<'a>(&'a self, _: &'a PartDelivery) -> BoxFuture<'a, Look> {
        // Never asked: after_unknown says so.
        Box::pin(async { Look::Unclear { why: "a collector cannot be asked what it has".to_owned() } })
    }

    fn after_unknown(&self, _: &str, _: Option<&str>, _: Duration) -> AfterUnknown {
        AfterUnknown::Repeat
    }

    fn tried_before(&self, part: &PartDelivery) {
        if let Some(signal) = signal_of(&part.name.table) {
            self.count_unknown(signal, part);
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn renewal(self: Arc<Self>, config: &SinkConfig) -> Result<Renewal, String> {
        let SinkConfig::Forward(config) = config else { return Ok(Box::new(|| {})) };
        let token = export::token(config).map_err(|error| error.to_string())?;
        Ok(Box::new(move || {
            self.exporter.renew(token);
            self.shows_another();
        }))
    }

    fn condition(&self) -> Condition {
        self.heard.condition()
    }

    fn ready(&self) -> BoxFuture<'_, Condition> {
        Box::pin(self.ask_anew())
    }
}
