//! Random OTLP/JSON: valid documents in every form that the collector takes, and here and there something that one of the two readers may not take. What
//! is known to be read differently is noted.

mod scalar;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::note::Note;
use super::schema::{Fields, Kind, REQUESTS};

/// A document, and what is in it that the readers are known to read differently.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) text: Vec<u8>,
    pub(crate) notes: BTreeSet<Note>,
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
}
