//! The values of all metrics at one moment, read from the text that `/metrics` shows: the one list of them, under the same names.
//!
//! What is counted goes out as what was added since it went out last (delta temporality), so that a sum over rows is what happened, across restarts.

use std::collections::BTreeMap;

use crate::metrics::text::Sample;

/// By family and labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Snapshot(pub(super) BTreeMap<Series, Value>);

/// A series: the family it is of, and its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Gauge(f64),
    Sum(f64),
    Histogram(Histogram),
}

/// Counts by upper bound, each without those of lower bounds; the last count is of what is above all bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Histogram {
    pub(super) sum: f64,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

impl Snapshot {
    /// Reads OpenMetrics' text, as this process writes it, without the series of key `own`.
    pub(super) fn read(text: &str, own: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let (mut family, mut kind) = ("", "");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                (family, kind) = rest.split_once(' ').unwrap_or_default();
            } else if let Some(sample) = Sample::read(line).filter(|sample| sample.label("key") != Some(own)) {
                snapshot.take(family, kind, sample);
            }
        }
        for value in snapshot.0.values_mut() {
            if let Value::Histogram(histogram) = value {
                // In the text each count has those of lower bounds in it.
                for at in (1..histogram.counts.len()).rev() {
                    histogram.counts[at] = histogram.counts[at].saturating_sub(histogram.counts[at - 1]);
                }
            }
        }
        snapshot
    }

    fn take(&mut self, family: &str, kind: &str, Sample { name, labels, number }: Sample<'_>) {
        let mut labels: Vec<_> = labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
        if kind != "histogram" {
            let value = if kind == "counter" { Value::Sum(number) } else { Value::Gauge(number) };
            self.0.insert(Series { name: name.to_owned(), labels }, value);
            return;
        }
        let bound = labels.iter().position(|(label, _)| label == "le").map(|at| labels.remove(at).1);
        let series = Series { name: family.to_owned(), labels };
        let value = self.0.entry(series).or_insert_with(|| Value::Histogram(Histogram::default()));
        let Value::Histogram(histogram) = value else { return };
        match bound {
            Some(bound) => {
                histogram.counts.push(number as u64);
                histogram.bounds.extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
            }
            None if name.ends_with("_sum") => histogram.sum = number,
            None => {}
        }
    }

    /// What is to be said after `before` was: what was added, and gauges, but for those that are 0 still.
    pub(super) fn since(&self, before: &Snapshot) -> Snapshot {
        let changed = self.0.iter().filter_map(|(series, value)| {
            let new = match (value, before.0.get(series)) {
                (Value::Sum(now), Some(Value::Sum(then))) => Value::Sum(now - then),
                (Value::Histogram(now), Some(Value::Histogram(then))) => Value::Histogram(now.since(then)),
                (Value::Gauge(0.0), None | Some(Value::Gauge(0.0))) if !series.labels.is_empty() => return None,
                (value, _) => value.clone(),
            };
            let nothing = match &new {
                Value::Sum(added) => *added == 0.0,
                Value::Histogram(added) => added.count() == 0,
                Value::Gauge(_) => false,
            };
            (!nothing).then(|| (series.clone(), new))
        });
        Snapshot(changed.collect())
    }
}

impl Histogram {
    fn since(&self, before: &Histogram) -> Histogram {
        let counts = self.counts.iter().zip(&before.counts).map(|(now, then)| now.saturating_sub(*then));
        Histogram { sum: self.sum - before.sum, bounds: self.bounds.clone(), counts: counts.collect() }
    }

    /// Of all.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, OfKey, OfSignal, OfTable};

    fn read(metrics: &Metrics) -> Snapshot {
        Snapshot::read(&metrics.text().unwrap(), "otelgate")
    }

    fn of(snapshot: &Snapshot, name: &str) -> Vec<(String, Value)> {
        let labels = |series: &Series| series.labels.iter().map(|(label, value)| format!("{label}={value} ")).collect();
        let named = snapshot.0.iter().filter(|(series, _)| series.name == name);
        named.map(|(series, value)| (labels(series), value.clone())).collect()
    }

    #[test]
    fn what_metrics_shows_is_read_and_only_what_was_added_goes_out() {
        let metrics = Metrics::default();
        let bytes =
            |key: &str| metrics.received_bytes.get_or_create(&OfKey { key: key.into(), signal: "logs" }).clone();
        bytes("a.b").inc_by(7);
        bytes("otelgate").inc_by(1000);
        metrics.spool_bytes.set(5);
        metrics.parts_held.get_or_create(&OfTable { table: "otel_logs".into() }).set(2);
        let seconds = metrics.request_seconds.get_or_create(&OfSignal { signal: "logs" }).clone();
        [0.0005, 0.0015, 0.0016, 1000.0].into_iter().for_each(|time| seconds.observe(time));
        let first = read(&metrics);
        let name = "otelgate_received_bytes_total";
        assert_eq!(of(&first, name), [("key=a.b signal=logs ".to_owned(), Value::Sum(7.0))]);
        assert_eq!(of(&first, "otelgate_spool_bytes"), [(String::new(), Value::Gauge(5.0))]);
        let [(_, Value::Histogram(histogram))] = &of(&first, "otelgate_request_seconds")[..] else { panic!() };
        assert_eq!((histogram.bounds.len(), histogram.counts.len(), histogram.count()), (17, 18, 4));
        assert_eq!((&histogram.counts[..3], histogram.counts[17]), (&[1, 2, 0][..], 1));

        bytes("a.b").inc_by(3);
        seconds.observe(0.0015);
        metrics.parts_held.get_or_create(&OfTable { table: "otel_logs".into() }).set(0);
        let second = read(&metrics);
        let added = second.since(&first);
        assert_eq!(of(&added, name)[0].1, Value::Sum(3.0));
        let [(_, Value::Histogram(histogram))] = &of(&added, "otelgate_request_seconds")[..] else { panic!() };
        assert_eq!((histogram.count(), histogram.counts[1]), (1, 1));
        assert_eq!(of(&added, "otelgate_parts_held")[0].1, Value::Gauge(0.0), "that it is 0 again is said once");
        let third = read(&metrics).since(&second);
        assert!(of(&third, name).is_empty() && of(&third, "otelgate_parts_held").is_empty(), "{third:?}");
        assert_eq!(of(&third, "otelgate_spool_bytes").len(), 1);
    }
}
