//! Texts, bytes and numbers, in all their forms.

use rand::RngExt;

use super::{Documents, Note};

/// What texts are made of.
const PIECES: [&str; 22] = [
    "a",
    "word ",
    "ünï",
    "漢字",
    "🦀",
    "\\n",
    "\\\"",
    "\\\\",
    "\\/",
    "\\b\\f\\r\\t",
    "\\u0041",
    "\\u00e9",
    "\\u0000",
    "\\ud83e\\udd80",
    "\\uD83D",
    "\\ude00",
    "\\ud83d\\ud83d\\ude00",
    "\\ud83d\\u0041",
    "<&>",
    "{\\\"level\\\":\\\"warn\\\",\\\"a\\\":{\\\"b\\\":[1,2]}}",
    "error ",
    "\u{7f}",
];

/// Doubles as JSON numbers.
const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "0.0",
    "-0.0",
    "1",
    "-1.5",
    "0.1",
    "1e3",
    "1E-3",
    "1.25e+10",
    "5e-324",
    "1e-400",
    "1.7976931348623157e308",
    "123456789.123456789",
    "9007199254740993",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1234567890123456789",
    "3.141592653589793",
    "1e22",
    "1e23",
    "100000000000000000000000",
    "0.000001",
    "2.2250738585072014e-308",
];

/// Doubles as strings.
const NAMES: [&str; 16] = [
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "inf",
    "-inf",
    "+Inf",
    "INFINITY",
    "1.5",
    "-2e3",
    "0x1p-2",
    "-0X1.8P3",
    "1_0",
    "0x_1p1_0",
    "+1",
    ".5",
];

/// What is no double.
const WRONG: [&str; 14] = [
    "1e999",
    "01",
    "1.",
    "\"1e999\"",
    "\"\"",
    "\"1__0\"",
    "\"x\"",
    "+1",
    ".5",
    "-",
    "\"-nan\"",
    "\"0x1\"",
    "\"1 \"",
    "--1",
];

impl Documents {
    pub(super) fn text(&mut self) {
        self.out.push(b'"');
        for _ in 0..self.rng.random_range(0..4) {
            let piece = self.pick(&PIECES);
            self.push(piece);
        }
        if self.chance(0.01) {
            let raw = self.pick(&[&b"\xff"[..], b"\xed\xa0\x80", b"\xc3", b"\xf0\x9f"]);
            self.out.extend_from_slice(raw);
        }
        if self.odd() {
            self.notes.insert(Note::Control);
            let control = self.pick(&[b'\n', b'\t', 0, 0x1f]);
            self.out.push(control);
        }
        if self.odd() && self.chance(0.2) {
            let wrong = self.pick(&["\\x", "\\u12", "\\u12g4", "\\ud83d\\u1", "\\"]);
            self.push(wrong);
            self.notes.insert(Note::Damaged);
        }
        self.out.push(b'"');
    }

    pub(super) fn hex(&mut self, len: usize) {
        let mut digits: String = (0..len).map(|_| format!("{:02x}", self.rng.random::<u8>())).collect();
        match self.rng.random_range(0..20) {
            0 => digits.clear(),
            1 => digits = "0".repeat(2 * len),
            2..=6 => digits.make_ascii_uppercase(),
            _ => {}
        }
        if self.odd() {
            match self.rng.random_range(0..4) {
                0 => digits.push_str("ab"),
                1 => drop(digits.pop()),
                2 => digits = "zz".repeat(len),
                _ if !digits.is_empty() => {
                    self.notes.insert(Note::EscapedDigits);
                    let escape = format!("\\u{:04x}", u32::from(digits.as_bytes()[0]));
                    digits.replace_range(0..1, &escape);
                }
                _ => {}
            }
        }
        self.push(&format!("\"{digits}\""));
    }

    pub(super) fn base64(&mut self) {
        let digits = self.pick(&["", "AQ==", "AAE=", "AAEC", "+/+/", "QUJDREVGR0hJSktMTU5PUA==", "QR=="]);
        let mut digits = digits.to_owned();
        if self.odd() {
            match self.rng.random_range(0..5) {
                0 => digits = digits.replace('+', "-").replace('/', "_"),
                1 => digits = digits.trim_end_matches('=').to_owned(),
                2 => digits = digits.replace('/', "\\/"),
                3 => digits.push('!'),
                _ => digits = digits.replace('A', "\\u0041"),
            }
            self.notes.insert(Note::Base64Form);
            self.notes.insert(Note::EscapedDigits);
        }
        self.push(&format!("\"{digits}\""));
    }

    pub(super) fn double(&mut self) {
        if self.odd() {
            let wrong = self.pick(&WRONG);
            return self.push(wrong);
        }
        match self.rng.random_range(0..10) {
            0 | 1 => {
                let name = self.pick(&NAMES);
                self.push(&format!("\"{name}\""));
            }
            2..=4 => {
                let any = f64::from_bits(self.rng.random());
                let any = if any.is_finite() { any } else { 1.5 };
                let text = if self.chance(0.5) { format!("{any:e}") } else { format!("{:.6}", any % 1e15) };
                self.real(&text);
            }
            _ => {
                let number = self.pick(&NUMBERS);
                self.real(number);
            }
        }
    }

    fn real(&mut self, text: &str) {
        if text.parse::<f64>().is_ok_and(|value| value == 0.0 && value.is_sign_negative()) {
            self.notes.insert(Note::MinusZero);
        }
        self.push(text);
    }

    pub(super) fn integer(&mut self, least: i128, most: i128) {
        let value = match self.rng.random_range(0..10) {
            0 => least,
            1 => most,
            2 | 3 => 0,
            4 => i128::from(self.rng.random_range(0..300)),
            // Moments of a few days.
            _ if most > i128::from(u32::MAX) => {
                1_770_000_000_000_000_000 + i128::from(self.rng.random_range(0..200_000_u32)) * 1_000_000_007
            }
            _ => i128::from(self.rng.random::<u32>()).clamp(least, most),
        };
        let mut text = value.to_string();
        if self.odd() {
            match self.rng.random_range(0..9) {
                0 => text = (most + 1).to_string(),
                1 => text = (least - 1).to_string(),
                2 => text.push_str("00000"),
                3 => text.push_str(".0"),
                4 => text.push_str("e0"),
                5 => text = "-0".to_owned(),
                6 => text = "1.5".to_owned(),
                7 => text = format!("+{text}"),
                _ => text = format!("0{text}"),
            }
            self.notes.insert(Note::Beyond);
            self.notes.insert(Note::IntegerForm);
        }
        if self.chance(0.4) {
            text = format!("\"{text}\"");
        }
        self.push(&text);
    }

    pub(super) fn name_of(&mut self, names: &'static [&'static str]) {
        if self.odd() {
            let wrong =
                self.pick(&["\"1\"", "\"unspecified\"", "\"\"", "-1", "2147483647", "2147483648", "1.0", "true"]);
            self.notes.insert(Note::IntegerForm);
            return self.push(wrong);
        }
        if self.chance(0.5) {
            let number = self.rng.random_range(0..names.len() + 2);
            return self.push(&number.to_string());
        }
        let name = self.pick(names);
        self.push(&format!("\"{name}\""));
    }
}
