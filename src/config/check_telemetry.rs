//! Section `telemetry`: what otelgate writes of itself.

use std::time::Duration;

use tracing::Level;

use super::Telemetry;
use super::section::Section;
use super::value::{positive_size, time};

/// More often than this is a load of its own.
const OFTEN: Duration = Duration::from_secs(1);

/// The section; nothing is written that is not asked for.
pub(super) fn telemetry(s: &Section<'_>) -> Telemetry {
    Telemetry {
        metrics: s.or("metrics", None, unless_off(every)),
        logs: s.or("logs", None, unless_off(level)),
        traces: s.or("traces", 0.0, share),
        max_spool_bytes: s.or("max_spool_bytes", 16 << 20, positive_size),
    }
}

fn unless_off<T>(read: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| if text == "off" { Ok(None) } else { read(text).map(Some) }
}

fn every(text: &str) -> Result<Duration, String> {
    match time(text)? {
        short if short < OFTEN => Err("is shorter than 1s".to_owned()),
        long => Ok(long),
    }
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        _ => Err("is not a level that is written; write error, warn, info or off".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "is not a share of requests; write a number from 0 to 1, for example 0.001".to_owned())
}
