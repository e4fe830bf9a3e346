//! Nested attributes as flat ones, by the collector's rules for their keys.
//!
//! One path grows and shrinks with the walk, so that each key on the way is copied once, however much lies below it. A leaf's key is a copy of the
//! path: these are what few bytes on the wire can make many of, and they are bounded.

use std::borrow::Cow;

use super::super::bound::{Entries, KeyBytes};
use super::super::value::{AnyValue, Attribute, put_int};
use super::super::wire::{Fault, Field, Fields};
use crate::otlp::steps;

/// Where flat attributes go.
pub(super) struct Flat<'l, 'b, 'a> {
    list: &'l mut Vec<Attribute<'a>>,
    most: Entries,
    /// What stands before the keys of the innermost map or list.
    path: Vec<u8>,
    key_bytes: &'b mut KeyBytes,
}

impl<'l, 'b, 'a> Flat<'l, 'b, 'a> {
    pub(super) fn new(list: &'l mut Vec<Attribute<'a>>, key_bytes: &'b mut KeyBytes) -> Flat<'l, 'b, 'a> {
        Flat { list, most: Entries::new(), path: Vec::new(), key_bytes }
    }

    /// Appends what is flat already.
    pub(super) fn extend(&mut self, attributes: impl Iterator<Item = Attribute<'a>>) {
        self.list.extend(attributes);
    }

    /// Appends an attribute whose value lies `depth` messages deep.
    pub(super) fn put(&mut self, attribute: Attribute<'a>, depth: u8) -> Result<(), Fault> {
        if !attribute.value.is_nested() {
            self.list.push(attribute);
            return Ok(());
        }
        self.path.clear();
        self.step(&attribute.key);
        self.nested(attribute.value, depth, true)
    }

    /// Appends what is in a value. A list in a list: the collector puts no dot between their places.
    fn nested(&mut self, value: AnyValue<'a>, depth: u8, dotted: bool) -> Result<(), Fault> {
        match value {
            AnyValue::Map(list) => self.map(list, Fields::new(list, depth).inner_depth()?),
            AnyValue::Array(list) => self.list(list, Fields::new(list, depth).inner_depth()?, dotted),
            leaf => {
                self.key_bytes.spend(self.path.len() as u64)?;
                self.list.push(Attribute { key: Cow::Owned(self.path.clone()), value: leaf });
                Ok(())
            }
        }
    }

    fn map(&mut self, list: &'a [u8], depth: u8) -> Result<(), Fault> {
        let base = self.path.len();
        let mut fields = Fields::new(list, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(entry)) => {
                    self.most.one()?;
                    let depth = fields.inner_depth()?;
                    let Attribute { key, value } = Attribute::read(entry, depth)?;
                    if base > 0 {
                        self.path.push(b'.');
                    }
                    self.step(&key);
                    self.nested(value, depth + 1, true)?;
                    self.path.truncate(base);
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    fn list(&mut self, list: &'a [u8], depth: u8, dotted: bool) -> Result<(), Fault> {
        let base = self.path.len();
        let mut fields = Fields::new(list, depth);
        let mut index = 0;
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(any)) => {
                    self.most.one()?;
                    let depth = fields.inner_depth()?;
                    let mut value = AnyValue::Empty;
                    value.merge(any, depth)?;
                    if dotted {
                        self.path.push(b'.');
                    }
                    put_int(&mut self.path, index);
                    self.nested(value, depth, !dotted)?;
                    self.path.truncate(base);
                    index += 1;
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, key: &[u8]) {
        steps::count(key.len());
        self.path.extend_from_slice(key);
    }
}
