//! The fake sink's encoder: a request's text becomes lines, one a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chunk::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, PartName, SealedPart, Witness};

/// Each request's name, and its rows by table.
#[derive(Default)]
pub(super) struct FakeEncoder {
    committed: Vec<(String, BTreeMap<String, u32>)>,
    last: Option<(String, BTreeMap<String, u32>)>,
}

impl ChunkEncoder for FakeEncoder {
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        let text = std::str::from_utf8(request).expect("tests send text");
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        assert!(!name.starts_with("panic"), "on purpose");
        if name.starts_with("bad") {
            return Err(EncodeError::Malformed { what: "bad", at: 0 });
        }
        let tables: BTreeMap<String, u32> = words
            .filter_map(|word| word.split_once('='))
            .map(|(table, rows)| (table.to_owned(), rows.parse().expect("a number")))
            .collect();
        let records = tables.values().map(|rows| u64::from(*rows)).sum();
        if records > growth.max_records {
            return Err(EncodeError::TooLarge { limit: "max_records", max: growth.max_records });
        }
        let column_bytes = records * if name.starts_with("wide") { 64 << 10 } else { 10 };
        if column_bytes > growth.max_column_bytes {
            return Err(EncodeError::TooLarge { limit: "max_column_bytes", max: growth.max_column_bytes });
        }
        self.last = Some((name, tables));
        Ok(Appended { records, column_bytes, unkept: Vec::new() })
    }

    fn commit(&mut self) {
        self.committed.extend(self.last.take());
    }

    fn rollback(&mut self) {
        self.last = None;
    }

    fn size(&self) -> ChunkSize {
        let rows = self.committed.iter().flat_map(|(_, tables)| tables.values()).map(|rows| u64::from(*rows)).sum();
        ChunkSize { requests: self.committed.len() as u32, rows, column_bytes: 10 * rows, parts: 1 }
    }

    fn seal(&mut self) -> Vec<SealedPart> {
        let mut parts: BTreeMap<String, SealedPart> = BTreeMap::new();
        for (request, (name, tables)) in std::mem::take(&mut self.committed).into_iter().enumerate() {
            for (table, rows) in tables.into_iter().filter(|(_, rows)| *rows > 0) {
                let part = parts.entry(table.clone()).or_insert_with(|| SealedPart {
                    name: PartName { table: table.as_str().into(), partition: 0 },
                    columns: [Arc::from("Name")].into(),
                    bytes: Vec::new(),
                    uncompressed: 0,
                    rows_by_request: Vec::new(),
                    witnesses: Vec::new(),
                });
                part.bytes.push(format!("{name}\n").repeat(rows as usize).into());
                part.uncompressed = part.bytes.concat().len() as u64;
                part.rows_by_request.push((request as u32, rows));
                part.witnesses.push(Witness(name.clone().into()));
            }
        }
        parts.into_values().collect()
    }
}
