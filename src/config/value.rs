//! What a written text may mean: sizes, times, numbers, addresses.
//!
//! Every function says in its error what is wrong and what to write instead, without repeating the text: the text
//! may be a secret that was put in, so only who knows what was written shows it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

const SIZE_UNITS: [(&str, u64); 5] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

/// In milliseconds. `ms` stands before `s` and `m`, whose letters it ends and begins with.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Longer than anybody means; keeps every later sum of a clock and a time inside its range.
const MAX_DAYS: u64 = 36_500;

/// Bytes: `64MiB`, `8GiB`, or a plain number.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || "is not a size; write a number of bytes, or a whole number and a unit like 512KiB, 64MiB, 8GiB".to_owned();
    match split_unit(text, &SIZE_UNITS) {
        Some((number, unit)) => number.checked_mul(unit).ok_or_else(wrong),
        None => whole(text).ok_or_else(wrong),
    }
}

/// As [`size`], at least one byte.
pub(super) fn positive_size(text: &str) -> Result<u64, String> {
    at_least_one(size(text)?)
}

/// A time: `200ms`, `5s`, `10m`, `12h`, `30d`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a time; write a whole number and a unit like 200ms, 5s, 10m, 12h, 30d".to_owned();
    let (number, unit) = split_unit(text, &TIME_UNITS).ok_or_else(wrong)?;
    let millis = number.checked_mul(unit).ok_or_else(wrong)?;
    if millis > MAX_DAYS * 86_400_000 {
        return Err(format!("is longer than {MAX_DAYS} days"));
    }
    Ok(Duration::from_millis(millis))
}

/// As [`time`], longer than zero.
pub(super) fn positive_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        time => Ok(time),
    }
}

/// How something is counted: a whole number, at least 1, in the type's range.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = whole(text).ok_or_else(|| "is not a whole number; write for example 1000".to_owned())?;
    T::try_from(at_least_one(number)?).map_err(|_| "is too large".to_owned())
}

/// `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// An IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an IP address with a port; write for example 0.0.0.0:4317 or [::]:4317".to_owned())
}

/// A network: an address and how many of its first bits count, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    network.map_err(|_| "is neither a network nor an address; write for example 10.0.0.0/8 or 2001:db8::7".to_owned())
}

/// Any text that is not empty and has no control characters, so that it fits a header and a line of the log.
pub(super) fn word(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("holds a line break or another control character".to_owned());
    }
    Ok(text.to_owned())
}

/// A name that is good for logs, metrics and file names: up to 64 letters, digits, `.`, `_`, `-`.
pub(super) fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err("is not a name; use 1 to 64 letters, digits, `.`, `_` and `-`".to_owned());
    }
    Ok(text.to_owned())
}

/// A time as one would write it in the configuration.
pub(super) fn show_time(time: Duration) -> String {
    let millis = time.as_millis();
    let (unit, size) = TIME_UNITS
        .iter()
        .rev()
        .find(|(_, size)| millis.is_multiple_of(u128::from(*size)) && millis > 0)
        .unwrap_or(&("ms", 1));
    format!("{}{unit}", millis / u128::from(*size))
}

/// A size as one would write it in the configuration.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, size) =
        SIZE_UNITS[..4].iter().rev().find(|(_, size)| bytes.is_multiple_of(*size) && bytes > 0).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / size)
}

fn at_least_one(number: u64) -> Result<u64, String> {
    match number {
        0 => Err("must be at least 1".to_owned()),
        number => Ok(number),
    }
}

fn split_unit(text: &str, units: &[(&str, u64)]) -> Option<(u64, u64)> {
    units.iter().find_map(|(name, size)| {
        let number = whole(text.strip_suffix(name)?.trim_end())?;
        Some((number, *size))
    })
}

/// Digits, with `_` between them if one likes: `200_000`.
fn whole(text: &str) -> Option<u64> {
    let good = text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    good.then(|| text.replace('_', "").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("7B", 7),
            ("512KiB", 512 << 10),
            ("64 MiB", 64 << 20),
            ("8GiB", 8 << 30),
            ("2TiB", 2 << 40),
            ("1_000", 1000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "64MB", "64mib", "-1", "1.5GiB", "_1", "99999999TiB", "+1"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(positive_size("0KiB").is_err());
    }

    #[test]
    fn times() {
        for (text, millis) in
            [("200ms", 200), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("30d", 2_592_000_000), ("0s", 0)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["5", "s", "1.5s", "-1s", "5 sec", "999999d", "5w"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(positive_time("0ms").is_err());
    }

    #[test]
    fn shown_as_written() {
        for text in ["200ms", "5s", "10m", "2h", "30d", "0ms"] {
            assert_eq!(show_time(time(text).unwrap()), text);
        }
        for text in ["64MiB", "8GiB", "1000B", "1KiB", "0B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn numbers_and_names() {
        assert_eq!(count::<u32>("200_000"), Ok(200_000));
        for text in ["0", "4294967296", "1e3", "many", ""] {
            assert!(count::<u32>(text).is_err(), "{text}");
        }
        assert!(address("0.0.0.0:4317").is_ok() && address("[::1]:0").is_ok());
        assert!(address("localhost:4317").is_err() && address("0.0.0.0").is_err());
        assert!(name("check-out_1.eu").is_ok() && name("two words").is_err() && name("").is_err());
        assert!(word("a b").is_ok() && word("a\nb").is_err() && word(" ").is_err());
    }
}
