//! One column of an open part: values are appended, marked, taken back, and at last written as Native bytes.
//!
//! What is appended is kept as the bytes that the block will carry, so that sealing copies and computes nothing but the
//! width of dictionary numbers. Invariant: a column that is cut to a [`Mark`] is as it was when the mark was taken.

use super::buffer::repeat_tail;
use super::dictionary::Numbers;
use super::ends::Ends;
use super::json::Json;
use super::key_values::KeyValues;
use super::map::{Duplicates, Keys, Map};
use super::plan::{ColumnFormat, ValueFormat};
use super::value::prefixed;
use super::wire::{Fault, put_string};

/// A column's buffers.
#[derive(Debug)]
pub(super) struct Column {
    /// Where each row's elements end, for an array.
    pub(super) ends: Option<Ends>,
    pub(super) data: ColumnData,
}

/// The values of a column, or of all its arrays one after another.
#[derive(Debug)]
pub(super) enum ColumnData {
    /// The table does not have the column.
    Absent,
    Text(Strings),
    Dictionary(Numbers),
    Fixed(Fixed),
    Map(Map),
    Json(Strings),
}

/// Strings, each with its length in front.
#[derive(Debug, Default)]
pub(super) struct Strings {
    pub(super) bytes: Vec<u8>,
    last: usize,
}

/// Numbers of one width.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) bytes: Vec<u8>,
    pub(super) kind: FixedKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FixedKind {
    Seconds,
    Ticks(i64),
    Byte,
    Two,
    Four,
    Eight,
}

impl FixedKind {
    pub(super) fn width(self) -> usize {
        match self {
            FixedKind::Byte => 1,
            FixedKind::Two => 2,
            FixedKind::Four | FixedKind::Seconds => 4,
            FixedKind::Eight | FixedKind::Ticks(_) => 8,
        }
    }
}

/// How far each of a column's buffers reached at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) rows: usize,
    pub(super) data: usize,
    pub(super) keys: usize,
    pub(super) values: usize,
    pub(super) dictionary: usize,
}

/// Nanoseconds since 1970 as whole seconds, rounded down, in 32 bits: as Go and ClickHouse's DateTime count them, around and around.
pub(super) fn seconds(nanos: u64) -> u32 {
    (nanos.cast_signed().div_euclid(1_000_000_000).cast_unsigned() & u64::from(u32::MAX)) as u32
}

/// An id in lower-case hex. Computed, not looked up, so that all of its digits are made at once.
#[inline]
pub(super) fn hex<const N: usize>(id: &[u8; N]) -> [[u8; 2]; N] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [[0; 2]; N];
    for (pair, byte) in digits.iter_mut().zip(id) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    digits
}

impl Column {
    /// An empty column; without a format it swallows what it is given.
    pub(super) fn new(format: Option<&ColumnFormat>) -> Column {
        let Some(format) = format else {
            return Column { ends: None, data: ColumnData::Absent };
        };
        let fixed = |kind| ColumnData::Fixed(Fixed { bytes: Vec::new(), kind });
        let data = match &format.values {
            ValueFormat::Text => ColumnData::Text(Strings::default()),
            ValueFormat::Dictionary => ColumnData::Dictionary(Numbers::default()),
            ValueFormat::Seconds { .. } => fixed(FixedKind::Seconds),
            ValueFormat::Ticks { nanos, .. } => fixed(FixedKind::Ticks(*nanos)),
            ValueFormat::Integer { width: 1 } => fixed(FixedKind::Byte),
            ValueFormat::Integer { width: 2 } => fixed(FixedKind::Two),
            ValueFormat::Integer { width: 4 } => fixed(FixedKind::Four),
            ValueFormat::Integer { .. } | ValueFormat::Double => fixed(FixedKind::Eight),
            ValueFormat::Map { dictionary: true } => ColumnData::Map(Map::new(Keys::Dictionary(Numbers::default()))),
            ValueFormat::Map { dictionary: false } => ColumnData::Map(Map::new(Keys::Text(Vec::new()))),
            ValueFormat::Json => ColumnData::Json(Strings::default()),
        };
        Column { ends: format.array.then(Ends::default), data }
    }

    /// Appends a string; returns by how many bytes the column grew, as all that append do.
    #[inline]
    pub(super) fn text(&mut self, text: &[u8]) -> usize {
        match &mut self.data {
            ColumnData::Text(strings) => strings.push(text),
            ColumnData::Dictionary(numbers) => numbers.push(text),
            _ => 0,
        }
    }

    /// Appends a time, in nanoseconds since 1970.
    #[inline]
    pub(super) fn time(&mut self, nanos: u64) -> usize {
        let ColumnData::Fixed(fixed) = &mut self.data else {
            return 0;
        };
        match fixed.kind {
            FixedKind::Seconds => fixed.bytes.extend_from_slice(&seconds(nanos).to_le_bytes()),
            FixedKind::Ticks(1) => fixed.bytes.extend_from_slice(&nanos.to_le_bytes()),
            FixedKind::Ticks(tick) => {
                let ticks = nanos.cast_signed() / tick;
                fixed.bytes.extend_from_slice(&ticks.to_le_bytes());
            }
            _ => {}
        }
        fixed.kind.width()
    }

    /// Appends an integer (or a double's bits): its low bytes, as many as the column's type has.
    #[inline]
    pub(super) fn integer(&mut self, value: u64) -> usize {
        let ColumnData::Fixed(fixed) = &mut self.data else {
            return 0;
        };
        let bytes = value.to_le_bytes();
        match fixed.kind {
            FixedKind::Byte => fixed.bytes.push(bytes[0]),
            FixedKind::Two => fixed.bytes.extend_from_slice(&bytes[..2]),
            FixedKind::Four => fixed.bytes.extend_from_slice(&bytes[..4]),
            _ => fixed.bytes.extend_from_slice(&bytes),
        }
        fixed.kind.width()
    }

    /// Appends integers (or doubles' bits) that lie together, as `integer` does.
    pub(super) fn integers(&mut self, values: &[[u8; 8]]) -> usize {
        if let ColumnData::Fixed(Fixed { bytes, kind: FixedKind::Eight }) = &mut self.data {
            bytes.extend_from_slice(values.as_flattened());
            return size_of_val(values);
        }
        values.iter().map(|value| self.integer(u64::from_le_bytes(*value))).sum()
    }

    /// Appends a map (or an object) of attributes; `depth` is that of their messages. `None`, and nothing is appended, when it is not clear
    /// which of equal keys counts.
    pub(super) fn attributes(
        &mut self,
        attributes: impl KeyValues,
        duplicates: Duplicates,
        depth: u8,
        max: u64,
    ) -> Result<Option<usize>, Fault> {
        match &mut self.data {
            ColumnData::Map(map) => map.push(attributes, duplicates, depth, max),
            ColumnData::Json(_) if duplicates.in_doubt(attributes) => Ok(None),
            ColumnData::Json(strings) => {
                strings.last = strings.bytes.len();
                let attributes = attributes.in_full(depth)?;
                prefixed(&mut strings.bytes, |out| Json::column(out, max).object(attributes, depth))?;
                Ok(Some(strings.bytes.len() - strings.last))
            }
            _ => Ok(Some(0)),
        }
    }

    /// Appends the last row's value so many times more. Not for arrays.
    pub(super) fn repeat(&mut self, times: usize) {
        match &mut self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => {
                strings.last = repeat_tail(&mut strings.bytes, strings.last, times);
            }
            ColumnData::Dictionary(Numbers { numbers, .. }) => {
                let last = numbers.len().saturating_sub(1);
                repeat_tail(numbers, last, times);
            }
            ColumnData::Fixed(fixed) => {
                let last = fixed.bytes.len().saturating_sub(fixed.kind.width());
                repeat_tail(&mut fixed.bytes, last, times);
            }
            ColumnData::Map(map) => map.repeat(times),
        }
    }

    /// By how many bytes the column grows when the last row's value is appended once more.
    pub(super) fn repeated(&self) -> usize {
        match &self.data {
            ColumnData::Absent => 0,
            ColumnData::Text(strings) | ColumnData::Json(strings) => strings.bytes.len() - strings.last,
            ColumnData::Dictionary(_) => size_of::<u32>(),
            ColumnData::Fixed(fixed) => fixed.kind.width(),
            ColumnData::Map(map) => map.repeated(),
        }
    }

    /// Ends a row of an array that got so many elements.
    #[inline]
    pub(super) fn close(&mut self, elements: usize) -> usize {
        match &mut self.ends {
            Some(ends) => {
                ends.push(elements);
                8
            }
            None => 0,
        }
    }

    /// Ends so many rows of an array that got no element.
    pub(super) fn close_empty(&mut self, rows: usize) {
        if let Some(ends) = &mut self.ends {
            ends.push_empty(rows);
        }
    }

    /// By how many bytes the column grows with a row that has no element.
    pub(super) fn empty_bytes(&self) -> usize {
        if self.ends.is_some() { 8 } else { 0 }
    }

    /// Where the column ends now.
    pub(super) fn mark(&self) -> Mark {
        let mut mark = Mark { rows: self.ends.as_ref().map_or(0, Ends::len), ..Mark::default() };
        match &self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => mark.data = strings.bytes.len(),
            ColumnData::Dictionary(numbers) => {
                mark.data = numbers.numbers.len();
                mark.dictionary = numbers.dictionary.len();
            }
            ColumnData::Fixed(fixed) => mark.data = fixed.bytes.len(),
            ColumnData::Map(map) => {
                mark.data = map.ends.len();
                mark.values = map.values.len();
                match &map.keys {
                    Keys::Dictionary(numbers) => {
                        mark.keys = numbers.numbers.len();
                        mark.dictionary = numbers.dictionary.len();
                    }
                    Keys::Text(bytes) => mark.keys = bytes.len(),
                }
            }
        }
        mark
    }

    /// Takes back what was appended since the mark.
    pub(super) fn truncate(&mut self, mark: Mark) {
        if let Some(ends) = &mut self.ends {
            ends.0.truncate(mark.rows);
        }
        match &mut self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => strings.bytes.truncate(mark.data),
            ColumnData::Dictionary(numbers) => {
                numbers.numbers.truncate(mark.data);
                numbers.dictionary.truncate(mark.dictionary);
            }
            ColumnData::Fixed(fixed) => fixed.bytes.truncate(mark.data),
            ColumnData::Map(map) => {
                map.ends.0.truncate(mark.data);
                map.values.truncate(mark.values);
                map.forget_shapes();
                match &mut map.keys {
                    Keys::Dictionary(numbers) => {
                        numbers.numbers.truncate(mark.keys);
                        numbers.dictionary.truncate(mark.dictionary);
                    }
                    Keys::Text(bytes) => bytes.truncate(mark.keys),
                }
            }
        }
    }

    /// Empties the column; a buffer keeps its memory up to `keep` bytes.
    pub(super) fn clear(&mut self, keep: usize) {
        fn empty<T>(buffer: &mut Vec<T>, keep: usize) {
            buffer.clear();
            buffer.shrink_to(keep / size_of::<T>());
        }
        if let Some(ends) = &mut self.ends {
            empty(&mut ends.0, keep);
        }
        let numbers = |numbers: &mut Numbers| {
            empty(&mut numbers.numbers, keep);
            numbers.dictionary.clear(keep);
        };
        match &mut self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => empty(&mut strings.bytes, keep),
            ColumnData::Dictionary(dictionary) => numbers(dictionary),
            ColumnData::Fixed(fixed) => empty(&mut fixed.bytes, keep),
            ColumnData::Map(map) => {
                map.forget_shapes();
                empty(&mut map.ends.0, keep);
                empty(&mut map.values, keep);
                match &mut map.keys {
                    Keys::Dictionary(dictionary) => numbers(dictionary),
                    Keys::Text(bytes) => empty(bytes, keep),
                }
            }
        }
    }
}

impl Strings {
    #[inline]
    fn push(&mut self, text: &[u8]) -> usize {
        self.last = self.bytes.len();
        put_string(&mut self.bytes, text);
        self.bytes.len() - self.last
    }
}
