//! A frame: what one chunk holds, in a form that stands alone.

use std::sync::Arc;

use bytes::Bytes;

use super::wire::{Malformed, Reader, Writer};
use crate::chunk::{PartName, SealedPart, Witness};
use crate::spool::digests::{Digest, Remembered};

/// One accepted request of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameRequest {
    /// The name of the key that sent it.
    pub(crate) key: Arc<str>,
    /// Its uncompressed size in bytes.
    pub(crate) bytes: u64,
    /// By which a repeat of it is known.
    pub(crate) digest: Digest,
}

/// One sealed chunk, ready to be written; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The requests in the order in which they were committed: `rows_by_request` counts from 0 in this list.
    pub(crate) requests: Vec<FrameRequest>,
    /// A part a table and partition.
    pub(crate) parts: Vec<FramePart>,
    /// When the chunk was sealed, in milliseconds since 1970: the age of its digests.
    pub(crate) sealed_ms: u64,
}

/// One part's share of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FramePart {
    /// Table and partition.
    pub(crate) name: PartName,
    /// The columns in the bytes, in order.
    pub(crate) columns: Arc<[Arc<str>]>,
    /// What is sent, as slices that follow one another.
    pub(crate) bytes: Vec<Bytes>,
    /// Size before compression.
    pub(crate) uncompressed: u64,
    /// (index of the request in the frame, its rows in this part), in the order of the rows.
    pub(crate) rows_by_request: Vec<(u32, u32)>,
    /// Rows that tell whether the part is in.
    pub(crate) witnesses: Vec<Witness>,
}

impl Frame {
    /// A frame of what an encoder sealed and the requests that it had committed, sealed now.
    pub(crate) fn new(requests: Vec<FrameRequest>, parts: Vec<SealedPart>) -> Frame {
        let parts = parts.into_iter().map(|part| FramePart {
            name: part.name,
            columns: part.columns,
            bytes: part.bytes,
            uncompressed: part.uncompressed,
            rows_by_request: part.rows_by_request,
            witnesses: part.witnesses,
        });
        Frame { requests, parts: parts.collect(), sealed_ms: crate::spool::now_ms() }
    }

    /// Bytes over all parts, as they are sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(FramePart::len).sum()
    }

    /// Bytes over all parts, before compression.
    pub(crate) fn uncompressed(&self) -> u64 {
        self.parts.iter().map(|part| part.uncompressed).sum()
    }

    /// Rows over all parts.
    pub(crate) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| rows(&part.rows_by_request)).sum()
    }
}

impl FramePart {
    fn len(&self) -> u64 {
        self.bytes.iter().map(|slice| slice.len() as u64).sum()
    }
}

/// Rows over all requests.
pub(crate) fn rows(by_request: &[(u32, u32)]) -> u64 {
    by_request.iter().map(|(_, rows)| u64::from(*rows)).sum()
}

/// What a file says about a frame: everything but the parts' bytes, which follow in the order of `parts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) sealed_ms: u64,
    pub(crate) requests: Vec<FrameRequest>,
    pub(crate) parts: Vec<PartMeta>,
}

/// A part's entry in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartMeta {
    /// The part's number in its batch; notes name the part by it.
    pub(crate) id: u32,
    pub(crate) name: PartName,
    pub(crate) columns: Arc<[Arc<str>]>,
    pub(crate) len: u64,
    pub(crate) sum: u32,
    pub(crate) uncompressed: u64,
    pub(crate) rows_by_request: Vec<(u32, u32)>,
    pub(crate) witnesses: Vec<Witness>,
}

impl Meta {
    /// The digests of the frame's requests.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Remembered> {
        self.requests.iter().map(|request| Remembered {
            key: request.key.clone(),
            digest: request.digest,
            at_ms: self.sealed_ms,
        })
    }

    /// The meta of a frame whose parts have these numbers in their batch, and this checksum.
    pub(crate) fn of(frame: &Frame, ids: &[u32], sum: impl Fn(&[Bytes]) -> u32) -> Meta {
        let parts = frame.parts.iter().zip(ids).map(|(part, id)| PartMeta {
            id: *id,
            name: part.name.clone(),
            columns: part.columns.clone(),
            len: part.len(),
            sum: sum(&part.bytes),
            uncompressed: part.uncompressed,
            rows_by_request: part.rows_by_request.clone(),
            witnesses: part.witnesses.clone(),
        });
        Meta { sealed_ms: frame.sealed_ms, requests: frame.requests.clone(), parts: parts.collect() }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| rows(&part.rows_by_request)).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(self.sealed_ms);
        let keys = distinct(self.requests.iter().map(|request| &request.key));
        out.count(keys.len());
        keys.iter().for_each(|key| out.text(key));
        out.count(self.requests.len());
        for request in &self.requests {
            out.count(index_of(&keys, &request.key));
            out.varint(request.bytes);
            out.bytes(&request.digest.0);
        }
        let columns = distinct(self.parts.iter().map(|part| &part.columns));
        out.count(columns.len());
        for list in &columns {
            out.count(list.len());
            list.iter().for_each(|column| out.text(column));
        }
        out.count(self.parts.len());
        for part in &self.parts {
            part.encode(index_of(&columns, &part.columns), &mut out);
        }
        out.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Meta, Malformed> {
        let mut from = Reader(bytes);
        let sealed_ms = from.u64()?;
        let keys = from.list(1, Reader::text)?;
        let requests = from.list(18, |from| {
            Ok(FrameRequest {
                key: keys.get(from.varint32()? as usize).ok_or(Malformed)?.clone(),
                bytes: from.varint()?,
                digest: Digest(from.array()?),
            })
        })?;
        let columns = from.list(1, |from| from.list(1, Reader::text).map(Arc::from))?;
        let parts = from.list(18, |from| PartMeta::decode(&columns, requests.len(), from))?;
        from.end()?;
        Ok(Meta { sealed_ms, requests, parts })
    }
}

impl PartMeta {
    fn encode(&self, columns: usize, out: &mut Writer) {
        out.varint(u64::from(self.id));
        out.text(&self.name.table);
        out.i32(self.name.partition);
        out.count(columns);
        out.varint(self.len);
        out.u32(self.sum);
        out.varint(self.uncompressed);
        out.count(self.rows_by_request.len());
        let mut last = 0;
        for (request, rows) in &self.rows_by_request {
            // Requests mostly ascend: a difference is one byte where the number would be two or three.
            out.varint(u64::from(request.wrapping_sub(last)));
            out.varint(u64::from(*rows));
            last = *request;
        }
        out.count(self.witnesses.len());
        self.witnesses.iter().for_each(|witness| out.blob(&witness.0));
    }

    fn decode(columns: &[Arc<[Arc<str>]>], requests: usize, from: &mut Reader<'_>) -> Result<PartMeta, Malformed> {
        let id = from.varint32()?;
        let name = PartName { table: from.text()?, partition: from.i32()? };
        let columns = columns.get(from.varint32()? as usize).ok_or(Malformed)?;
        let (len, sum, uncompressed) = (from.varint()?, from.u32()?, from.varint()?);
        let mut request = 0u32;
        let rows_by_request = from.list(2, |from| {
            request = request.wrapping_add(from.varint32()?);
            if request as usize >= requests {
                return Err(Malformed);
            }
            Ok((request, from.varint32()?))
        })?;
        Ok(PartMeta {
            id,
            name,
            columns: columns.clone(),
            len,
            sum,
            uncompressed,
            rows_by_request,
            witnesses: from.list(1, |from| from.blob().map(|bytes| Witness(Bytes::copy_from_slice(bytes))))?,
        })
    }
}

/// The different values, in order of first appearance. There are few: keys of a chunk, tables of a signal.
fn distinct<'a, T: PartialEq + 'a>(all: impl Iterator<Item = &'a T>) -> Vec<&'a T> {
    let mut different = Vec::new();
    for value in all {
        if different.last() != Some(&value) && !different.contains(&value) {
            different.push(value);
        }
    }
    different
}

fn index_of<T: PartialEq>(all: &[&T], value: &T) -> usize {
    all.iter().position(|one| *one == value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metas() -> impl Strategy<Value = Meta> {
        let keys = prop::sample::select(vec!["a", "b", "checkout"]);
        let request = (keys, any::<u64>(), any::<[u8; 16]>()).prop_map(|(key, bytes, digest)| FrameRequest {
            key: key.into(),
            bytes,
            digest: Digest(digest),
        });
        (any::<u64>(), prop::collection::vec(request, 1..20)).prop_flat_map(|(sealed_ms, requests)| {
            let count = requests.len() as u32;
            let part = (
                any::<(u32, i32, u64, u32, u64)>(),
                prop::sample::select(vec!["otel_logs", "otel_traces"]),
                prop::collection::vec("[a-z]{0,4}", 0..4),
                prop::collection::vec((0..count, any::<u32>()), 0..20),
                prop::collection::vec(any::<Vec<u8>>(), 0..4),
            );
            let part = part.prop_map(|((id, day, len, sum, uncompressed), table, columns, rows, witnesses)| PartMeta {
                id,
                name: PartName { table: table.into(), partition: day },
                columns: columns.into_iter().map(Arc::from).collect(),
                len,
                sum,
                uncompressed,
                rows_by_request: rows,
                witnesses: witnesses.into_iter().map(|bytes| Witness(bytes.into())).collect(),
            });
            prop::collection::vec(part, 0..5).prop_map(move |parts| Meta {
                sealed_ms,
                requests: requests.clone(),
                parts,
            })
        })
    }

    proptest! {
        #[test]
        fn a_meta_round_trips_and_none_of_its_beginnings_does(meta in metas(), cut: prop::sample::Index) {
            let bytes = meta.encode();
            prop_assert_eq!(Meta::decode(&bytes), Ok(meta));
            prop_assert_eq!(Meta::decode(&bytes[..cut.index(bytes.len())]), Err(Malformed));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Meta::decode(&bytes);
        }
    }
}
