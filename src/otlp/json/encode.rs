//! Writes protobuf (Encoding, protobuf.dev) into a counted buffer.

use super::reader::{Stop, Text, unescape};
use crate::memory::Memory;
use crate::otlp::buffer::Buffer;
use crate::otlp::descriptor::{FieldDescriptor, FieldKind};
use crate::otlp::steps;

/// The bytes written so far.
pub(super) struct Encoder<M> {
    buffer: Buffer<M>,
}

/// Where a length-delimited value began.
pub(super) struct Begun(usize);

impl<M: Memory> Encoder<M> {
    /// Writes into `buffer`.
    pub(super) fn new(buffer: Buffer<M>) -> Self {
        Encoder { buffer }
    }

    /// What was written.
    pub(super) fn into_buffer(self) -> Buffer<M> {
        self.buffer
    }

    /// How much was written.
    pub(super) fn len(&self) -> usize {
        self.buffer.bytes().len()
    }

    /// Takes back what was written since there was so much.
    pub(super) fn truncate(&mut self, len: usize) {
        self.buffer.bytes_mut().truncate(len);
    }

    /// Writes a field's tag; packed numbers have one together.
    pub(super) fn tag(&mut self, field: &FieldDescriptor, packed: bool) -> Result<(), Stop> {
        let wire_type = if packed { 2 } else { field.kind.wire_type() };
        self.varint(u64::from(field.number) << 3 | u64::from(wire_type))
    }

    /// Begins a value that is preceded by its length.
    pub(super) fn begin(&mut self) -> Result<Begun, Stop> {
        // Most lengths fit one byte; where one does not, the value moves.
        self.put(&[0])?;
        Ok(Begun(self.len()))
    }

    /// Ends it.
    pub(super) fn end(&mut self, Begun(start): Begun) -> Result<(), Stop> {
        let end = self.len();
        let (length, size) = varint(u64::try_from(end - start).unwrap_or(u64::MAX));
        let more = size - 1;
        if more > 0 {
            self.put(&[0; 9][..more])?;
            steps::count(end - start);
            self.buffer.bytes_mut().copy_within(start..end, start + more);
        }
        let place = self.buffer.bytes_mut().get_mut(start - 1..start + more);
        place.unwrap_or_default().copy_from_slice(&length[..size]);
        Ok(())
    }

    /// Writes what a string means, with its length in front.
    pub(super) fn text(&mut self, text: Text<'_>) -> Result<(), Stop> {
        if !text.escaped {
            self.varint(u64::try_from(text.raw.len()).unwrap_or(u64::MAX))?;
            return self.put(text.raw);
        }
        let begun = self.begin()?;
        unescape(text, |piece| self.put(piece))?;
        self.end(begun)
    }

    /// Writes the bytes that `make` makes of what a string means, with their length in front.
    pub(super) fn bytes(&mut self, text: Text<'_>, make: fn(&mut Vec<u8>, usize) -> Option<()>) -> Result<(), Stop> {
        let begun = self.begin()?;
        unescape(text, |piece| self.put(piece))?;
        make(self.buffer.bytes_mut(), begun.0).ok_or(Stop::Misfit)?;
        self.end(begun)
    }

    /// What `read` reads in what a string means. It stands behind what was written for that time, so that it is counted.
    pub(super) fn parse<T>(&mut self, text: Text<'_>, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Stop> {
        let start = self.len();
        unescape(text, |piece| self.put(piece))?;
        let meant = self.buffer.bytes().get(start..).unwrap_or_default();
        let value = std::str::from_utf8(meant).ok().and_then(read);
        self.truncate(start);
        value.ok_or(Stop::Misfit)
    }

    /// Writes a number in as many bytes as it needs.
    pub(super) fn varint(&mut self, value: u64) -> Result<(), Stop> {
        let (bytes, size) = varint(value);
        self.put(&bytes[..size])
    }

    /// Writes `bytes` as they are.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.buffer.extend(bytes).map_err(Stop::Refused)
    }

    /// Writes a double.
    pub(super) fn double(&mut self, value: f64) -> Result<(), Stop> {
        self.put(&value.to_le_bytes())
    }

    /// Writes an integer, which may come from anywhere in the range of 64 bits with and without sign.
    ///
    /// # Errors
    /// When it does not fit `kind`, or `kind` is no integer.
    pub(super) fn integer(&mut self, kind: FieldKind, value: i128) -> Result<(), Stop> {
        let misfit = |_| Stop::Misfit;
        match kind {
            FieldKind::Fixed32 => self.put(&u32::try_from(value).map_err(misfit)?.to_le_bytes()),
            FieldKind::Fixed64 => self.put(&u64::try_from(value).map_err(misfit)?.to_le_bytes()),
            FieldKind::Sfixed64 => self.put(&i64::try_from(value).map_err(misfit)?.to_le_bytes()),
            FieldKind::Uint32 => self.varint(u64::from(u32::try_from(value).map_err(misfit)?)),
            FieldKind::Uint64 => self.varint(u64::try_from(value).map_err(misfit)?),
            FieldKind::Int64 => self.varint(i64::try_from(value).map_err(misfit)?.cast_unsigned()),
            FieldKind::Int32 | FieldKind::Enum(_) => {
                let value = i64::from(i32::try_from(value).map_err(misfit)?);
                self.varint(value.cast_unsigned())
            }
            FieldKind::Sint32 => {
                let value = i32::try_from(value).map_err(misfit)?;
                let zigzag = (value << 1) ^ (value >> 31);
                self.varint(u64::from(zigzag.cast_unsigned()))
            }
            FieldKind::Text
            | FieldKind::Hex(_)
            | FieldKind::Base64
            | FieldKind::Bool
            | FieldKind::Double
            | FieldKind::Message(_) => Err(Stop::Misfit),
        }
    }
}

/// A number as a varint: its bytes, and how many there are.
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut size = 0;
    for byte in &mut bytes {
        size += 1;
        let low = value.to_le_bytes()[0];
        value >>= 7;
        if value == 0 {
            *byte = low;
            break;
        }
        *byte = low | 0x80;
    }
    (bytes, size)
}
