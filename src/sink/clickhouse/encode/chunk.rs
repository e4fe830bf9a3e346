//! The open chunk of a signal: requests are appended, then committed or rolled back; sealing turns every part into one
//! compressed Native block and leaves the chunk empty.

use std::sync::Arc;

use bytes::Bytes;

use super::compress::Compressor;
use super::native;
use super::part::{OpenPart, OpenParts};
use super::request::{Request, Scratch};
use super::settings::{CurrentSettings, EncoderSettings};
use super::walk::walk;
use crate::chunk::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, SealedPart, Witness};
use crate::signal::Signal;

/// What the buffer of a witness may hold on to, in bytes.
const KEEP_ROW: usize = 64 << 10;

/// An open chunk.
pub(super) struct NativeChunk {
    current: CurrentSettings,
    signal: Signal,
    parts: OpenParts,
    compressor: Compressor,
    /// Where witnesses are written.
    row: Vec<u8>,
    scratch: Scratch,
    /// The last serial number given to a resource, scope or metric.
    serial: u64,
    requests: u32,
    /// What the last `append` found, until it is committed or rolled back.
    pending: bool,
    grown: u64,
}

impl NativeChunk {
    pub(super) fn new(current: CurrentSettings, signal: Signal) -> NativeChunk {
        let settings = current.get();
        NativeChunk {
            current,
            signal,
            compressor: Compressor::new(settings.compression),
            parts: OpenParts::new(settings),
            row: Vec::new(),
            scratch: Scratch::default(),
            serial: 0,
            requests: 0,
            pending: false,
            grown: 0,
        }
    }

    /// Goes by the current settings; only while the chunk is empty.
    fn follow_settings(&mut self) {
        let settings: Arc<EncoderSettings> = self.current.get();
        if !Arc::ptr_eq(&settings, &self.parts.settings) {
            self.compressor = Compressor::new(settings.compression);
            self.parts = OpenParts::new(settings);
        }
    }

    fn seal_part(&mut self, part: &OpenPart) -> SealedPart {
        self.compressor.expect(part.committed().1);
        native::block(part, &mut self.compressor);
        let (bytes, uncompressed) = self.compressor.finish();
        let row = &mut self.row;
        let witness = |marks: &Vec<_>| {
            row.clear();
            native::row(part, marks, row);
            Witness(Bytes::copy_from_slice(row))
        };
        let witnesses = part.witnesses().iter().map(witness).collect();
        row.clear();
        row.shrink_to(KEEP_ROW);
        SealedPart {
            name: part.name().clone(),
            columns: part.plan().columns().clone(),
            bytes: vec![bytes.into()],
            uncompressed,
            rows_by_request: part.rows_by_request().to_vec(),
            witnesses,
        }
    }
}

impl ChunkEncoder for NativeChunk {
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        self.rollback();
        if self.requests == 0 {
            self.follow_settings();
        }
        self.parts.follow_clock();
        let scratch = std::mem::take(&mut self.scratch);
        let mut way = Request::new(&mut self.parts, *growth, &mut self.serial, scratch);
        let outcome = walk(&mut way, self.signal, request);
        let appended = Appended { records: way.rows.records, column_bytes: way.rows.bytes, unkept: way.rows.unkept() };
        self.scratch = way.into_scratch();
        if !appended.unkept.is_empty() {
            self.parts.settings.keeps.refused();
        }
        self.grown = appended.column_bytes;
        self.pending = true;
        match outcome {
            Ok(()) => Ok(appended),
            Err(fault) => {
                self.rollback();
                Err(fault.within(request))
            }
        }
    }

    fn grown(&self) -> u64 {
        self.grown
    }

    fn commit(&mut self) {
        if self.pending {
            self.parts.commit(self.requests);
            self.requests += 1;
            self.pending = false;
        }
    }

    fn rollback(&mut self) {
        if self.pending {
            self.parts.roll_back();
            self.pending = false;
        }
    }

    fn size(&self) -> ChunkSize {
        let mut size = ChunkSize { requests: self.requests, ..ChunkSize::default() };
        for part in &self.parts.open {
            let (rows, bytes) = part.committed();
            size.rows += rows as u64;
            size.column_bytes += bytes;
            size.parts += u32::from(rows > 0);
        }
        size
    }

    fn seal(&mut self) -> Vec<SealedPart> {
        self.rollback();
        let open = std::mem::take(&mut self.parts.open);
        self.parts.forget();
        let mut sealed = Vec::with_capacity(open.len());
        for part in open {
            sealed.push(self.seal_part(&part));
            self.parts.keep(part);
        }
        self.requests = 0;
        sealed
    }
}
