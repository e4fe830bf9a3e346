//! Rules that more than one section keeps.

use std::time::Duration;

use http::Uri;

use super::section::Section;
use super::value::{count, positive_size, positive_time, show_size, show_time};
use super::{KeyLimits, Secret};

const MIB: u64 = 1 << 20;

/// The limits of a key when neither it nor section `limits` says something else.
pub(super) const DEFAULT_LIMITS: KeyLimits = KeyLimits {
    requests_per_second: 200,
    bytes_per_second: 16 * MIB,
    records_per_second: 200_000,
    burst: Duration::from_secs(2),
};

/// The limits of one key, or the defaults for all; after a mistake those that held before, so that it is reported once.
/// What `burst` saves up is at least one.
pub(super) fn key_limits(s: &Section<'_>, default: KeyLimits) -> KeyLimits {
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
    limits
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
    if text.written == text.resolved && !text.written.is_empty() && s.reader.is_readable_by_others() {
        s.warning(name, "stands in a file that every user of this machine can read; chmod 600, or write a reference");
    }
    Some(Secret::new(text.resolved))
}

/// Whether a URL leads to this machine, so that nobody else can listen.
pub(super) fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
