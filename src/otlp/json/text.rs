//! Bytes and numbers that JSON carries in text.

/// Makes bytes of the hex digits, in either case, that follow `start`; `None` when they are something else.
pub(super) fn hex(bytes: &mut Vec<u8>, start: usize) -> Option<()> {
    let (mut from, mut to) = (start, start);
    while let Some(pair) = bytes.get(from..from + 2) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        let byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        *bytes.get_mut(to)? = byte;
        (from, to) = (from + 2, to + 1);
    }
    let whole = from == bytes.len();
    bytes.truncate(to);
    whole.then_some(())
}

/// Makes bytes of the base64 that follows `start`: RFC 4648's standard alphabet or the one for URLs, padded or not, broken into lines or not;
/// `None` when it is something else.
pub(super) fn base64(bytes: &mut Vec<u8>, start: usize) -> Option<()> {
    let mut end = bytes.len();
    while end > start && matches!(bytes.get(end - 1), Some(b'=' | b'\r' | b'\n')) {
        end -= 1;
    }
    let (mut bits, mut digits, mut to) = (0_u32, 0, start);
    for from in start..end {
        let digit = match bytes.get(from)? {
            b'\r' | b'\n' => continue,
            digit => sextet(*digit)?,
        };
        (bits, digits) = (bits << 6 | digit, digits + 1);
        if digits == 4 {
            let [_, whole @ ..] = bits.to_be_bytes();
            bytes.get_mut(to..to + 3)?.copy_from_slice(&whole);
            (bits, digits, to) = (0, 0, to + 3);
        }
    }
    let [high, low, ..] = (bits << (32 - 6 * digits.max(1))).to_be_bytes();
    let rest: &[u8] = match digits {
        0 => &[],
        2 => &[high],
        3 => &[high, low],
        // A digit alone is less than a byte.
        _ => return None,
    };
    bytes.truncate(to);
    bytes.extend_from_slice(rest);
    Some(())
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Not-a-number as Go has it, so that rows are the collector's to the last bit.
const GO_NAN: u64 = 0x7ff8_0000_0000_0001;

/// A double from a string: a number, or one of the names that Go knows, which are proto3's and more.
pub(super) fn double(text: &str) -> Option<f64> {
    if text.contains('_') {
        return double(&without_separators(text)?);
    }
    let (negative, size) = match text.as_bytes() {
        [b'-', size @ ..] => (true, size),
        [b'+', size @ ..] => (false, size),
        size => (false, size),
    };
    let is = |name: &[u8]| size.eq_ignore_ascii_case(name);
    if is(b"inf") || is(b"infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if is(b"nan") {
        return (size.len() == text.len()).then_some(f64::from_bits(GO_NAN));
    }
    if let [b'0', b'x' | b'X', digits @ ..] = size {
        let value = hex_double(digits)?;
        return Some(if negative { -value } else { value });
    }
    number(text)
}

/// A number without the underscores that Go allows between its digits, and behind `0x`.
fn without_separators(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_hex = bytes.trim_ascii_start().windows(2).any(|two| two.eq_ignore_ascii_case(b"0x"));
    let is_digit =
        |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || (is_hex && byte.is_ascii_hexdigit()));
    let separates = |at: usize| {
        let before = at.checked_sub(1)?;
        let after_digit = is_digit(before) || bytes.get(before)?.eq_ignore_ascii_case(&b'x');
        (after_digit && is_digit(at + 1)).then_some(())
    };
    let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    places.map(|(at, _)| separates(at)).collect::<Option<Vec<()>>>()?;
    Some(text.replace('_', ""))
}

/// A double from a number; `None` beyond the largest.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Go's hexadecimal form behind its `0x`: digits, perhaps with a point, and an exponent of two in decimal.
fn hex_double(digits: &[u8]) -> Option<f64> {
    let at = digits.iter().position(|byte| byte.eq_ignore_ascii_case(&b'p'))?;
    let (mantissa, exponent) = (digits.get(..at)?, std::str::from_utf8(digits.get(at + 1..)?).ok()?);
    let mut power: i64 = exponent.parse::<i32>().ok()?.into();
    let (mut bits, mut any, mut point) = (0_u128, false, false);
    for byte in mantissa {
        if *byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = u128::from(char::from(*byte).to_digit(16)?);
        any = true;
        let beyond = bits >> 120 != 0;
        // Digits far behind the last place only say whether there is something.
        bits = if beyond { bits | u128::from(digit != 0) } else { bits << 4 | digit };
        power += 4 * (i64::from(beyond) - i64::from(point));
    }
    let value = scaled(bits, power);
    any.then_some(value).filter(|value| value.is_finite())
}

/// `bits` times two to the power, rounded once, to even.
fn scaled(bits: u128, power: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let length = i64::from(u128::BITS - bits.leading_zeros());
    // How many of the low bits a double of this size has no room for.
    let lost = (length - 53).max(-1074 - power);
    if lost > 127 {
        return 0.0;
    }
    let mut kept = bits;
    if lost > 0 {
        let rest = bits & ((1 << lost) - 1);
        let half = 1_u128 << (lost - 1);
        kept = bits >> lost;
        kept += u128::from(rest > half || (rest == half && kept & 1 == 1));
    }
    let power = power + lost.max(0);
    // Exact in two steps: 53 bits, and a power that is cut where the result is beyond all doubles anyway.
    let step = |value: f64, power: i64| value * 2_f64.powi(i32::try_from(power).unwrap_or(0));
    let power = power.clamp(-2000, 2000);
    #[expect(clippy::cast_precision_loss, reason = "at most 54 bits, the lowest of them zero then")]
    step(step(kept as f64, power / 2), power - power / 2)
}

/// An integer from a number in decimal: with a point or an exponent too, as long as it is whole. `None` when it is not, or beyond 64 bits by far.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, size) = match text.as_bytes() {
        [b'-', size @ ..] => (true, size),
        [b'+', size @ ..] => (false, size),
        size => (false, size),
    };
    let (mantissa, exponent) = match size.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (size.get(..at)?, size.get(at + 1..)?),
        None => (size, &b"0"[..]),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() || whole.len() < mantissa.len() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.trim_suffix_zeros();
    let mut value = 0_i128;
    for byte in whole.iter().chain(fraction) {
        let digit = i128::from(char::from(*byte).to_digit(10)?);
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let exponent = std::str::from_utf8(exponent).ok()?.parse::<i64>().ok()?;
    let mut places = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while value != 0 && places != 0 {
        if places > 0 {
            (value, places) = (value.checked_mul(10)?, places - 1);
        } else if value % 10 == 0 {
            (value, places) = (value / 10, places + 1);
        } else {
            return None;
        }
    }
    Some(if negative { -value } else { value })
}

trait Zeros {
    fn trim_suffix_zeros(&self) -> &[u8];
}

impl Zeros for [u8] {
    /// Without the zeros at its end.
    fn trim_suffix_zeros(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != b'0').map_or(0, |at| at + 1);
        self.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: fn(&mut Vec<u8>, usize) -> Option<()>, text: &str) -> Option<Vec<u8>> {
        let mut bytes = b"before".to_vec();
        bytes.extend_from_slice(text.as_bytes());
        make(&mut bytes, 6)?;
        Some(bytes.split_off(6))
    }

    #[test]
    fn hex_in_either_case() {
        let bytes = |text| made(hex, text);
        assert_eq!(bytes(""), Some(vec![]));
        assert_eq!(bytes("00fFA0"), Some(vec![0, 255, 160]));
        assert_eq!(bytes("0"), None);
        assert_eq!(bytes("0g"), None);
        assert_eq!(bytes("é"), None);
    }

    #[test]
    fn base64_in_both_alphabets() {
        let bytes = |text| made(base64, text);
        assert_eq!(bytes(""), Some(vec![]));
        assert_eq!(bytes("TQ=="), Some(b"M".to_vec()));
        assert_eq!(bytes("TWE"), Some(b"Ma".to_vec()));
        assert_eq!(bytes("TWFu"), Some(b"Man".to_vec()));
        assert_eq!(bytes("TW\r\nFuTQ==\n"), Some(b"ManM".to_vec()));
        assert_eq!(bytes("-_8="), bytes("+/8="));
        assert_eq!(bytes("T"), None);
        assert_eq!(bytes("TWFuT"), None);
        assert_eq!(bytes("T=WE"), None);
        assert_eq!(bytes("TW u"), None);
    }

    #[test]
    fn doubles_have_names() {
        for name in ["NaN", "nan"] {
            assert!(double(name).is_some_and(f64::is_nan));
        }
        for name in ["Infinity", "+inf", "INF"] {
            assert_eq!(double(name), Some(f64::INFINITY));
        }
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(double("-1.5e3"), Some(-1500.0));
        assert_eq!(double("+.5"), Some(0.5));
        assert_eq!(double("1_000.2_5e1_0"), Some(1000.25e10));
        assert_eq!(double("0x_1_Fp0"), Some(31.0));
        for wrong in ["1e999", "", "0x1", "-nan", "--1", "1__0", "_1", "1_", "1_.5", "in_f", " 1", "infinit", "0xp1"] {
            assert_eq!(double(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn doubles_in_hexadecimal() {
        for (text, value) in [
            ("0x1p0", 1.0),
            ("-0X1.8p+1", -3.0),
            ("0x.8p-2", 0.125),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000081p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            ("0x0.00000000000000000000000000000000000000001p164", 1.0),
            ("0x10000000000000000000000000000000000000000000001p0", 2_f64.powi(184)),
            ("0x1p-99999", 0.0),
        ] {
            assert_eq!(double(text), Some(value), "{text}");
        }
        assert_eq!(double("0x1p1024"), None);
        assert_eq!(double("0x1.fffffffffffff8p1023"), None);
    }

    #[test]
    fn integers_are_whole_however_they_are_written() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("007", 7),
            ("+5", 5),
            ("1.0", 1),
            ("1.5e1", 15),
            ("1500E-2", 15),
            ("0e999999999", 0),
            ("18446744073709551615", u64::MAX.into()),
            ("1.8446744073709551615e19", u64::MAX.into()),
            ("-9223372036854775808", i64::MIN.into()),
        ] {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for wrong in ["", "-", "1.5", "1e-1", "1e999", "e5", ".", "1.", "1_0", "0x1", "NaN", " 1", "1e", "--1"] {
            assert_eq!(integer(wrong), None, "{wrong}");
        }
    }
}
