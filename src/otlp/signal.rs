//! The three stable OTLP signals. A lane, a path, a gRPC service and a permission of a key are each one of them.

use std::fmt;

/// An OTLP signal. Profiles are still in development in OTLP 1.11 and are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Data points of all five kinds.
    Metrics,
}

impl Signal {
    /// Every signal, in the order of [`Signal::index`].
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// Its place in an array that has one entry a signal.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// `traces`, `logs` or `metrics`, as in OTLP/HTTP's paths, the configuration and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
