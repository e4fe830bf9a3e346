//! What a key may do, as it was written, and what the keys of all sources are read by.

use std::time::{Duration, SystemTime};

use super::{AllowedOrigins, Config, KeyEntry, KeyLimits, Largest};

/// The state of a key that may be used.
const VALID: &str = "valid";

/// What the keys of a source are read by, besides what it says itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyRules {
    /// Limits of a key that sets none: those of section `limits`.
    pub(crate) limits: KeyLimits,
    /// What its limits are compared with.
    pub(crate) largest: Largest,
    /// `cors.allowed_origins`, with which its origins are compared.
    pub(crate) pages: AllowedOrigins,
}

impl Config {
    /// What its keys are read by.
    pub(crate) fn key_rules(&self) -> KeyRules {
        let pages = self.cors.allowed_origins.clone();
        KeyRules { limits: self.limits, largest: self.request.largest(), pages }
    }
}

impl KeyEntry {
    /// What logs and metrics call the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may be used at this time.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.state(now) == VALID
    }

    /// What it is at this time, in a word: `valid`, `disabled` or `expired`. What is both is `disabled`: a later end would not mend it.
    pub fn state(&self, now: SystemTime) -> &'static str {
        match self.enabled {
            false => "disabled",
            true if self.expires.is_some_and(|expires| expires <= now) => "expired",
            true => VALID,
        }
    }

    /// Whether it is the key that a rotated one had before (`NAME.old-1`), which is there to end.
    pub(crate) fn is_old(&self) -> bool {
        let number = self.name.rsplit_once(".old-").map(|(_, number)| number.parse::<u32>());
        number.is_some_and(|number| number.is_ok())
    }

    /// When it is no longer valid.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// What it may send.
    pub fn signals(&self) -> impl Iterator<Item = &'static str> {
        self.signals.iter().map(|signal| signal.name())
    }

    /// Its requests, bytes and records a second, and its burst.
    pub fn rates(&self) -> ((u64, u64, u64), Duration) {
        let KeyLimits { requests_per_second, bytes_per_second, records_per_second, burst } = self.limits;
        ((requests_per_second.into(), bytes_per_second, records_per_second.into()), burst)
    }
}
