//! Random OTLP/JSON: valid documents in every form that the collector takes, and here and there something that one of the two readers may not take. What
//! is known to be read differently is noted.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::schema::{Fields, Kind, REQUESTS};

/// A document, and what is in it that the readers are known to read differently.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) text: Vec<u8>,
    pub(crate) notes: BTreeSet<Note>,
}

/// What the readers are known to read differently; `docs/decisions/0008` says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Note {
    /// `null` where a number, a boolean, an enum, bytes or an id belongs.
    Null,
    /// An integer with a point, an exponent or a needless sign.
    IntegerForm,
    /// Base64 for URLs, or without padding.
    Base64Form,
    /// An escape in an id or in base64.
    EscapedDigits,
    /// A control character in a string.
    Control,
    /// A number in an unknown field that the collector cannot step over.
    UnknownNumber,
    /// A double that is minus zero: the marshaler of the collector's reader leaves it out, which the collector's exporter does not use.
    MinusZero,
    /// An integer beyond its type.
    Beyond,
    /// Nesting past otelgate's limit.
    Deep,
    /// Something behind the document.
    Behind,
    /// A member without a name.
    NoName,
    /// The text was damaged, so that it may be no JSON.
    Damaged,
}

impl Note {
    /// Whether otelgate takes such documents where the collector may refuse them.
    pub(crate) fn is_taken_here(self) -> bool {
        matches!(
            self,
            Note::Null
                | Note::IntegerForm
                | Note::Base64Form
                | Note::EscapedDigits
                | Note::Control
                | Note::UnknownNumber
                | Note::NoName
                | Note::Deep
                | Note::Damaged
        )
    }

    /// Whether the collector may take such documents, or lose a part of them in silence, where otelgate refuses them, names a record in
    /// `partial_success`, or keeps all.
    pub(crate) fn is_taken_there(self) -> bool {
        matches!(self, Note::MinusZero | Note::Beyond | Note::Deep | Note::Behind | Note::NoName | Note::Damaged)
    }
}

/// Makes documents.
pub(crate) struct Documents {
    rng: StdRng,
    out: Vec<u8>,
    notes: BTreeSet<Note>,
    /// How often something odd is written.
    odd: f64,
    space: bool,
}

impl Documents {
    pub(crate) fn new(seed: u64) -> Documents {
        Documents { rng: StdRng::seed_from_u64(seed), out: Vec::new(), notes: BTreeSet::new(), odd: 0.0, space: false }
    }

    /// The next document of the signal with this number.
    pub(crate) fn next(&mut self, signal: usize) -> Document {
        self.odd = self.pick(&[0.0, 0.0, 0.002, 0.01, 0.05]);
        self.space = self.chance(0.2);
        if self.chance(0.002) {
            self.push("\u{feff}");
        }
        if self.chance(0.005) {
            self.push("null");
        } else {
            self.object(&REQUESTS[signal], 0);
        }
        self.gap();
        if self.odd() && self.chance(0.2) {
            self.notes.insert(Note::Behind);
            let behind = self.pick(&["{}", "x", "]", "}", ",", "\0"]);
            self.push(behind);
        }
        if self.odd() && self.chance(0.2) {
            self.damage();
        }
        Document { text: std::mem::take(&mut self.out), notes: std::mem::take(&mut self.notes) }
    }

    fn damage(&mut self) {
        self.notes.insert(Note::Damaged);
        let at = self.rng.random_range(0..=self.out.len());
        match self.rng.random_range(0..3) {
            0 => self.out.truncate(at),
            1 => {
                let byte = self.pick(b"{}[],:\"\\n0x \xff");
                self.out.insert(at, byte);
            }
            _ => {
                if let Some(byte) = self.out.get_mut(at) {
                    *byte ^= 1 << self.rng.random_range(0..8);
                }
            }
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn odd(&mut self) -> bool {
        let odd = self.odd;
        self.chance(odd)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn gap(&mut self) {
        if self.space && self.chance(0.3) {
            let gap = self.pick(&[" ", "\n", "\t", "\r\n", "  "]);
            self.push(gap);
        }
    }

    fn object(&mut self, Fields(fields): &'static Fields, depth: usize) {
        self.push("{");
        let mut first = true;
        let is_any = fields.iter().any(|(name, ..)| *name == "arrayValue");
        let chosen = self.rng.random_range(0..fields.len());
        for (at, (name, kind, repeated)) in fields.iter().enumerate() {
            // One of several, mostly.
            let wanted =
                if is_any || matches!(*name, "gauge" | "sum" | "histogram" | "exponentialHistogram" | "summary") {
                    at == chosen || self.chance(0.03)
                } else {
                    self.chance(if depth < 3 { 0.95 } else { 0.6 })
                };
            if !wanted {
                continue;
            }
            let times = if self.chance(0.02) { 2 } else { 1 };
            for _ in 0..times {
                self.comma(&mut first);
                self.name(name);
                self.value(*kind, *repeated, depth);
            }
            if self.chance(0.01) {
                self.comma(&mut first);
                self.unknown();
            }
        }
        self.gap();
        self.push("}");
    }

    fn comma(&mut self, first: &mut bool) {
        self.gap();
        if !std::mem::replace(first, false) {
            self.push(",");
            self.gap();
        }
    }

    /// A field's name in one of its two forms.
    fn name(&mut self, camel: &str) {
        let mut name = String::new();
        let snake = self.chance(0.4);
        for char in camel.chars() {
            if snake && char.is_ascii_uppercase() {
                name.push('_');
                name.push(char.to_ascii_lowercase());
            } else {
                name.push(char);
            }
        }
        if self.chance(0.01) {
            let at = self.rng.random_range(0..name.len());
            let escape = format!("\\u{:04x}", u32::from(name.as_bytes()[at]));
            name.replace_range(at..=at, &escape);
        }
        self.out.push(b'"');
        self.push(&name);
        self.out.push(b'"');
        self.gap();
        self.push(":");
        self.gap();
    }

    fn unknown(&mut self) {
        let name = if self.odd() {
            self.notes.insert(Note::NoName);
            ""
        } else {
            self.pick(&["x", "Attributes", "time_unixNano", "é", "a\\\"b", "TraceId", "deprecated"])
        };
        self.out.push(b'"');
        self.push(name);
        self.push("\":");
        self.anything(0);
    }

    /// Any JSON.
    fn anything(&mut self, depth: usize) {
        match self.rng.random_range(0..if depth < 4 { 9 } else { 6 }) {
            0 => self.push("null"),
            1 => self.push("true"),
            2 => self.push("false"),
            3 => {
                let number = self.pick(&["0", "-1", "1.5", "-0.25", "1e3", "1E+2", "123456789012345678901234567890"]);
                self.push(number);
            }
            4 if self.odd() => {
                self.notes.insert(Note::UnknownNumber);
                let number = self.pick(&["1e999", "0.1e999", "0e999999", "0.0000000000000000001e-9999", "-0.1e400"]);
                self.push(number);
            }
            4 | 5 => self.text(),
            6 => {
                self.push("[");
                for at in 0..self.rng.random_range(0..4) {
                    if at > 0 {
                        self.push(",");
                    }
                    self.anything(depth + 1);
                }
                self.push("]");
            }
            7 if self.chance(0.05) => {
                let levels = self.pick(&[100, 200, 5000]);
                self.push(&"[".repeat(levels));
                self.push(&"]".repeat(levels));
            }
            _ => {
                self.push("{");
                for at in 0..self.rng.random_range(0..3) {
                    if at > 0 {
                        self.push(",");
                    }
                    self.push(&format!("\"k{at}\":"));
                    self.anything(depth + 1);
                }
                self.push("}");
            }
        }
    }

    fn value(&mut self, kind: Kind, repeated: bool, depth: usize) {
        if self.odd() && self.chance(0.3) {
            // Something else than the field may hold.
            let other = self
                .pick(&["[]", "{}", "\"\"", "1", "true", "\"x\"", "[1]", "[{}]", "[[]]", "-1", "1.5", "nul", "[null]"]);
            if other == "1.5" || other == "[null]" {
                self.notes.insert(Note::IntegerForm);
                self.notes.insert(Note::Null);
            }
            return self.push(other);
        }
        if !repeated {
            if self.chance(0.01) {
                return self.null(kind);
            }
            return self.element(kind, depth);
        }
        if self.chance(0.01) {
            return self.push("null");
        }
        self.push("[");
        self.gap();
        let most = match kind {
            Kind::Message(_) if depth > 8 => 0,
            _ if depth == 0 => 2,
            _ => 3,
        };
        for at in 0..self.rng.random_range(0..=most) {
            if at > 0 {
                self.gap();
                self.push(",");
                self.gap();
            }
            match kind {
                Kind::Message(_) | Kind::Text if self.chance(0.01) => self.push("null"),
                _ => self.element(kind, depth),
            }
        }
        self.gap();
        self.push("]");
    }

    fn null(&mut self, kind: Kind) {
        if !matches!(kind, Kind::Text | Kind::Message(_)) {
            self.notes.insert(Note::Null);
        }
        self.push("null");
    }

    fn element(&mut self, kind: Kind, depth: usize) {
        match kind {
            Kind::Message(fields) => {
                let is_any = fields.0.iter().any(|(name, ..)| *name == "arrayValue");
                if is_any && self.odd() && self.chance(0.05) {
                    return self.deep();
                }
                if is_any && depth > 12 {
                    return self.push("{}");
                }
                self.object(fields, depth + 1);
            }
            Kind::Text => self.text(),
            Kind::Hex(len) => self.hex(len),
            Kind::Base64 => self.base64(),
            Kind::Bool => {
                let flag = self.pick(&["true", "false"]);
                self.push(flag);
            }
            Kind::Double => self.double(),
            Kind::Unsigned64 => self.integer(0, u64::MAX.into()),
            Kind::Signed64 => self.integer(i64::MIN.into(), i64::MAX.into()),
            Kind::Unsigned32 => self.integer(0, u32::MAX.into()),
            Kind::Signed32 => self.integer(i32::MIN.into(), i32::MAX.into()),
            Kind::Enum(names) => self.name_of(names),
        }
    }

    /// A value that nests, up to and past what otelgate takes.
    fn deep(&mut self) {
        let levels = self.pick(&[20, 30, 60, 400]);
        if levels > 30 {
            self.notes.insert(Note::Deep);
        }
        self.push(&"{\"arrayValue\":{\"values\":[".repeat(levels));
        self.push(&"]}}".repeat(levels));
    }

    fn text(&mut self) {
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

    fn hex(&mut self, len: usize) {
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

    fn base64(&mut self) {
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

    fn double(&mut self) {
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

    fn integer(&mut self, least: i128, most: i128) {
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

    fn name_of(&mut self, names: &'static [&'static str]) {
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
