//! Writes protobuf (Encoding, protobuf.dev) into a counted buffer.

use serde::de;

use crate::memory::Memory;
use crate::otlp::buffer::Buffer;
use crate::otlp::descriptor::{Field, Kind};
use crate::reply::Refusal;

/// The bytes written so far, and why writing stopped: serde's errors carry text only.
pub(super) struct Encoder<M> {
    buffer: Buffer<M>,
    /// Set when the buffer took no more.
    pub(super) refusal: Option<Refusal>,
    /// The innermost field in which the parser stopped.
    pub(super) field: Option<&'static str>,
}

/// Where a length-delimited value began.
pub(super) struct Begun(usize);

impl<M: Memory> Encoder<M> {
    /// Writes into `buffer`.
    pub(super) fn new(buffer: Buffer<M>) -> Self {
        Encoder { buffer, refusal: None, field: None }
    }

    /// What was written.
    pub(super) fn into_buffer(self) -> Buffer<M> {
        self.buffer
    }

    /// Writes a field's tag; packed numbers have one together.
    pub(super) fn tag<E: de::Error>(&mut self, field: &Field, packed: bool) -> Result<(), E> {
        let wire_type = match field.kind {
            _ if packed => 2,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
            Kind::Fixed32 => 5,
            Kind::Text | Kind::Hex(_) | Kind::Base64 | Kind::Message(_) => 2,
            Kind::Bool | Kind::Uint32 | Kind::Uint64 | Kind::Int64 | Kind::Sint32 | Kind::Enum => 0,
        };
        self.varint(u64::from(field.number) << 3 | wire_type)
    }

    /// Begins a value that is preceded by its length.
    pub(super) fn begin<E: de::Error>(&mut self) -> Result<Begun, E> {
        // Most lengths fit one byte; where one does not, the value moves.
        self.put(&[0])?;
        Ok(Begun(self.buffer.bytes().len()))
    }

    /// Ends it.
    pub(super) fn end<E: de::Error>(&mut self, Begun(start): Begun) -> Result<(), E> {
        let end = self.buffer.bytes().len();
        let (length, size) = varint(u64::try_from(end - start).map_err(E::custom)?);
        let more = size - 1;
        if more > 0 {
            self.put(&[0; 9][..more])?;
            self.buffer.bytes_mut().copy_within(start..end, start + more);
        }
        let place = self.buffer.bytes_mut().get_mut(start - 1..start + more);
        place.unwrap_or_default().copy_from_slice(&length[..size]);
        Ok(())
    }

    /// Writes a length and the bytes after it.
    pub(super) fn delimited<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.varint(u64::try_from(bytes.len()).map_err(E::custom)?)?;
        self.put(bytes)
    }

    /// Writes a number in as many bytes as it needs.
    pub(super) fn varint<E: de::Error>(&mut self, value: u64) -> Result<(), E> {
        let (bytes, size) = varint(value);
        self.put(&bytes[..size])
    }

    /// Writes `bytes` as they are.
    pub(super) fn put<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.buffer.extend(bytes).map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom("no room")
        })
    }

    /// Writes an integer, which may come from anywhere in the range of 64 bits with and without sign.
    ///
    /// # Errors
    /// When it does not fit `kind`, or `kind` is not a number.
    pub(super) fn integer<E: de::Error>(&mut self, kind: Kind, value: i128) -> Result<(), E> {
        let misfit = |_| E::custom("out of range");
        match kind {
            // JSON has one kind of number: rounding is what reading it as a double means.
            #[expect(clippy::cast_precision_loss)]
            Kind::Double => self.put(&(value as f64).to_le_bytes()),
            Kind::Fixed32 => self.put(&u32::try_from(value).map_err(misfit)?.to_le_bytes()),
            Kind::Fixed64 => self.put(&u64::try_from(value).map_err(misfit)?.to_le_bytes()),
            Kind::Sfixed64 => self.put(&i64::try_from(value).map_err(misfit)?.to_le_bytes()),
            Kind::Uint32 => self.varint(u64::from(u32::try_from(value).map_err(misfit)?)),
            Kind::Uint64 => self.varint(u64::try_from(value).map_err(misfit)?),
            Kind::Int64 => self.varint(i64::try_from(value).map_err(misfit)?.cast_unsigned()),
            Kind::Enum => {
                let value = i64::from(i32::try_from(value).map_err(misfit)?);
                self.varint(value.cast_unsigned())
            }
            Kind::Sint32 => {
                let value = i32::try_from(value).map_err(misfit)?;
                let zigzag = (value << 1) ^ (value >> 31);
                self.varint(u64::from(zigzag.cast_unsigned()))
            }
            Kind::Text | Kind::Hex(_) | Kind::Base64 | Kind::Bool | Kind::Message(_) => Err(E::custom("not a number")),
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
