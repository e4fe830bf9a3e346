//! The open chunk.

use super::factory::EncoderFactory;
use crate::otlp::Signal;
use crate::sink::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, SealedPart};

pub(super) struct Chunk;

impl Chunk {
    pub(super) fn new(_factory: EncoderFactory, _signal: Signal) -> Chunk {
        Chunk
    }
}

impl ChunkEncoder for Chunk {
    fn append(&mut self, _request: &[u8], _growth: &Growth) -> Result<Appended, EncodeError> {
        Err(EncodeError::Malformed { what: "nothing is encoded yet", at: 0 })
    }
    fn commit(&mut self) {}
    fn rollback(&mut self) {}
    fn size(&self) -> ChunkSize {
        ChunkSize::default()
    }
    fn seal(&mut self) -> Vec<SealedPart> {
        Vec::new()
    }
}
