//! Entries for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::{AllowedOrigins, KeyEntry, KeyLimits};
use crate::signal::Signal;

/// The entry of a key that may send everything: so many requests, 1 MiB and 1000 records a second.
pub(crate) fn entry(name: &str, key: &str, requests_per_second: u32) -> KeyEntry {
    KeyEntry {
        name: name.to_owned(),
        sha256: Sha256::digest(key).into(),
        signals: Signal::ALL.into(),
        certificate: None,
        expires: None,
        resource: BTreeMap::new(),
        origins: AllowedOrigins::Any,
        enabled: true,
        limits: KeyLimits {
            requests_per_second,
            bytes_per_second: 1 << 20,
            records_per_second: 1000,
            burst: Duration::from_secs(1),
        },
    }
}
