//! The open chunk of a signal: pieces one after another in one buffer, and where each ends.

use std::sync::Arc;

use super::Messages;
use super::split::{MAX_MESSAGE_BYTES, split};
use crate::chunk::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, PartName, SealedPart};
use crate::otlp::check::{self, GROUP_DEPTH};
use crate::otlp::descriptor;
use crate::otlp::wire::{Fault, Field, Fields, field_len, put_field};
use crate::signal::Signal;

/// An open chunk.
pub(in crate::sink::collector) struct OtlpChunk {
    signal: Signal,
    messages: Arc<Messages>,
    table: Arc<str>,
    columns: Arc<[Arc<str>]>,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    kept: Kept,
}

/// One top-level field of an export request, or a whole request of profiles.
struct Piece {
    /// Where it ends in the chunk's buffer.
    end: usize,
    records: u32,
    /// The request that it came from, in order of commit.
    request: u32,
}

/// What is committed.
#[derive(Default)]
struct Kept {
    requests: u32,
    pieces: usize,
    bytes: usize,
    records: u64,
}

/// A request on its way in.
struct Incoming<'c> {
    chunk: &'c mut OtlpChunk,
    growth: Growth,
    start: usize,
    records: u64,
}

impl OtlpChunk {
    pub(in crate::sink::collector) fn new(signal: Signal, messages: Arc<Messages>) -> OtlpChunk {
        OtlpChunk {
            signal,
            messages,
            table: signal.name().into(),
            columns: Arc::new([]),
            bytes: Vec::new(),
            pieces: Vec::new(),
            kept: Kept::default(),
        }
    }
}

impl ChunkEncoder for OtlpChunk {
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        self.rollback();
        let start = self.bytes.len();
        self.bytes.reserve(request.len());
        let mut incoming = Incoming { chunk: self, growth: *growth, start, records: 0 };
        let outcome = incoming.take(request);
        let appended = incoming.appended();
        outcome.map(|()| appended).map_err(|fault| {
            self.rollback();
            fault.within(request)
        })
    }

    fn commit(&mut self) {
        let added = self.pieces.get(self.kept.pieces..).unwrap_or_default();
        if !added.is_empty() {
            self.kept.records += added.iter().map(|piece| u64::from(piece.records)).sum::<u64>();
            self.kept.requests += 1;
            self.kept.pieces = self.pieces.len();
            self.kept.bytes = self.bytes.len();
        }
    }

    fn rollback(&mut self) {
        self.pieces.truncate(self.kept.pieces);
        self.bytes.truncate(self.kept.bytes);
    }

    fn size(&self) -> ChunkSize {
        let Kept { requests, records, bytes, .. } = self.kept;
        let parts = u32::from(requests > 0);
        ChunkSize { requests, rows: records, column_bytes: bytes as u64, parts }
    }

    fn seal(&mut self) -> Vec<SealedPart> {
        self.rollback();
        let starts = std::iter::once(0).chain(self.pieces.iter().map(|piece| piece.end));
        let lengths = self.pieces.iter().zip(starts).map(|(piece, start)| piece.end - start);
        let numbers = self.messages.place(lengths, self.signal == Signal::Profiles);
        let mut parts: Vec<SealedPart> = Vec::new();
        let mut start = 0;
        for (place, piece) in self.pieces.iter().enumerate() {
            let number = numbers.get(place).copied().unwrap_or_default();
            if parts.last().is_none_or(|part| part.name.partition != number) {
                let run = numbers.iter().skip(place).take_while(|other| **other == number).count();
                let end = self.pieces.get(place + run - 1).map_or(piece.end, |last| last.end);
                parts.push(self.part(number, self.bytes.get(start..end).unwrap_or_default()));
                start = end;
            }
            let Some(part) = parts.last_mut() else { continue };
            match part.rows_by_request.last_mut() {
                Some((request, records)) if *request == piece.request => *records += piece.records,
                _ => part.rows_by_request.push((piece.request, piece.records)),
            }
        }
        self.kept = Kept::default();
        self.rollback();
        parts
    }
}

impl OtlpChunk {
    fn part(&self, number: i32, bytes: &[u8]) -> SealedPart {
        SealedPart {
            name: PartName { table: self.table.clone(), partition: number },
            columns: self.columns.clone(),
            bytes: bytes.to_vec(),
            uncompressed: bytes.len() as u64,
            rows_by_request: Vec::new(),
            witnesses: Vec::new(),
        }
    }
}

impl Incoming<'_> {
    fn take(&mut self, request: &[u8]) -> Result<(), Fault> {
        let signal = self.chunk.signal;
        let max = self.chunk.messages.max_bytes;
        if signal == Signal::Profiles {
            return self.whole(request, max);
        }
        let mut fields = Fields::new(request, 0);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(group)) => {
                    check::group(signal, group)?;
                    if field_len(group.len()) <= max {
                        self.piece(group)?;
                    } else {
                        split(group, GROUP_DEPTH, max, &mut |part| self.piece(part))?;
                    }
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends a request as it is.
    fn whole(&mut self, request: &[u8], max: usize) -> Result<(), Fault> {
        check::message(descriptor::request(self.chunk.signal), request, 0)?;
        if request.len() > max {
            return Err(Fault::TooLarge(MAX_MESSAGE_BYTES, u64::try_from(max).unwrap_or(u64::MAX)));
        }
        self.append(check::records_of_all(self.chunk.signal, request)?, |bytes| bytes.extend_from_slice(request))
    }

    /// Appends a resource's group.
    fn piece(&mut self, group: &[u8]) -> Result<(), Fault> {
        self.append(check::records(self.chunk.signal, group)?, |bytes| put_field(bytes, 1, group))
    }

    /// A piece without records is nothing that anybody keeps.
    fn append(&mut self, records: u64, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), Fault> {
        self.records = self.records.saturating_add(records);
        let max = self.growth.max_records;
        let small = u32::try_from(records).ok().filter(|_| self.records <= max);
        let records = small.ok_or(Fault::TooLarge("max_records", max))?;
        if records == 0 {
            return Ok(());
        }
        put(&mut self.chunk.bytes);
        if self.bytes() > self.growth.max_column_bytes {
            return Err(Fault::TooLarge("max_column_bytes", self.growth.max_column_bytes));
        }
        let (end, request) = (self.chunk.bytes.len(), self.chunk.kept.requests);
        self.chunk.pieces.push(Piece { end, records, request });
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.chunk.bytes.len() - self.start) as u64
    }

    fn appended(&self) -> Appended {
        Appended { records: self.records, column_bytes: self.bytes(), unkept: Vec::new() }
    }
}
