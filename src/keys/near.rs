//! What a person should hear of a key before its clients do: that it comes near its limits, or near its end.
//!
//! Invariant: each is said once. A limit is spoken of again when a day has passed, an end when it has come nearer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;

use super::limiter::{Amounts, KeyLimiter};
use super::{Key, KeyRing, count};
use crate::metrics::{Metrics, OfKeyName};
use crate::rounds::Rounds;

/// The time over which what a key uses is compared with its limits: long enough that a burst, which is there to be used, is not spoken of.
const SPAN: Duration = Duration::from_secs(60);
/// The share of a limit that is near it, in percent.
const NEAR: u64 = 80;
/// When a limit is spoken of again.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Times before its end at which a key is spoken of, the last at it.
const ENDS: [Duration; 3] = [Duration::from_secs(7 * 24 * 60 * 60), DAY, Duration::ZERO];

/// Keeps the metrics of keys up to date and says what comes near, from now on.
pub(crate) fn look_after(ring: Arc<KeyRing>, rounds: &Rounds, metrics: Arc<Metrics>) {
    let mut near = Near::default();
    rounds.add(move || {
        // Keys expire without anybody touching them.
        count(&ring, &metrics);
        let keys = ring.all();
        for key in &keys {
            if let Some(seen) = key.state.last_seen_ms() {
                let last =
                    metrics.key_last_used_seconds.get_or_create(&OfKeyName { key: key.entry.name.as_str().into() });
                last.set(last.get().max(i64::try_from(seen / 1000).unwrap_or(i64::MAX)));
            }
        }
        for (key, what) in near.look(&keys, Instant::now(), SystemTime::now()) {
            warn!(key = key.entry.name, source = key.source.name(), "{what}");
        }
    });
}

/// What was said of each key, by its digest.
#[derive(Debug, Default)]
struct Near(HashMap<[u8; 32], Seen>);

#[derive(Debug)]
struct Seen {
    /// Since when `total` counts.
    since: Instant,
    total: Amounts,
    said_limit: Option<Instant>,
    /// How many of [`ENDS`] have passed.
    ends_passed: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Warning {
    Limit { limit: &'static str, percent: u64 },
    Ends { hours: u64 },
    Ended,
}

impl Near {
    fn look<'k>(&mut self, keys: &'k [Arc<Key>], now: Instant, clock: SystemTime) -> Vec<(&'k Key, Warning)> {
        let mut found = Vec::new();
        for key in keys.iter().filter(|key| key.entry.enabled) {
            let limiter = &key.state.limiter;
            let fresh = || Seen { since: now, total: limiter.total(), said_limit: None, ends_passed: 0 };
            let seen = self.0.entry(key.entry.sha256).or_insert_with(fresh);
            let warnings = [seen.limit(limiter, now), seen.end(key.entry.expires, clock)];
            found.extend(warnings.into_iter().flatten().map(|warning| (&**key, warning)));
        }
        self.0.retain(|digest, _| keys.iter().any(|key| key.entry.sha256 == *digest));
        found
    }
}

impl Seen {
    fn limit(&mut self, limiter: &KeyLimiter, now: Instant) -> Option<Warning> {
        let span = now.saturating_duration_since(self.since);
        if span < SPAN {
            return None;
        }
        let total = limiter.total();
        let (limit, percent) = limiter.percent(&total.since(&self.total), span);
        (self.since, self.total) = (now, total);
        let rested = self.said_limit.is_none_or(|said| now.saturating_duration_since(said) >= AGAIN);
        if percent < NEAR || !rested {
            return None;
        }
        self.said_limit = Some(now);
        Some(Warning::Limit { limit, percent })
    }

    fn end(&mut self, expires: Option<SystemTime>, clock: SystemTime) -> Option<Warning> {
        let left = expires.map(|expires| expires.duration_since(clock).unwrap_or_default());
        let passed = left.map_or(0, |left| ENDS.iter().filter(|end| left <= **end).count());
        let nearer = passed > self.ends_passed;
        self.ends_passed = passed;
        let left = left.filter(|_| nearer)?;
        Some(if left.is_zero() { Warning::Ended } else { Warning::Ends { hours: left.as_secs() / 3600 } })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Limit { limit, percent } => {
                write!(f, "this key used {percent} % of its {limit} in the last minute")
            }
            Warning::Ends { hours } if *hours >= 48 => write!(f, "this key expires in {} days", hours / 24),
            Warning::Ends { hours } => write!(f, "this key expires in {hours} hours"),
            Warning::Ended => f.write_str("this key has expired; its clients are refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::entry;

    fn said(near: &mut Near, ring: &KeyRing, now: Instant, clock: SystemTime) -> Vec<String> {
        near.look(&ring.all(), now, clock).iter().map(|(key, what)| format!("{}: {what}", key.entry.name)).collect()
    }

    #[test]
    fn a_limit_is_spoken_of_once_a_day_and_a_burst_is_not() {
        let ring = KeyRing::new(vec![entry("busy", "a", 1_000_000), entry("bursts", "b", 1000)]);
        let (mut near, start, clock) = (Near::default(), Instant::now(), SystemTime::now());
        let count = |key: &[u8], records| ring.find(key).unwrap().state.limiter.count_for_tests(records);
        let mut heard = Vec::new();
        for minute in 0..3 * 24 * 60 {
            let now = start + SPAN * minute;
            heard.extend(said(&mut near, &ring, now, clock));
            // Of the 60,000 that 1000 a second are in a minute.
            count(b"a", 50_000);
            count(b"b", 1000);
        }
        assert_eq!(heard, vec!["busy: this key used 83 % of its records_per_second in the last minute"; 3]);
    }

    #[test]
    fn an_end_is_spoken_of_when_it_comes_nearer() {
        let clock = SystemTime::now();
        let mut ends = entry("ends", "a", 5);
        ends.expires = Some(clock + 10 * DAY);
        let ring = KeyRing::new(vec![ends, entry("stays", "b", 5)]);
        let mut near = Near::default();
        let heard: Vec<_> = (0..=12 * 24)
            .flat_map(|hour| said(&mut near, &ring, Instant::now(), clock + Duration::from_secs(3600 * hour)))
            .collect();
        let expected = [
            "ends: this key expires in 7 days",
            "ends: this key expires in 24 hours",
            "ends: this key has expired; its clients are refused",
        ];
        assert_eq!(heard, expected);
        // A process that starts late says it once, too.
        let late = said(&mut Near::default(), &ring, Instant::now(), clock + 9 * DAY + DAY / 2);
        assert_eq!(late, ["ends: this key expires in 12 hours"]);
    }
}
