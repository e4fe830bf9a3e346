//! What the fuzz targets reach: answers that come from elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

pub use super::clickstack::fuzzing::{ingestion, opamp_answer};
use crate::config::{AllowedOrigins, KeyDefaults, KeyLimits, OidcIssuer};

/// Whether a token is good, to an issuer that publishes these keys.
pub fn token(keys: &[u8], token: &[u8]) -> bool {
    let limits =
        KeyLimits { requests_per_second: 1, bytes_per_second: 1, records_per_second: 1, burst: Duration::from_secs(1) };
    let defaults = KeyDefaults {
        limits,
        signals: crate::signal::Signal::ALL.into(),
        resource: BTreeMap::new(),
        origins: AllowedOrigins::Any,
    };
    let issuer = OidcIssuer {
        issuer: "https://issuer.example".into(),
        audience: vec!["otelgate".into()],
        ca_file: None,
        name_claim: "sub".into(),
        name_prefix: String::new(),
        max_names: 10,
        leeway: Duration::ZERO,
        refresh_interval: Duration::from_secs(60),
        keys_max_age: Duration::from_secs(60),
        defaults,
        rules: Vec::new(),
    };
    super::oidc::fuzzing(keys, token, &issuer)
}
