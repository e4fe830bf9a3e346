//! What a running otelgate says, and what can be said from two of its answers.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use otelgate::metrics::text::Sample;
use serde_json::Value;

use super::super::admin::{Target, answer};

/// Answers that are kept: three minutes of them.
const KEPT: usize = 90;

/// Counters and gauges by name and labels.
pub(super) type Values = BTreeMap<(String, Vec<(String, String)>), f64>;

/// What `/status`, `/metrics` and `/readyz` said at one moment.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) status: Value,
    pub(super) values: Values,
    pub(super) ready: bool,
    /// A line a check.
    pub(super) checks: String,
}

/// The last answers, the newest last.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Seen>);

impl Seen {
    /// Asks.
    pub(super) async fn ask(target: &Target) -> anyhow::Result<Seen> {
        let get = async |path: &str| {
            let asked = tokio::time::timeout(Duration::from_secs(10), answer(target, "GET", path)).await;
            let answered = asked.context("no answer within 10 s")??;
            answered.with_context(|| format!("nothing listens at {}", target.address))
        };
        let (status, text) = get("/status").await?;
        if !status.is_success() {
            bail!("{}", text.trim_end());
        }
        let (_, metrics) = get("/metrics").await?;
        let (ready, checks) = get("/readyz").await?;
        Seen::read(&text, &metrics, (ready.is_success(), &checks))
    }

    /// Reads the three.
    pub(super) fn read(status: &str, metrics: &str, (ready, checks): (bool, &str)) -> anyhow::Result<Seen> {
        let mut values = Values::new();
        for sample in metrics.lines().filter_map(Sample::read) {
            let labels = sample.labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
            values.insert((sample.name.trim_start_matches("otelgate_").to_owned(), labels), sample.number);
        }
        let status = serde_json::from_str(status).context("/status is not JSON")?;
        Ok(Seen { at: Instant::now(), status, values, ready, checks: checks.to_owned() })
    }

    /// The values of one name, by their labels.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a [(String, String)], f64)> {
        let named = self.values.iter().filter(move |((of, _), _)| of == name);
        named.map(|((_, labels), value)| (labels.as_slice(), *value))
    }
}

impl History {
    /// One more answer.
    pub(super) fn push(&mut self, seen: Seen) {
        self.0.push_back(seen);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The newest answer.
    pub(super) fn last(&self) -> Option<&Seen> {
        self.0.back()
    }

    /// How much of a counter was added a second, between each two answers.
    pub(super) fn rates(&self, name: &str, labels: &[(String, String)]) -> Vec<f64> {
        let key = (name.to_owned(), labels.to_vec());
        let value = |seen: &Seen| seen.values.get(&key).copied().unwrap_or(0.0);
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        // Less than before: the process was started again.
        let rate = |(before, after): (&Seen, &Seen)| {
            let seconds = after.at.duration_since(before.at).as_secs_f64();
            (value(after) - value(before)).max(0.0) / seconds.max(0.001)
        };
        pairs.map(rate).collect()
    }
}
