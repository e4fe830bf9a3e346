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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::testing::Fake;
    use crate::config::{Mistakes, load};

    fn read(section: &str) -> Result<Telemetry, Mistakes> {
        let text = format!(
            "tls: {{ plaintext: true }}\nlisten: {{ otlp: '127.0.0.1:4317' }}\nspool: none\nsink: {{ forward: {{ endpoint: 'http://localhost:4317' }} }}\n{section}"
        );
        let fake = Fake::new().file("/f/otelgate.yaml", text).file("/f/keys.yaml", "keys: []\n");
        load(Path::new("/f/otelgate.yaml"), &fake).map(|loaded| loaded.config.telemetry)
    }

    #[test]
    fn nothing_is_written_that_is_not_asked_for_and_each_mistake_is_named() {
        assert!(
            !read("").unwrap().is_on() && !read("telemetry: { metrics: off, logs: off, traces: 0 }").unwrap().is_on()
        );
        let all = read("telemetry: { metrics: 30s, logs: warn, traces: 0.001 }").unwrap();
        let wanted = (Some(Duration::from_secs(30)), Some(Level::WARN), 0.001);
        assert_eq!((all.metrics, all.logs, all.traces), wanted);
        for (wrong, says) in [
            ("metrics: 500ms", "shorter than 1s"),
            ("logs: debug", "error, warn, info or off"),
            ("traces: 2", "from 0 to 1"),
            ("traces: NaN", "from 0 to 1"),
            ("max_spool_bytes: 0", "telemetry.max_spool_bytes"),
            ("metric: 30s", "telemetry.metric"),
        ] {
            let mistakes = read(&format!("telemetry: {{ {wrong} }}")).unwrap_err().to_string();
            assert!(mistakes.contains(says) && mistakes.contains(":5:"), "{mistakes}");
        }
    }
}
