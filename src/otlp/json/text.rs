//! Bytes and numbers that JSON carries in strings.

/// Bytes from hex digits in either case; `None` when the text is something else.
pub(super) fn hex(text: &str) -> Option<impl Iterator<Item = Option<u8>>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(move |[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()))
}

/// Bytes from base64: RFC 4648's standard alphabet or the one for URLs, padded or not.
pub(super) fn base64(text: &str) -> impl Iterator<Item = Option<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    digits.chunks(4).flat_map(|group| {
        let mut bits = Some(0_u32);
        for place in 0..4 {
            let digit = group.get(place).map_or(Some(0), |digit| sextet(*digit));
            bits = bits.zip(digit).map(|(bits, digit)| bits << 6 | digit);
        }
        // A digit alone is less than a byte.
        let bits = bits.filter(|_| group.len() > 1);
        let whole = group.len().saturating_sub(1).max(1);
        (0..whole).map(move |byte| Some(bits?.to_be_bytes()[byte + 1]))
    })
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

/// A double from a string: one of proto3's three names, or a number in JSON's form.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust's own parser also takes names like `inf`.
        _ if text.bytes().any(|byte| byte.is_ascii_alphabetic() && !b"eE".contains(&byte)) => None,
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// The integer that a double is; `None` when it is not one, or beyond 64 bits.
pub(super) fn integral(value: f64) -> Option<i128> {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    let whole = value.trunc() == value && value.abs() <= BEYOND;
    // Exact: every such double is an integer of at most 65 bits.
    #[expect(clippy::cast_possible_truncation)]
    whole.then_some(value as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_in_either_case() {
        let bytes = |text| hex(text).and_then(|bytes| bytes.collect::<Option<Vec<u8>>>());
        assert_eq!(bytes(""), Some(vec![]));
        assert_eq!(bytes("00fFA0"), Some(vec![0, 255, 160]));
        assert_eq!(bytes("0"), None);
        assert_eq!(bytes("0g"), None);
        assert_eq!(bytes("é"), None);
    }

    #[test]
    fn base64_in_both_alphabets() {
        let bytes = |text| base64(text).collect::<Option<Vec<u8>>>();
        assert_eq!(bytes(""), Some(vec![]));
        assert_eq!(bytes("TQ=="), Some(b"M".to_vec()));
        assert_eq!(bytes("TWE"), Some(b"Ma".to_vec()));
        assert_eq!(bytes("TWFu"), Some(b"Man".to_vec()));
        assert_eq!(bytes("-_8="), bytes("+/8="));
        assert_eq!(bytes("T"), None);
        assert_eq!(bytes("TWFuT"), None);
        assert_eq!(bytes("T=WE"), None);
        assert_eq!(bytes("TW u"), None);
    }

    #[test]
    fn doubles_have_three_names() {
        assert!(double("NaN").is_some_and(f64::is_nan));
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(double("-1.5e3"), Some(-1500.0));
        for wrong in ["inf", "nan", "infinity", "1e999", "", "0x1"] {
            assert_eq!(double(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_double_is_an_integer_when_it_is_whole() {
        assert_eq!(integral(1.7e18), Some(1_700_000_000_000_000_000));
        assert_eq!(integral(-0.0), Some(0));
        assert_eq!(integral(0.5), None);
        assert_eq!(integral(1e30), None);
        assert_eq!(integral(f64::NAN), None);
    }
}
