//! Values as JSON, as Go's `encoding/json` writes them.

use std::io::Write;

use super::bound::Entries;
use super::value::{AnyValue, Attribute, entries, put_base64};
use super::wire::{Fault, Field, Fields};
use crate::otlp::steps;

/// Writes values as Go's `encoding/json` does: keys sorted, the last of equal keys kept, `<`, `>` and `&` escaped.
pub(super) struct Json<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    max: u64,
    /// Something cannot be said in JSON (an infinity, not-a-number) and stands there as null; Go writes nothing at all then.
    pub(super) unsupported: bool,
    /// For a column of type `JSON`: ClickHouse reads digits without an exponent as an integer, and refuses those over 64 bits.
    column: bool,
    most: Entries,
}

impl<'o> Json<'o> {
    /// Appends to `out`, at most about `max` bytes.
    pub(super) fn new(out: &'o mut Vec<u8>, max: u64) -> Json<'o> {
        let start = out.len();
        Json { out, start, max, unsupported: false, column: false, most: Entries::new() }
    }

    /// The same, for a column of type `JSON`.
    pub(super) fn column(out: &'o mut Vec<u8>, max: u64) -> Json<'o> {
        Json { column: true, ..Json::new(out, max) }
    }

    /// Appends a value that lies `depth` messages deep.
    pub(super) fn value(&mut self, value: &AnyValue<'_>, depth: u8) -> Result<(), Fault> {
        self.within()?;
        match value {
            AnyValue::Empty => self.out.extend_from_slice(b"null"),
            AnyValue::Text(text) => self.string(text)?,
            AnyValue::Double(double) if !double.is_finite() => {
                self.unsupported = true;
                self.out.extend_from_slice(b"null");
            }
            AnyValue::Double(double) if self.column && double.abs() >= 9e18 => {
                let _ = write!(self.out, "{double:e}");
            }
            // An empty byte slice is Go's nil slice.
            AnyValue::Bytes(bytes) if bytes.is_empty() => self.out.extend_from_slice(b"null"),
            AnyValue::Bytes(bytes) => {
                self.out.push(b'"');
                put_base64(self.out, bytes);
                self.out.push(b'"');
            }
            AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) | AnyValue::Number(_) => {
                value.put_text(self.out, depth, self.max)?;
            }
            AnyValue::Array(list) => self.array(list, depth)?,
            AnyValue::Map(list) => self.map(list, depth)?,
        }
        Ok(())
    }

    fn array(&mut self, list: &[u8], depth: u8) -> Result<(), Fault> {
        let depth = Fields::new(list, depth).inner_depth()?;
        let mut fields = Fields::new(list, depth);
        self.out.push(b'[');
        let mut first = true;
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(any)) => {
                    if !first {
                        self.out.push(b',');
                    }
                    first = false;
                    let depth = fields.inner_depth()?;
                    let mut value = AnyValue::Empty;
                    value.merge(any, depth)?;
                    self.value(&value, depth)?;
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, list: &[u8], depth: u8) -> Result<(), Fault> {
        let depth = Fields::new(list, depth).inner_depth()?;
        let attributes = entries(list, depth, &mut self.most)?;
        self.object(attributes, depth + 1)
    }

    /// Appends attributes as an object; `depth` is that of their `KeyValue`s.
    pub(super) fn object(&mut self, mut attributes: Vec<Attribute<'_>>, depth: u8) -> Result<(), Fault> {
        attributes.sort_by(|one, other| {
            steps::count(1);
            one.key.cmp(&other.key)
        });
        self.out.push(b'{');
        let mut first = true;
        for (index, attribute) in attributes.iter().enumerate() {
            if attributes.get(index + 1).is_some_and(|next| next.key == attribute.key) {
                attribute.value.check(depth + 1)?;
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.string(&attribute.key)?;
            self.out.push(b':');
            self.value(&attribute.value, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Whether it is not too long yet.
    fn within(&self) -> Result<(), Fault> {
        if (self.out.len() - self.start) as u64 > self.max {
            return Err(Fault::TooLarge("max_column_bytes", self.max));
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), Fault> {
        /// So much of a string is written before it is asked how long it gets: an escape is six times what it stands for.
        const PIECE: usize = 64 << 10;
        let start = self.out.len();
        self.out.push(b'"');
        for chunk in text.utf8_chunks() {
            let mut rest = chunk.valid();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
                self.escaped(piece);
                self.within()?;
                rest = after;
            }
            for _ in chunk.invalid() {
                self.out.extend_from_slice(b"\\ufffd");
            }
            self.within()?;
        }
        self.out.push(b'"');
        steps::count(self.out.len() - start);
        Ok(())
    }

    fn escaped(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut plain = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let short: Option<&[u8]> = match byte {
                b'"' => Some(b"\\\""),
                b'\\' => Some(b"\\\\"),
                b'\n' => Some(b"\\n"),
                b'\r' => Some(b"\\r"),
                b'\t' => Some(b"\\t"),
                0x08 => Some(b"\\b"),
                0x0c => Some(b"\\f"),
                0x00..0x20 | b'<' | b'>' | b'&' => None,
                // U+2028 and U+2029 end a line in JavaScript.
                0xe2 if matches!(bytes[at..], [_, 0x80, 0xa8 | 0xa9, ..]) => None,
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[plain..at]);
            plain = at + 1;
            if let Some(short) = short {
                self.out.extend_from_slice(short);
            } else if byte == 0xe2 {
                self.out.extend_from_slice(b"\\u202");
                self.out.push(if bytes[at + 2] == 0xa8 { b'8' } else { b'9' });
                plain = at + 3;
            } else {
                let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
                self.out.extend_from_slice(b"\\u00");
                self.out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
        self.out.extend_from_slice(&bytes[plain..]);
    }
}
