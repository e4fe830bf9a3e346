//! A small reader of Native blocks and ClickHouse's compressed frames: what the encoder wrote, as cells.

use std::collections::VecDeque;

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(Vec<u8>),
    /// A number's bytes, low byte first, in 64 bits.
    Number(u64),
    Map(Vec<(Vec<u8>, Vec<u8>)>),
    Array(Vec<Cell>),
}

impl Cell {
    pub(super) fn text(text: impl AsRef<[u8]>) -> Cell {
        Cell::Text(text.as_ref().to_vec())
    }
}

/// The uncompressed bytes of frames one after another; checksums are checked.
#[allow(clippy::disallowed_methods, reason = "the tests read what they wrote")]
pub(super) fn inflate(mut frames: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    while !frames.is_empty() {
        let size = u32::from_le_bytes(frames[17..21].try_into().unwrap()) as usize;
        let raw_size = u32::from_le_bytes(frames[21..25].try_into().unwrap()) as usize;
        let frame = &frames[16..16 + size];
        let checksum = u128::from_le_bytes(frames[..16].try_into().unwrap());
        assert_eq!(checksum, cityhash_rs::cityhash_102_128(frame).rotate_right(64));
        raw.extend(match frame[0] {
            0x02 => frame[9..].to_vec(),
            0x82 => lz4_flex::block::decompress(&frame[9..], raw_size).unwrap(),
            0x90 => zstd::bulk::decompress(&frame[9..], raw_size).unwrap(),
            method => panic!("method {method}"),
        });
        frames = &frames[16 + size..];
    }
    raw
}

/// The rows of one block, each with a cell a column.
pub(super) fn rows(block: &[u8]) -> Vec<Vec<(String, Cell)>> {
    let mut reader = Reader { bytes: block };
    let columns = reader.varint();
    let count = reader.varint();
    let mut rows = vec![Vec::new(); count];
    for _ in 0..columns {
        let name = String::from_utf8(reader.string()).unwrap();
        let type_name = String::from_utf8(reader.string()).unwrap();
        reader.prefix(&type_name);
        let cells = reader.cells(&type_name, count);
        assert_eq!(cells.len(), count, "{name}");
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.push((name.clone(), cell));
        }
    }
    assert!(reader.bytes.is_empty(), "{} bytes are left", reader.bytes.len());
    rows
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        taken.to_vec()
    }

    fn varint(&mut self) -> usize {
        let (value, rest) = crate::varint::split(self.bytes).expect("a number");
        self.bytes = rest;
        usize::try_from(value).expect("a length")
    }

    fn string(&mut self) -> Vec<u8> {
        let len = self.varint();
        self.take(len)
    }

    fn number(&mut self, width: usize) -> u64 {
        let mut bytes = self.take(width);
        bytes.resize(8, 0);
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    fn prefix(&mut self, type_name: &str) {
        if type_name.contains("LowCardinality") || type_name.contains("JSON") {
            assert_eq!(self.number(8), 1);
        }
    }

    fn cells(&mut self, type_name: &str, count: usize) -> VecDeque<Cell> {
        let inner = |outer: &str| type_name.strip_prefix(outer).and_then(|rest| rest.strip_suffix(')'));
        if let Some(element) = inner("Array(") {
            let ends: Vec<u64> = (0..count).map(|_| self.number(8)).collect();
            let mut elements = self.cells(element, ends.last().copied().unwrap_or(0) as usize);
            let mut start = 0;
            return ends
                .into_iter()
                .map(|end| {
                    let len = (end - start) as usize;
                    start = end;
                    Cell::Array(elements.drain(..len).collect())
                })
                .collect();
        }
        if let Some(pair) = inner("Map(") {
            let (key, value) = pair.split_once(", ").unwrap();
            let ends: Vec<u64> = (0..count).map(|_| self.number(8)).collect();
            let entries = ends.last().copied().unwrap_or(0) as usize;
            let keys = self.cells(key, entries);
            let values = self.cells(value, entries);
            let mut pairs = keys.into_iter().zip(values).map(|pair| match pair {
                (Cell::Text(key), Cell::Text(value)) => (key, value),
                other => panic!("{other:?}"),
            });
            let mut start = 0;
            return ends
                .into_iter()
                .map(|end| {
                    let len = (end - start) as usize;
                    start = end;
                    Cell::Map(pairs.by_ref().take(len).collect())
                })
                .collect();
        }
        let width = match type_name {
            "LowCardinality(String)" => return self.dictionary(count),
            "String" | "JSON" => return (0..count).map(|_| Cell::Text(self.string())).collect(),
            "UInt8" | "Bool" => 1,
            "UInt32" | "Int32" | "DateTime" => 4,
            "UInt64" | "Int64" | "Float64" => 8,
            _ if type_name.starts_with("DateTime64(") => 8,
            _ => panic!("{type_name}"),
        };
        (0..count).map(|_| Cell::Number(self.number(width))).collect()
    }

    fn dictionary(&mut self, count: usize) -> VecDeque<Cell> {
        if count == 0 {
            return VecDeque::new();
        }
        let flags = self.number(8);
        assert_eq!(flags >> 8, 0b110);
        let keys: Vec<Vec<u8>> = (0..self.number(8)).map(|_| self.string()).collect();
        assert_eq!(self.number(8) as usize, count);
        (0..count).map(|_| Cell::Text(keys[self.number(1 << (flags & 0xff)) as usize].clone())).collect()
    }
}
