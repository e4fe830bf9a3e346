//! Rules that more than one section keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Uri;

use super::origin::Origin;
use super::section::Section;
use super::substitute::has_default;
use super::value::{count, positive_size, positive_time, show_size, show_time};
use super::{AllowedOrigins, KeyDefaults, KeyLimits, KeyRules, Largest, Secret};
use crate::signal::Signal;

const MIB: u64 = 1 << 20;

/// The limits of a key when neither it nor section `limits` says something else.
pub(super) const DEFAULT_LIMITS: KeyLimits = KeyLimits {
    requests_per_second: 1000,
    bytes_per_second: 32 * MIB,
    records_per_second: 200_000,
    burst: Duration::from_secs(2),
};

/// The limits of one key, or the defaults for all; after a mistake those that held before, so that it is reported once.
/// What `burst` saves up is at least one. Where it is less than the `largest`
/// request, whoever set it is told so.
pub(super) fn key_limits(s: &Section<'_>, default: KeyLimits, largest: Largest) -> KeyLimits {
    let limits = KeyLimits {
        requests_per_second: s.or("requests_per_second", default.requests_per_second, count),
        bytes_per_second: s.or("bytes_per_second", default.bytes_per_second, positive_size),
        records_per_second: s.or("records_per_second", default.records_per_second, count),
        burst: s.or("burst", default.burst, positive_time),
    };
    for (name, rate) in [
        ("requests_per_second", u64::from(limits.requests_per_second)),
        ("bytes_per_second", limits.bytes_per_second),
        ("records_per_second", u64::from(limits.records_per_second)),
    ] {
        let saved = u128::from(rate) * limits.burst.as_millis() / 1000;
        if saved == 0 {
            s.mistake("burst", format!("is too short: {} of `{name}` is less than one", show_time(limits.burst)));
            return default;
        }
    }
    let written = |rate| if s.has(rate) { Some(rate) } else { s.has("burst").then_some("burst") };
    for (rate, never) in never_admitted(&limits, largest) {
        if let Some(name) = written(rate) {
            s.warning(name, never);
        }
    }
    limits
}

/// What `request` allows and no burst of these limits ever admits: by the rate's name, in words. Who sends such a request is refused for good.
pub(super) fn never_admitted(limits: &KeyLimits, largest: Largest) -> Vec<(&'static str, String)> {
    let saved = |rate: u64| u64::try_from(u128::from(rate) * limits.burst.as_millis() / 1000).unwrap_or(u64::MAX);
    let burst = show_time(limits.burst);
    let (bytes, records) = (saved(limits.bytes_per_second), saved(limits.records_per_second.into()));
    let mut never = Vec::new();
    if bytes < largest.body_bytes {
        let (bytes, body) = (show_size(bytes), show_size(largest.body_bytes));
        never.push((
            "bytes_per_second",
            format!(
                "bytes_per_second and a burst of {burst} admit requests of {bytes} at most, and larger ones are refused for good, though \
                 request.max_body_bytes is {body}; raise one of the two, or lower that"
            ),
        ));
    }
    if records < largest.records {
        let most = largest.records;
        never.push((
            "records_per_second",
            format!(
                "records_per_second and a burst of {burst} admit requests of {records} records at most, and larger ones are refused for \
                 good, though request.max_records is {most}; raise one of the two, or lower that"
            ),
        ));
    }
    never
}

/// A size that must not be more than another one.
pub(super) fn at_most(s: &Section<'_>, name: &'static str, value: u64, other: &str, most: u64) {
    if value > most {
        s.mistake(name, format!("{} is more than {other} ({})", show_size(value), show_size(most)));
    }
}

/// A time that must be shorter than another one.
pub(super) fn shorter(s: &Section<'_>, name: &'static str, time: Duration, other: &str, than: Duration) {
    if time >= than {
        s.mistake(name, format!("{} must be shorter than {other} ({})", show_time(time), show_time(than)));
    }
}

/// A value that no message shows.
pub(super) fn secret(s: &Section<'_>, name: &'static str) -> Option<Secret> {
    let text = s.text(name)?;
    if text.resolved.contains(char::is_control) {
        s.mistake(name, "holds a line break or another control character");
    }
    let literal = text.written == *text.resolved || has_default(&text.written);
    if literal && !text.written.is_empty() && s.reader.is_readable_by_others() {
        s.warning(name, "stands in a file that every user of this machine can read; chmod 600, or write a reference");
    }
    Some(text.resolved.into())
}

/// Whether a URL leads to this machine, so that nobody else can listen.
pub(super) fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a source says for those of its keys that say nothing of it themselves.
pub(super) fn key_defaults(s: &Section<'_>, rules: &KeyRules) -> KeyDefaults {
    KeyDefaults {
        limits: s.section("limits", |section| key_limits(section, rules.limits, rules.largest)),
        signals: signals(s),
        resource: resource(s),
        origins: origins(s, &rules.pages),
    }
}

/// The origins of the web pages that a key is for; any when nothing is said. `pages` are those that may send at all.
pub(super) fn origins(s: &Section<'_>, pages: &AllowedOrigins) -> AllowedOrigins {
    let origin = |text: &str| {
        Origin::parse(text).ok_or_else(|| {
            "is not an origin; write for example https://shop.example, or https://*.shop.example for every host below".to_owned()
        })
    };
    let Some(origins) = s.list("origins", origin) else { return AllowedOrigins::Any };
    for origin in origins.iter().filter(|origin| !pages.meet(origin)) {
        s.warning(
            "origins",
            format!("names {origin}, whose pages cors.allowed_origins keeps from sending anything; name it there too"),
        );
    }
    AllowedOrigins::List(origins)
}

/// What a key may send; everything when nothing is said.
pub(super) fn signals(s: &Section<'_>) -> BTreeSet<Signal> {
    s.list("signals", signal).map_or(BTreeSet::from(Signal::ALL), BTreeSet::from_iter)
}

fn signal(text: &str) -> Result<Signal, String> {
    let found = Signal::ALL.into_iter().find(|signal| signal.name() == text);
    found.ok_or_else(|| "is not a signal; known are traces, logs, metrics, profiles".to_owned())
}

/// Attributes by name. Written as a section, so that a name that is there twice is a mistake.
pub(super) fn resource(s: &Section<'_>) -> BTreeMap<String, String> {
    let attributes = s.texts("resource");
    for (name, _) in attributes.iter().filter(|(name, _)| name.is_empty() || name.len() > 256) {
        s.mistake("resource", format!("has an attribute with a name of {} bytes; 1 to 256 are allowed", name.len()));
    }
    attributes.into_iter().collect()
}
