//! Resource attributes that the gateway adds to a key's telemetry, on the wire.
//!
//! Invariant: after it, every resource of the request holds each configured attribute exactly once, with the configured value, whatever the client
//! sent: an attribute of the same name is dropped, in every piece that the resource came in. Nothing else changes but the place
//! of the resource in its group.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::wire::{Fault, Field, Fields, put_field};
use crate::chunk::EncodeError;

/// `ProfilesDictionary.string_table`.
const STRING_TABLE: u32 = 5;

/// Attributes to add; empty for most keys.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    names: Vec<Box<[u8]>>,
    /// `Resource.attributes` entries as they stand on the wire.
    entries: Vec<u8>,
}

impl Stamp {
    /// Attributes with string values.
    pub(crate) fn new(attributes: &BTreeMap<String, String>) -> Stamp {
        let mut stamp = Stamp::default();
        for (name, value) in attributes {
            stamp.names.push(name.as_bytes().into());
            let (mut entry, mut any_value) = (Vec::new(), Vec::new());
            put_field(&mut any_value, 1, value.as_bytes());
            put_field(&mut entry, 1, name.as_bytes());
            put_field(&mut entry, 2, &any_value);
            put_field(&mut stamp.entries, 1, &entry);
        }
        stamp
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many bytes a stamped copy of the request may have; 0 when none is made.
    pub(crate) fn room(&self, request: &[u8]) -> u64 {
        /// What the tags and the lengths of a resource may have.
        const PREFIXES: usize = 24;
        if self.is_empty() {
            return 0;
        }
        let (mut fields, mut room) = (Fields::new(request, 0), request.len());
        // Where it is malformed, no copy is made.
        while let Ok(Some((number, _))) = fields.next() {
            room += if number == 1 { self.entries.len() + PREFIXES } else { 0 };
        }
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// The request with the attributes in each of its resources.
    ///
    /// # Errors
    /// The request is malformed on the way to its resources, or would grow past `max` bytes.
    pub(crate) fn apply(&self, request: &[u8], max: u64) -> Result<Bytes, EncodeError> {
        // Whoever keeps it keeps no more than it is.
        self.rewrite(request, max).map(|made| made.into_boxed_slice().into()).map_err(|fault| fault.within(request))
    }

    fn rewrite(&self, request: &[u8], max: u64) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::with_capacity(request.len() + self.entries.len() + 16);
        let (mut group_out, mut resource) = (Vec::new(), Vec::new());
        let pointed = self.pointed(request);
        let mut fields = Fields::new(request, 0);
        let mut start = 0;
        while let Some((number, field)) = fields.next()? {
            let end = fields.position();
            match (number, field) {
                (1, Field::Len(group)) => {
                    self.group(group, &pointed, fields.inner_depth()?, &mut group_out, &mut resource)?;
                    put_field(&mut out, 1, &group_out);
                }
                (1, _) => return fields.wrong_type(),
                // The dictionary of profiles.
                _ => out.extend_from_slice(request.get(start..end).unwrap_or_default()),
            }
            start = end;
            if u64::try_from(out.len()).unwrap_or(u64::MAX) > max {
                return Err(Fault::TooLarge("max_column_bytes", max));
            }
        }
        Ok(out)
    }

    /// A group's own resource first, then everything else as it was.
    fn group(
        &self,
        group: &[u8],
        pointed: &[u32],
        depth: u8,
        out: &mut Vec<u8>,
        resource: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        resource.clear();
        let mut fields = Fields::new(group, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(piece)) => self.keep(piece, pointed, fields.inner_depth()?, resource)?,
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        resource.extend_from_slice(&self.entries);
        out.clear();
        put_field(out, 1, resource);
        copy(group, depth, out, |number, _| Ok(number != 1))
    }

    /// A resource's fields but for the attributes that are configured.
    fn keep(&self, resource: &[u8], pointed: &[u32], depth: u8, out: &mut Vec<u8>) -> Result<(), Fault> {
        copy(resource, depth, out, |number, field| match (number, field) {
            (1, Field::Len(entry)) => Ok(!self.has(entry, pointed, depth + 1)?),
            _ => Ok(true),
        })
    }

    /// Whether an attribute has a configured name, itself or in the dictionary that it points into.
    fn has(&self, entry: &[u8], pointed: &[u32], depth: u8) -> Result<bool, Fault> {
        let (mut name, mut pointer): (&[u8], _) = (&[], 0);
        let mut fields = Fields::new(entry, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(bytes)) => name = bytes,
                (3, Field::Varint(index)) => pointer = index,
                _ => {}
            }
        }
        let is_pointed = u32::try_from(pointer).is_ok_and(|index| pointed.binary_search(&index).is_ok());
        Ok(is_pointed || self.is_one(name))
    }

    fn is_one(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| **known == *name)
    }

    /// Where the configured names stand in the dictionary of a request of profiles, in order. What is malformed there is found by whoever takes the
    /// request.
    fn pointed(&self, request: &[u8]) -> Vec<u32> {
        let (mut found, mut index) = (Vec::new(), 0);
        let mut fields = Fields::new(request, 0);
        while let Ok(Some((number, field))) = fields.next() {
            let (2, Field::Len(dictionary)) = (number, field) else { continue };
            let mut fields = Fields::new(dictionary, 1);
            while let Ok(Some((number, field))) = fields.next() {
                let (STRING_TABLE, Field::Len(text)) = (number, field) else { continue };
                if self.is_one(text) {
                    found.push(index);
                }
                index += 1;
            }
        }
        found
    }
}

/// Copies the fields of a message that `keep` wants, bytes as they are.
pub(crate) fn copy<'a>(
    message: &'a [u8],
    depth: u8,
    out: &mut Vec<u8>,
    mut keep: impl FnMut(u32, Field<'a>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let mut fields = Fields::new(message, depth);
    let mut start = 0;
    while let Some((number, field)) = fields.next()? {
        let end = fields.position();
        if keep(number, field)? {
            out.extend_from_slice(message.get(start..end).unwrap_or_default());
        }
        start = end;
    }
    Ok(())
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter().map(|name| String::from_utf8_lossy(name))).finish()
    }
}
