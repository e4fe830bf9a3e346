//! `AnyValue`, and its text as ClickStack's collector writes it (pdata's `AsString`): a string as it is, `true` or `false`,
//! integers in decimal, doubles as Go's JSON prints them, bytes in base64, arrays and maps as Go's JSON.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::bound::{Entries, push};
use super::json::Json;
use super::plain::{only_text, plain_text};
use super::wire::{Fault, Field, Fields, MAX_DEPTH, put_string, put_varint};
use crate::otlp::steps;

/// A value, its arrays and maps still as they are on the wire.
#[derive(Debug, Clone, Default)]
pub(super) enum AnyValue<'a> {
    #[default]
    Empty,
    Text(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A double whose text Go would write just so. Not from the wire.
    Number(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    /// An `ArrayValue`.
    Array(&'a [u8]),
    /// A `KeyValueList`.
    Map(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue` that lies `depth` messages deep over this one. Of several values the last counts, as the collector reads them: protobuf
    /// would merge two arrays, and whoever nests such pairs would have copies made of copies.
    #[inline]
    pub(super) fn merge(&mut self, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        match only_text(bytes) {
            Some(text) if matches!(self, AnyValue::Empty) => {
                *self = AnyValue::Text(Cow::Borrowed(text));
                Ok(())
            }
            _ => self.merge_any(bytes, depth),
        }
    }

    fn merge_any(&mut self, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        let mut fields = Fields::new(bytes, depth);
        while let Some((number, field)) = fields.next()? {
            let value = match (number, field) {
                (1, Field::Len(text)) => AnyValue::Text(Cow::Borrowed(text)),
                (2, Field::Varint(flag)) => AnyValue::Bool(flag != 0),
                (3, Field::Varint(int)) => AnyValue::Int(int.cast_signed()),
                (4, Field::Fixed64(bits)) => AnyValue::Double(f64::from_bits(bits)),
                (5 | 6, Field::Len(list)) => {
                    fields.inner_depth()?;
                    if number == 5 { AnyValue::Array(list) } else { AnyValue::Map(list) }
                }
                (7, Field::Len(bytes)) => AnyValue::Bytes(Cow::Borrowed(bytes)),
                // An index into a table of strings that only profiles have.
                (8, Field::Varint(_)) => AnyValue::Empty,
                (1..=8, _) => return fields.wrong_type(),
                _ => continue,
            };
            // What is replaced is never written, so nobody else finds out whether it was well-formed.
            self.check(depth)?;
            *self = value;
        }
        Ok(())
    }

    /// Whether it is an array or a map.
    pub(super) fn is_nested(&self) -> bool {
        matches!(self, AnyValue::Array(_) | AnyValue::Map(_))
    }

    /// The same value, borrowed.
    pub(super) fn borrowed(&self) -> AnyValue<'_> {
        match self {
            AnyValue::Empty => AnyValue::Empty,
            AnyValue::Text(text) => AnyValue::Text(Cow::Borrowed(text)),
            AnyValue::Bool(flag) => AnyValue::Bool(*flag),
            AnyValue::Int(int) => AnyValue::Int(*int),
            AnyValue::Double(double) => AnyValue::Double(*double),
            AnyValue::Number(text) => AnyValue::Number(Cow::Borrowed(text)),
            AnyValue::Bytes(bytes) => AnyValue::Bytes(Cow::Borrowed(bytes)),
            AnyValue::Array(list) => AnyValue::Array(list),
            AnyValue::Map(list) => AnyValue::Map(list),
        }
    }

    /// Whether the arrays and maps in it are well-formed; `depth` is its own.
    pub(super) fn check(&self, depth: u8) -> Result<(), Fault> {
        let (list, array) = match self {
            AnyValue::Array(list) => (*list, true),
            AnyValue::Map(list) => (*list, false),
            _ => return Ok(()),
        };
        let mut fields = Fields::new(list, Fields::new(list, depth).inner_depth()?);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(any)) if array => {
                    let mut value = AnyValue::Empty;
                    value.merge(any, fields.inner_depth()?)?;
                    value.check(fields.inner_depth()?)?;
                }
                (1, Field::Len(entry)) => {
                    let depth = fields.inner_depth()?;
                    Attribute::read(entry, depth)?.value.check(depth + 1)?;
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends its text as ClickHouse's String: the length, then the bytes.
    #[inline]
    pub(super) fn put_string(&self, out: &mut Vec<u8>, depth: u8, max: u64) -> Result<(), Fault> {
        match self {
            AnyValue::Text(text) | AnyValue::Number(text) => put_string(out, text),
            AnyValue::Bool(flag) => put_string(out, bool_text(*flag)),
            AnyValue::Int(int) => put_string(out, decimal(*int, &mut [0; INT_DIGITS])),
            _ => return prefixed(out, |out| self.put_text(out, depth, max)),
        }
        Ok(())
    }

    /// Appends its text.
    pub(super) fn put_text(&self, out: &mut Vec<u8>, depth: u8, max: u64) -> Result<(), Fault> {
        match self {
            AnyValue::Empty => {}
            AnyValue::Text(text) | AnyValue::Number(text) => out.extend_from_slice(text),
            AnyValue::Bool(flag) => out.extend_from_slice(bool_text(*flag)),
            AnyValue::Int(int) => put_int(out, *int),
            AnyValue::Double(double) if double.is_finite() => put_double(out, *double),
            AnyValue::Double(double) => {
                out.extend_from_slice(b"json: unsupported value: ");
                out.extend_from_slice(match double {
                    _ if double.is_nan() => b"NaN",
                    _ if double.is_sign_positive() => b"+Inf",
                    _ => b"-Inf",
                });
            }
            AnyValue::Bytes(bytes) => put_base64(out, bytes),
            AnyValue::Array(_) | AnyValue::Map(_) => {
                let start = out.len();
                let mut json = Json::new(out, max);
                json.value(self, depth)?;
                if json.unsupported {
                    out.truncate(start);
                }
            }
        }
        Ok(())
    }
}

/// A key and its value.
#[derive(Debug, Clone, Default)]
pub(super) struct Attribute<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: AnyValue<'a>,
}

impl<'a> Attribute<'a> {
    /// Reads a `KeyValue` that lies `depth` messages deep.
    pub(super) fn read(bytes: &'a [u8], depth: u8) -> Result<Attribute<'a>, Fault> {
        let (key, value) = match plain_text(bytes) {
            Some((key, text)) if depth < MAX_DEPTH => (key, AnyValue::Text(Cow::Borrowed(text))),
            _ => read_key_value(bytes, depth)?,
        };
        Ok(Attribute { key: Cow::Borrowed(key), value })
    }

    /// Reads a `KeyValue` and appends it. Made where it stays: most attributes are too cheap to read to be moved.
    #[inline]
    pub(super) fn read_into(list: &mut Vec<Attribute<'a>>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        match plain_text(bytes) {
            Some((key, text)) if depth < MAX_DEPTH => {
                push(list, Attribute { key: Cow::Borrowed(key), value: AnyValue::Text(Cow::Borrowed(text)) })
            }
            _ => push(list, Attribute::read(bytes, depth)?),
        }
    }

    /// The same attribute, borrowed.
    #[inline]
    pub(super) fn borrowed(&self) -> Attribute<'_> {
        Attribute { key: Cow::Borrowed(&self.key), value: self.value.borrowed() }
    }
}

/// Reads a `KeyValue` that lies `depth` messages deep.
pub(super) fn read_key_value(bytes: &[u8], depth: u8) -> Result<(&[u8], AnyValue<'_>), Fault> {
    let mut key: &[u8] = &[];
    let mut value = AnyValue::Empty;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(text)) => key = text,
            (2, Field::Len(any)) => value.merge(any, fields.inner_depth()?)?,
            (3, Field::Varint(_)) => {}
            (1..=3, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Appends what `text` appends, with its length in front.
pub(super) fn prefixed<E>(out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.push(0);
    text(out)?;
    let len = out.len() - start - 1;
    steps::count(len);
    if len < 0x80 {
        out[start] = len as u8;
        return Ok(());
    }
    let end = out.len();
    put_varint(out, len);
    let prefix = out.len() - end;
    // The prefix, written behind the text, goes in front of it over the byte that was kept free.
    out[start..].rotate_right(prefix);
    out.copy_within(start + prefix + 1.., start + prefix);
    out.pop();
    Ok(())
}

pub(super) fn bool_text(flag: bool) -> &'static [u8] {
    if flag { b"true" } else { b"false" }
}

/// The most characters of a 64-bit integer in decimal, with its sign.
pub(super) const INT_DIGITS: usize = 20;

/// An integer in decimal, at the end of the buffer.
#[inline]
pub(super) fn decimal(int: i64, buffer: &mut [u8; INT_DIGITS]) -> &[u8] {
    let mut at = buffer.len();
    let mut rest = int.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if int < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// Appends an integer in decimal.
pub(super) fn put_int(out: &mut Vec<u8>, int: i64) {
    out.extend_from_slice(decimal(int, &mut [0; INT_DIGITS]));
}

/// Appends a finite double as Go's JSON prints it: the shortest digits that read back the same, with an exponent
/// below 1e-6 and from 1e21 on.
fn put_double(out: &mut Vec<u8>, double: f64) {
    let size = double.abs();
    // Whole numbers, as JSON's mostly are; not minus zero.
    if double == double.trunc() && (1.0..1e15).contains(&size) {
        put_int(out, double as i64);
        return;
    }
    // Unlike the standard library's, these digits are even where two texts of the same length are equally near, as Go's are.
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(double);
    let (digits, exponent) = text.split_once('e').unwrap_or((text, ""));
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    if exponent.is_empty() {
        out.extend_from_slice(digits.as_bytes());
    } else if (1e-6..1e21).contains(&size) {
        put_plain(out, digits, exponent.parse().unwrap_or_default());
    } else {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(if exponent.starts_with('-') { b"e" } else { b"e+" });
        out.extend_from_slice(exponent.trim_start_matches('+').as_bytes());
    }
}

/// Appends `d.ddd` times ten to some power without saying that power.
fn put_plain(out: &mut Vec<u8>, digits: &str, exponent: i32) {
    let positive = digits.strip_prefix('-');
    if positive.is_some() {
        out.push(b'-');
    }
    let start = out.len();
    for _ in exponent..0 {
        out.push(b'0');
    }
    out.extend(positive.unwrap_or(digits).bytes().filter(|byte| *byte != b'.'));
    let whole = start + usize::try_from(exponent).unwrap_or(0) + 1;
    if out.len() > whole {
        out.insert(whole, b'.');
    }
    out.resize(out.len().max(whole), b'0');
}

/// Appends bytes in base64 with padding (RFC 4648, section 4).
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[start..]);
}

/// The entries of a `KeyValueList` that lies `depth` messages deep.
pub(super) fn entries<'a>(list: &'a [u8], depth: u8, most: &mut Entries) -> Result<Vec<Attribute<'a>>, Fault> {
    let mut attributes = Vec::new();
    let mut fields = Fields::new(list, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(entry)) => {
                most.one()?;
                attributes.push(Attribute::read(entry, fields.inner_depth()?)?);
            }
            (1, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    Ok(attributes)
}
