//! Attribute values of every type, texts and numbers that are easily got wrong.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use rand::{Rng, RngExt};

use super::{Generator, distinct};

const TEXTS: [&str; 14] = [
    "",
    "plain",
    "two words",
    "ünïcödé",
    "日本語",
    "emoji 🦀",
    "quote \" and \\ backslash",
    "line\nbreak\ttab",
    "<html> & 'more'",
    "\u{0}nul",
    "\u{7f}del \u{1b}esc",
    "\u{2028}separator\u{2029}",
    "{\"json\": true}",
    "trailing space ",
];

const DOUBLES: [f64; 26] = [
    0.0,
    1e-5,
    -1e-6,
    999_999_999_999_999_900_000.0,
    -1e100,
    -0.0,
    1.0,
    -1.5,
    0.1,
    1e-6,
    9.99e-7,
    1e-7,
    1e20,
    1e21,
    1.5e21,
    123_456_789.125,
    5e-324,
    f64::MAX,
    f64::MIN_POSITIVE,
    100.0,
    1e15,
    123_456_789_012_345_680.0,
    1.0 / 3.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

const INTEGERS: [i64; 8] = [0, 1, -1, 42, i64::MAX, i64::MIN, 1 << 53, (1 << 53) + 1];

pub(super) fn attribute(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

pub(super) fn text_attribute(key: &str, value: &str) -> KeyValue {
    attribute(key, text_value(value))
}

pub(super) fn text_value(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) })
}

impl Generator {
    pub(super) fn text(&mut self) -> String {
        match self.below(100) {
            0..=69 => self.pick(&TEXTS).to_owned(),
            // Lengths at which the length's own length changes, and more.
            70 => self.pick(&["x", "ü"]).repeat(self.pick(&[63, 64, 127, 128, 8191, 8192, 16_383, 16_384])),
            _ => {
                let length = self.below(12);
                (0..length).map(|_| self.rng.random::<char>()).collect()
            }
        }
    }

    pub(super) fn double(&mut self) -> f64 {
        match self.below(3) {
            0 => self.pick(&DOUBLES),
            1 => f64::from_bits(self.rng.next_u64()),
            _ => self.rng.random_range(-1e6..1e6),
        }
    }

    pub(super) fn integer(&mut self) -> i64 {
        if self.chance(0.5) { self.pick(&INTEGERS) } else { self.rng.random() }
    }

    /// A value of any type; arrays and maps nest up to `depth`.
    pub(super) fn value(&mut self, depth: usize) -> Option<AnyValue> {
        let kinds = if depth == 0 { 6 } else { 8 };
        let value = match self.below(kinds) {
            0 => return Some(AnyValue { value: None }),
            1 => Value::BoolValue(self.chance(0.5)),
            2 => Value::IntValue(self.integer()),
            3 => Value::DoubleValue(self.double()),
            4 => {
                let mut bytes = vec![0; self.below(5)];
                self.rng.fill_bytes(&mut bytes);
                Value::BytesValue(bytes)
            }
            5 => Value::StringValue(self.text()),
            6 => {
                let values = self.several(3, |generator| generator.value(depth - 1).unwrap_or_default());
                Value::ArrayValue(ArrayValue { values })
            }
            _ => {
                let values = self.several(3, |generator| generator.key_value(depth - 1));
                Value::KvlistValue(KeyValueList { values: distinct(values) })
            }
        };
        Some(AnyValue { value: Some(value) })
    }

    fn key_value(&mut self, depth: usize) -> KeyValue {
        let key = if self.chance(0.8) { format!("key.{}", self.below(20)) } else { self.text() };
        attribute(&key, self.value(depth))
    }

    pub(super) fn attributes(&mut self, most: usize) -> Vec<KeyValue> {
        let most = if self.chance(0.02) { 40 } else { most };
        let depth = if self.chance(0.02) { 9 } else { 3 };
        let mut attributes = distinct(self.several(most, |generator| generator.key_value(depth)));
        if self.chance(0.02)
            && let Some(first) = attributes.first()
        {
            let key = first.key.clone();
            let value = self.value(1);
            self.count("attributes: the same key twice");
            // With what a resource gets these are 12: longer lists the collector sorts unstably.
            attributes.truncate(1);
            attributes.push(attribute(&key, value));
        }
        attributes
    }
}
