//! Protobuf's wire format, as far as it is needed to walk a message's fields without building it.
//!
//! What it takes and what it refuses is what prost takes and refuses: varints of more than 64 bits, field number 0,
//! lengths past the end, groups that do not match, and nesting deeper than [`MAX_DEPTH`] are errors; a field that nobody asked for is
//! stepped over. Nothing here panics or recurses, whatever the bytes are.

use super::steps;
pub(crate) use crate::chunk::EncodeError;
use crate::varint;

/// How deep messages (and unknown groups) may lie in each other, the request itself not counted; prost's limit.
pub(crate) const MAX_DEPTH: u8 = 100;

/// Why a request cannot be encoded. Kept small, for it is in the result of every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is wrong, and the address in memory of the byte where it was seen.
    Malformed(&'static str, usize),
    /// Messages lie deeper in each other than [`MAX_DEPTH`]; with the address of the byte where that was seen.
    TooDeep(usize),
    /// The name of the limit in [`Growth`](crate::chunk::Growth) that is passed, and its value.
    TooLarge(&'static str, u64),
}

impl Fault {
    /// Names the place by its distance from the request's first byte (0 when it lies in a copy).
    pub(crate) fn within(self, request: &[u8]) -> EncodeError {
        match self {
            Fault::Malformed(what, address) => EncodeError::Malformed { what, at: place(request, address) },
            Fault::TooDeep(address) => EncodeError::TooDeep { max: MAX_DEPTH, at: place(request, address) },
            Fault::TooLarge(limit, max) => EncodeError::TooLarge { limit, max },
        }
    }
}

fn place(request: &[u8], address: usize) -> usize {
    let at = address.wrapping_sub(request.as_ptr().addr());
    if at <= request.len() { at } else { 0 }
}

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(&'a [u8]),
    Fixed32(u32),
    /// A group; stepped over.
    Group,
}

/// The fields of one message.
///
/// What is not inlined takes the rest of the bytes, never the walk itself: so the compiler keeps where it stands in registers.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    len: usize,
    depth: u8,
}

impl<'a> Fields<'a> {
    /// The fields of a message that lies `depth` messages deep in the request.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], depth: u8) -> Fields<'a> {
        Fields { rest: bytes, len: bytes.len(), depth }
    }

    /// The next field's number and value, or `None` at the end.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        steps::count(1);
        let (number, wire) = self.key()?;
        let field = match wire {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => Field::Len(self.len()?),
            3 => {
                self.rest = skip_group(self.rest, self.depth, number)?;
                Field::Group
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take()?)),
            _ => return Err(self.fault("a field with an unknown wire type")),
        };
        Ok(Some((number, field)))
    }

    /// Where the next field begins, counted from the message's first byte.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// How deep the messages in this message lie.
    ///
    /// # Errors
    /// Past [`MAX_DEPTH`].
    #[inline]
    pub(crate) fn inner_depth(&self) -> Result<u8, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(too_deep(self.rest));
        }
        Ok(self.depth + 1)
    }

    /// A known field with another wire type than its own.
    #[inline(always)]
    pub(crate) fn wrong_type<T>(&self) -> Result<T, Fault> {
        Err(self.fault("a field with the wrong wire type"))
    }

    /// A fault where the walk stands.
    #[inline(always)]
    pub(crate) fn fault(&self, what: &'static str) -> Fault {
        fault(self.rest, what)
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(u32, u8), Fault> {
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(key) if key >= 8 => Ok((key >> 3, (key & 7) as u8)),
            _ => Err(self.fault("a field number out of range")),
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Fault> {
        let (value, rest) = match self.rest {
            [byte @ ..0x80, rest @ ..] => (u64::from(*byte), rest),
            [low, high @ ..0x80, rest @ ..] => (u64::from(low & 0x7f) | u64::from(*high) << 7, rest),
            _ => long_varint(self.rest)?,
        };
        self.rest = rest;
        Ok(value)
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.fault("a field cut short")),
        }
    }

    #[inline(always)]
    fn len(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.varint()?;
        match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.fault("a length past the end")),
        }
    }
}

#[cold]
fn fault(rest: &[u8], what: &'static str) -> Fault {
    Fault::Malformed(what, rest.as_ptr().addr())
}

#[cold]
fn too_deep(rest: &[u8]) -> Fault {
    Fault::TooDeep(rest.as_ptr().addr())
}

/// A number of any length, and what follows it.
fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Fault> {
    varint::split(bytes).ok_or_else(|| fault(bytes, "a number cut short or over 64 bits"))
}

/// What follows the group with this number that lies `depth` messages deep.
#[cold]
fn skip_group(rest: &[u8], depth: u8, number: u32) -> Result<&[u8], Fault> {
    let mut fields = Fields::new(rest, depth);
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        steps::count(1);
        let (number, wire) = fields.key()?;
        match wire {
            0 => drop(fields.varint()?),
            1 => drop(fields.take::<8>()?),
            2 => drop(fields.len()?),
            3 if open.len() + usize::from(depth) >= usize::from(MAX_DEPTH) => {
                return Err(too_deep(fields.rest));
            }
            3 => open.push(number),
            4 if number == innermost => drop(open.pop()),
            4 => return Err(fields.fault("the end of another group")),
            5 => drop(fields.take::<4>()?),
            _ => return Err(fields.fault("a field with an unknown wire type")),
        }
    }
    Ok(fields.rest)
}

/// The numbers of a packed field of varints.
pub(crate) fn packed_varints(bytes: &[u8], mut each: impl FnMut(u64)) -> Result<(), Fault> {
    let mut fields = Fields::new(bytes, 0);
    while !fields.rest.is_empty() {
        steps::count(1);
        each(fields.varint()?);
    }
    Ok(())
}

/// The numbers of a packed field of 64-bit numbers, their low bytes first.
pub(crate) fn packed_fixed64(bytes: &[u8]) -> Result<&[[u8; 8]], Fault> {
    match bytes.as_chunks::<8>() {
        (numbers, []) => Ok(numbers),
        (_, rest) => Err(fault(rest, "a packed field cut short")),
    }
}

/// A varint as an `int32` or an enum: its low 32 bits.
pub(crate) fn int32(value: u64) -> i32 {
    ((value & u64::from(u32::MAX)) as u32).cast_signed()
}

/// Undoes protobuf's zigzag encoding of a `sint32`.
pub(crate) fn zigzag32(value: u64) -> i32 {
    let low = int32(value).cast_unsigned();
    (low >> 1).cast_signed() ^ -((low & 1).cast_signed())
}

/// Appends a number in the variable-length format that protobuf and ClickHouse share.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: usize) {
    varint::put(out, value as u64);
}

/// Appends a field of bytes: its key, its length, its bytes.
#[inline]
pub(crate) fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_varint(out, usize::from(number) << 3 | 2);
    put_string(out, bytes);
}

/// How long [`put_field`] makes this many bytes, for numbers below 16.
pub(crate) fn field_len(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes | 1).leading_zeros();
    1 + (bits as usize).div_ceil(7) + bytes
}

/// Appends a string in the format that protobuf and ClickHouse share: its length, then its bytes.
#[inline]
pub(crate) fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len());
    steps::count(text.len());
    out.extend_from_slice(text);
}
