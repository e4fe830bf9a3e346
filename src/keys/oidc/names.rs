//! The keys that tokens make: one for each name that the issuer's tokens bear, so many at most.

use std::collections::HashMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::token::Verified;
use crate::config::{KeyEntry, OidcIssuer};
use crate::keys::{Key, Shared, Source};

/// What all bearers share whose name is one too many.
const OTHER: &str = "other";
/// Longest name, as in keys.yaml.
const MAX_NAME: usize = 64;

/// A name, and the rule that fits.
type Of = (String, Option<usize>);

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Names {
    config: Arc<OidcIssuer>,
    shared: Option<Arc<Shared>>,
    keys: Mutex<HashMap<Of, Arc<Key>>>,
}

impl Names {
    /// Those of `old`, where the same tokens bear them: what they have used stays where their limits do.
    pub(super) fn new(config: Arc<OidcIssuer>, old: Option<&Names>, shared: Option<Arc<Shared>>) -> Names {
        let names = Names { config, shared, keys: Mutex::default() };
        let same = |old: &OidcIssuer| {
            let of =
                |config: &OidcIssuer| (config.name_claim.clone(), config.name_prefix.clone(), config.rules.clone());
            of(old) == of(&names.config)
        };
        if let Some(old) = old.filter(|old| same(&old.config)) {
            for (of, key) in &*old.keys.lock() {
                let entry = names.entry(&of.0, of.1);
                names
                    .keys
                    .lock()
                    .insert(of.clone(), Key::after(Some(key), &entry, Source::Oidc, false, names.shared.as_ref()));
            }
        }
        names
    }

    /// The key of a verified token's bearer.
    pub(super) fn key(&self, verified: &Verified) -> Arc<Key> {
        let mut keys = self.keys.lock();
        let mut of = (label(&self.config.name_prefix, &verified.name), verified.rule);
        if !keys.contains_key(&of) && keys.len() >= self.config.max_names {
            of.0 = format!("{}{OTHER}", self.config.name_prefix);
            if !keys.contains_key(&of) {
                let (issuer, max) = (&self.config.issuer, self.config.max_names);
                warn!(issuer, "more than {max} names (keys.oidc.max_names); the next ones share the key `{}`", of.0);
            }
        }
        keys.entry(of).or_insert_with_key(|(name, rule)| self.make(name, *rule)).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Key>> {
        self.keys.lock().values().cloned().collect()
    }

    fn make(&self, name: &str, rule: Option<usize>) -> Arc<Key> {
        Key::new(self.entry(name, rule), Source::Oidc, self.shared.as_ref())
    }

    fn entry(&self, name: &str, rule: Option<usize>) -> KeyEntry {
        // No header holds a NUL, so no key has this digest.
        let digest = Sha256::digest(format!("token\0{}\0{name}\0{rule:?}", self.config.issuer)).into();
        let defaults = &self.config.defaults;
        match rule.map(|rule| &self.config.rules[rule]) {
            None => defaults.entry(name.to_owned(), digest),
            Some(rule) => KeyEntry {
                signals: rule.signals.clone(),
                limits: rule.limits,
                ..defaults.entry(name.to_owned(), digest)
            },
        }
    }
}

/// A name that keys.yaml would take. One that had to be changed for that ends with some of its digest, so that no two become one.
fn label(prefix: &str, claimed: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if claimed.chars().all(plain) && prefix.len() + claimed.len() <= MAX_NAME && claimed != OTHER {
        return format!("{prefix}{claimed}");
    }
    let digest = HEXLOWER.encode(&Sha256::digest(claimed)[..6]);
    let room = MAX_NAME.saturating_sub(prefix.len() + digest.len() + 1);
    let begin: String = claimed.chars().map(|c| if plain(c) { c } else { '_' }).take(room).collect();
    format!("{prefix}{begin}-{digest}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::testing::key_rules;
    use crate::config::{AllowedOrigins, KeyDefaults, KeyLimits};
    use crate::signal::Signal;

    impl Names {
        fn entry_of(&self, name: &str) -> Arc<Key> {
            self.key(&Verified { name: name.into(), rule: None, until: SystemTime::UNIX_EPOCH, generation: 0 })
        }
    }

    #[test]
    fn a_name_is_kept_where_it_can_be_and_never_becomes_anothers() {
        assert_eq!(label("", "shop.eu-1"), "shop.eu-1");
        assert_eq!(label("kc-", "shop"), "kc-shop");
        let names = ["auth0|5", "auth0:5", "auth0_5", "other", "ä", &"x".repeat(65), &"x".repeat(66)];
        let labels: Vec<_> = names.iter().map(|name| label("kc-", name)).collect();
        for (at, one) in labels.iter().enumerate() {
            assert!(crate::config::key_name(one).is_ok(), "{one}");
            assert!(!labels[..at].contains(one), "{one}");
        }
        assert!(labels[0].starts_with("kc-auth0_5-"), "{labels:?}");
    }

    #[test]
    fn who_was_known_before_a_change_keeps_what_was_used() {
        let issuer = |requests_per_second, signals: &[Signal], prefix: &str| {
            let limits = KeyLimits { requests_per_second, ..key_rules().limits };
            let (signals, pages) = (signals.iter().copied().collect(), AllowedOrigins::Any);
            Arc::new(OidcIssuer {
                issuer: "https://issuer.example".into(),
                audience: vec!["otelgate".into()],
                ca_file: None,
                name_claim: "sub".into(),
                name_prefix: prefix.into(),
                max_names: 10,
                leeway: Duration::ZERO,
                refresh_interval: Duration::from_secs(60),
                keys_max_age: Duration::from_secs(60),
                defaults: KeyDefaults { limits, signals, resource: BTreeMap::new(), origins: pages },
                rules: Vec::new(),
            })
        };
        let shop = |names: &Names| names.entry_of("shop");
        let before = Names::new(issuer(5, &[Signal::Logs], ""), None, None);
        let key = shop(&before);
        for (next, state, same) in [
            (issuer(5, &[Signal::Logs], ""), true, true),
            (issuer(5, &[Signal::Traces], ""), true, false),
            (issuer(6, &[Signal::Logs], ""), true, false),
            (issuer(5, &[Signal::Logs], "kc-"), false, false),
        ] {
            let after = shop(&Names::new(next.clone(), Some(&before), None));
            assert_eq!((Arc::ptr_eq(&key.state, &after.state), Arc::ptr_eq(&key, &after)), (state, same), "{next:?}");
            assert_eq!(after.entry.limits, next.defaults.limits);
        }
    }
}
