//! ClickHouse's Native format, as its HTTP interface takes it: the number of columns and rows, then each column's name,
//! type and values. `docs/native-blocks.md` has the layout.

use super::column::{Column, ColumnData, Mark};
use super::dictionary::Numbers;
use super::ends::Ends;
use super::map::{Keys, Map};
use super::part::OpenPart;
use super::wire::{put_string, put_varint};

/// `LowCardinality`: the version of its layout in which a block brings its own keys.
const SHARED_DICTIONARIES: u64 = 1;
/// `LowCardinality`: the block brings keys, and they replace those before.
const BRINGS_KEYS: u64 = 1 << 9 | 1 << 10;
/// `JSON`: values come as text.
const JSON_AS_TEXT: u64 = 1;

/// Where a block is written.
pub(super) trait Output {
    /// Takes small pieces, one after another.
    fn pieces(&mut self) -> &mut Vec<u8>;
    /// Takes many bytes that lie together, after the pieces before them.
    fn bytes(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn pieces(&mut self) -> &mut Vec<u8> {
        self
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes all rows of a part as one block.
pub(super) fn block(part: &OpenPart, out: &mut impl Output) {
    header(part, part.rows(), out, |column, out| column.write(out));
}

/// Writes the row that begins at these marks as a block of its own.
pub(super) fn row(part: &OpenPart, marks: &[Mark], out: &mut Vec<u8>) {
    let mut marks = marks.iter();
    header(part, 1, out, |column, out| {
        column.write_row(marks.next().copied().unwrap_or_default(), out);
    });
}

fn header<O: Output>(part: &OpenPart, rows: usize, out: &mut O, mut values: impl FnMut(&Column, &mut O)) {
    let plan = part.plan();
    put_varint(out.pieces(), plan.columns().len());
    put_varint(out.pieces(), rows);
    let mut names = plan.columns().iter();
    for (column, format) in part.columns().iter().zip(plan.formats()) {
        let Some(format) = format else {
            // A mark is there for it, a name is not.
            values(column, out);
            continue;
        };
        put_string(out.pieces(), names.next().map_or(&[], |name| name.as_bytes()));
        put_string(out.pieces(), format.type_name.as_bytes());
        values(column, out);
    }
}

impl Column {
    fn write(&self, out: &mut impl Output) {
        self.prefix(out.pieces());
        if let Some(ends) = &self.ends {
            out.bytes(ends.bytes());
        }
        match &self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => out.bytes(&strings.bytes),
            ColumnData::Dictionary(numbers) => numbers.write(out.pieces()),
            ColumnData::Fixed(fixed) => out.bytes(&fixed.bytes),
            ColumnData::Map(map) => {
                out.bytes(map.ends.bytes());
                match &map.keys {
                    Keys::Dictionary(numbers) => numbers.write(out.pieces()),
                    Keys::Text(bytes) => out.bytes(bytes),
                }
                out.bytes(&map.values);
            }
        }
    }

    /// What stands before the values of some types.
    fn prefix(&self, out: &mut Vec<u8>) {
        match &self.data {
            ColumnData::Dictionary(_) | ColumnData::Map(Map { keys: Keys::Dictionary(_), .. }) => {
                out.extend_from_slice(&SHARED_DICTIONARIES.to_le_bytes())
            }
            ColumnData::Json(_) => out.extend_from_slice(&JSON_AS_TEXT.to_le_bytes()),
            _ => {}
        }
    }

    fn write_row(&self, mark: Mark, out: &mut Vec<u8>) {
        self.prefix(out);
        let count = match &self.ends {
            Some(ends) => {
                let elements = span(ends, mark.rows, 1).1;
                out.extend_from_slice(&(elements as u64).to_le_bytes());
                elements
            }
            None => 1,
        };
        match &self.data {
            ColumnData::Absent => {}
            ColumnData::Text(strings) | ColumnData::Json(strings) => {
                out.extend_from_slice(some_strings(&strings.bytes, mark.data, count))
            }
            ColumnData::Dictionary(numbers) => numbers.write_some(mark.data, count, out),
            ColumnData::Fixed(fixed) => {
                let len = count * fixed.kind.width();
                out.extend_from_slice(fixed.bytes.get(mark.data..mark.data + len).unwrap_or_default());
            }
            ColumnData::Map(map) => map.write_some(mark, count, out),
        }
    }
}

impl Map {
    fn write_some(&self, mark: Mark, count: usize, out: &mut Vec<u8>) {
        let (before, entries) = span(&self.ends, mark.data, count);
        for rows in mark.data + 1..=mark.data + count {
            out.extend_from_slice(&(self.ends.of(rows) - before).to_le_bytes());
        }
        match &self.keys {
            Keys::Dictionary(numbers) => numbers.write_some(mark.keys, entries, out),
            Keys::Text(bytes) => out.extend_from_slice(some_strings(bytes, mark.keys, entries)),
        }
        out.extend_from_slice(some_strings(&self.values, mark.values, entries));
    }
}

impl Numbers {
    fn write(&self, out: &mut Vec<u8>) {
        let strings = |out: &mut Vec<u8>| out.extend_from_slice(self.dictionary.bytes());
        put_numbers(self.dictionary.len(), strings, self.numbers.iter().copied(), out);
    }

    /// With the strings that are needed, and no others.
    fn write_some(&self, start: usize, count: usize, out: &mut Vec<u8>) {
        let some = &self.numbers[start..start + count];
        let mut needed = some.to_vec();
        needed.sort_unstable();
        needed.dedup();
        let strings =
            |out: &mut Vec<u8>| needed.iter().for_each(|number| put_string(out, self.dictionary.get(*number)));
        let numbers = some.iter().map(|number| needed.partition_point(|other| other < number) as u32);
        put_numbers(needed.len(), strings, numbers, out);
    }
}

/// Where `count` rows from `row` on begin, and how many elements they have.
fn span(ends: &Ends, row: usize, count: usize) -> (u64, usize) {
    let before = ends.of(row);
    (before, usize::try_from(ends.of(row + count) - before).unwrap_or(0))
}

/// `count` strings from `start` on, each with its length in front.
fn some_strings(bytes: &[u8], start: usize, count: usize) -> &[u8] {
    let mut end = start;
    for _ in 0..count {
        let mut len = 0_usize;
        for shift in (0..).step_by(7) {
            let byte = bytes[end];
            end += 1;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        end += len;
    }
    &bytes[start..end]
}

/// Writes a dictionary of so many strings and the numbers into it, in the narrowest width. Nothing at all when there is no number.
fn put_numbers(
    len: usize,
    strings: impl FnOnce(&mut Vec<u8>),
    numbers: impl ExactSizeIterator<Item = u32>,
    out: &mut Vec<u8>,
) {
    if numbers.len() == 0 {
        return;
    }
    let width_code = match len {
        0..0x101 => 0_u64,
        0x101..0x1_0001 => 1,
        _ => 2,
    };
    out.extend_from_slice(&(BRINGS_KEYS | width_code).to_le_bytes());
    out.extend_from_slice(&(len as u64).to_le_bytes());
    strings(out);
    out.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
    let start = out.len();
    out.resize(start + (numbers.len() << width_code), 0);
    let target = &mut out[start..];
    match width_code {
        0 => {
            for (byte, number) in target.iter_mut().zip(numbers) {
                *byte = number.to_le_bytes()[0];
            }
        }
        1 => {
            for (bytes, number) in target.as_chunks_mut::<2>().0.iter_mut().zip(numbers) {
                let [low, high, ..] = number.to_le_bytes();
                *bytes = [low, high];
            }
        }
        _ => {
            for (bytes, number) in target.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
                *bytes = number.to_le_bytes();
            }
        }
    }
}
