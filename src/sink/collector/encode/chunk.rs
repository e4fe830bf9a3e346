//! The open chunk of a signal: requests where they were received, or copied one after another, and where each piece of them lies.
//!
//! A large request stays where it is, from here to the connection that it leaves by: copying costs as much as all else that is done to it but for the check. It
//! stays only where that keeps little alive that is not sent, and in slices that are few; anything else is copied.

use std::sync::Arc;

use bytes::Bytes;

use super::Messages;
use super::split::{MAX_MESSAGE_BYTES, split};
use crate::chunk::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, PartName, SealedPart};
use crate::otlp::check::{self, GROUP_DEPTH};
use crate::otlp::descriptor;
use crate::otlp::wire::{Fault, Field, Fields, put_field};
use crate::signal::Signal;

/// Smaller requests are copied: a slice of few bytes is a write of its own.
const LEAST_HELD: usize = 16 << 10;
/// What a slice of a request that stays where it is has to hold, on average.
const LEAST_SLICE: usize = 4 << 10;

/// An open chunk.
pub(in crate::sink::collector) struct OtlpChunk {
    signal: Signal,
    messages: Arc<Messages>,
    table: Arc<str>,
    columns: Arc<[Arc<str>]>,
    copied: Vec<u8>,
    /// Requests that stay where they are.
    held: Vec<Bytes>,
    pieces: Vec<Piece>,
    kept: Kept,
}

/// One top-level field of an export request, or a whole request of profiles.
#[derive(Clone, Copy)]
struct Piece {
    lies: Lies,
    start: usize,
    end: usize,
    records: u32,
    /// The request that it came from, in order of commit.
    request: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lies {
    Copied,
    /// In the request of this number that is held, or that comes in.
    Held(usize),
}

/// What is committed.
#[derive(Default)]
struct Kept {
    requests: u32,
    pieces: usize,
    copied: usize,
    held: usize,
    bytes: usize,
    records: u64,
}

/// A request on its way in.
struct Incoming<'c> {
    chunk: &'c mut OtlpChunk,
    growth: Growth,
    records: u64,
    bytes: usize,
}

impl OtlpChunk {
    pub(in crate::sink::collector) fn new(signal: Signal, messages: Arc<Messages>) -> OtlpChunk {
        OtlpChunk {
            signal,
            messages,
            table: signal.name().into(),
            columns: Arc::new([]),
            copied: Vec::new(),
            held: Vec::new(),
            pieces: Vec::new(),
            kept: Kept::default(),
        }
    }

    /// The pieces that are not committed.
    fn added(&mut self) -> &mut [Piece] {
        self.pieces.get_mut(self.kept.pieces..).unwrap_or_default()
    }
}

impl ChunkEncoder for OtlpChunk {
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        let appended = self.take(request, growth)?;
        self.copy(request);
        Ok(appended)
    }

    fn append_shared(&mut self, request: &Bytes, growth: &Growth) -> Result<Appended, EncodeError> {
        let appended = self.take(request, growth)?;
        if self.may_hold(request) {
            self.held.push(request.clone());
        } else {
            self.copy(request);
        }
        Ok(appended)
    }

    fn commit(&mut self) {
        let (mut records, mut bytes) = (0, 0);
        for piece in self.added() {
            records += u64::from(piece.records);
            bytes += piece.len();
        }
        if bytes > 0 {
            self.kept = Kept {
                requests: self.kept.requests + 1,
                pieces: self.pieces.len(),
                copied: self.copied.len(),
                held: self.held.len(),
                bytes: self.kept.bytes + bytes,
                records: self.kept.records + records,
            };
        }
    }

    fn rollback(&mut self) {
        self.pieces.truncate(self.kept.pieces);
        self.copied.truncate(self.kept.copied);
        self.held.truncate(self.kept.held);
    }

    fn size(&self) -> ChunkSize {
        let Kept { requests, records, bytes, .. } = self.kept;
        let parts = u32::from(requests > 0);
        ChunkSize { requests, rows: records, column_bytes: bytes as u64, parts }
    }

    fn seal(&mut self) -> Vec<SealedPart> {
        self.rollback();
        let lengths = self.pieces.iter().map(Piece::len);
        let numbers = self.messages.place(lengths, self.signal == Signal::Profiles);
        let numbered: Vec<(i32, Piece)> = numbers.into_iter().zip(self.pieces.iter().copied()).collect();
        let parts = numbered.chunk_by(|(one, _), (next, _)| one == next).map(|part| self.part(part)).collect();
        self.kept = Kept::default();
        self.rollback();
        parts
    }
}

impl OtlpChunk {
    /// Takes up where a request's pieces lie in it.
    fn take(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        self.rollback();
        let mut incoming = Incoming { chunk: self, growth: *growth, records: 0, bytes: 0 };
        let outcome = incoming.walk(request);
        let Incoming { records, bytes, .. } = incoming;
        match outcome {
            Ok(()) => Ok(Appended { records, column_bytes: bytes as u64, unkept: Vec::new() }),
            Err(fault) => {
                self.rollback();
                Err(fault.within(request))
            }
        }
    }

    /// Whether the request that came in may stay where it is: nobody else keeps its memory, nearly all of it is sent, and in slices that are worth it.
    fn may_hold(&mut self, request: &Bytes) -> bool {
        let (mut bytes, mut slices, mut end) = (0, 0, None);
        for piece in self.added().iter().filter(|piece| piece.lies != Lies::Copied) {
            slices += usize::from(end != Some(piece.start));
            bytes += piece.len();
            end = Some(piece.end);
        }
        request.len() >= LEAST_HELD
            && request.is_unique()
            && bytes >= request.len() / 8 * 7
            && slices <= request.len() / LEAST_SLICE
    }

    /// Copies what lies in the request that came in.
    fn copy(&mut self, request: &[u8]) {
        for piece in self.pieces.iter_mut().skip(self.kept.pieces).filter(|piece| piece.lies != Lies::Copied) {
            let start = self.copied.len();
            self.copied.extend_from_slice(request.get(piece.start..piece.end).unwrap_or_default());
            *piece = Piece { lies: Lies::Copied, start, end: self.copied.len(), ..*piece };
        }
    }

    fn part(&self, pieces: &[(i32, Piece)]) -> SealedPart {
        let slices = pieces.chunk_by(|(_, one), (_, next)| one.lies == next.lies && one.end == next.start);
        let bytes = slices.filter_map(|slice| {
            let (start, end) = (slice.first()?.1.start, slice.last()?.1.end);
            match slice.first()?.1.lies {
                Lies::Copied => self.copied.get(start..end).map(Bytes::copy_from_slice),
                Lies::Held(request) => self.held.get(request).map(|request| request.slice(start..end)),
            }
        });
        let requests = pieces.chunk_by(|(_, one), (_, next)| one.request == next.request);
        let rows_by_request = requests.filter_map(|request| {
            let records = request.iter().map(|(_, piece)| piece.records).sum();
            request.first().map(|(_, piece)| (piece.request, records))
        });
        SealedPart {
            name: PartName { table: self.table.clone(), partition: pieces.first().map_or(0, |(number, _)| *number) },
            columns: self.columns.clone(),
            bytes: bytes.collect(),
            uncompressed: pieces.iter().map(|(_, piece)| piece.len() as u64).sum(),
            rows_by_request: rows_by_request.collect(),
            witnesses: Vec::new(),
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        self.end - self.start
    }
}

impl Incoming<'_> {
    fn walk(&mut self, request: &[u8]) -> Result<(), Fault> {
        let signal = self.chunk.signal;
        let max = self.chunk.messages.max_bytes;
        if signal == Signal::Profiles {
            return self.whole(request, max);
        }
        let mut fields = Fields::new(request, 0);
        let mut start = 0;
        while let Some((number, field)) = fields.next()? {
            let end = fields.position();
            match (number, field) {
                (1, Field::Len(group)) => {
                    check::group(signal, group)?;
                    if end - start <= max {
                        self.add(check::records(signal, group)?, |chunk| chunk.in_place(start, end))?;
                    } else {
                        split(group, GROUP_DEPTH, max, &mut |part| {
                            self.add(check::records(signal, part)?, |chunk| chunk.put(part))
                        })?;
                    }
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
            start = end;
        }
        Ok(())
    }

    /// A request as it is.
    fn whole(&mut self, request: &[u8], max: usize) -> Result<(), Fault> {
        check::message(descriptor::request(self.chunk.signal), request, 0)?;
        if request.len() > max {
            return Err(Fault::TooLarge(MAX_MESSAGE_BYTES, u64::try_from(max).unwrap_or(u64::MAX)));
        }
        let records = check::records_of_all(self.chunk.signal, request)?;
        self.add(records, |chunk| chunk.in_place(0, request.len()))
    }

    /// A piece without records is nothing that anybody keeps.
    fn add(&mut self, records: u64, place: impl FnOnce(&mut OtlpChunk) -> Piece) -> Result<(), Fault> {
        self.records = self.records.saturating_add(records);
        let max = self.growth.max_records;
        let small = u32::try_from(records).ok().filter(|_| self.records <= max);
        let records = small.ok_or(Fault::TooLarge("max_records", max))?;
        if records == 0 {
            return Ok(());
        }
        let piece = Piece { records, ..place(self.chunk) };
        self.bytes += piece.len();
        if self.bytes as u64 > self.growth.max_column_bytes {
            return Err(Fault::TooLarge("max_column_bytes", self.growth.max_column_bytes));
        }
        self.chunk.pieces.push(piece);
        Ok(())
    }
}

impl OtlpChunk {
    /// A piece where it lies in the request that comes in.
    fn in_place(&self, start: usize, end: usize) -> Piece {
        Piece { lies: Lies::Held(self.held.len()), start, end, records: 0, request: self.kept.requests }
    }

    /// A resource's group that was made here.
    fn put(&mut self, group: &[u8]) -> Piece {
        let start = self.copied.len();
        put_field(&mut self.copied, 1, group);
        Piece { lies: Lies::Copied, start, end: self.copied.len(), records: 0, request: self.kept.requests }
    }
}
