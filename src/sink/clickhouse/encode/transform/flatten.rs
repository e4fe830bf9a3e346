//! Nested attributes as flat ones, by the collector's rules for their keys.

use std::borrow::Cow;

use super::super::bound::Entries;
use super::super::value::{AnyValue, Attribute, entries};
use super::super::wire::{Fault, Field, Fields};

/// Where flat attributes go. Their keys may have at most so many bytes.
pub(super) struct Flat<'l, 'a> {
    list: &'l mut Vec<Attribute<'a>>,
    most: Entries,
    key_bytes: u64,
    max: u64,
}

impl<'l, 'a> Flat<'l, 'a> {
    pub(super) fn new(list: &'l mut Vec<Attribute<'a>>, max: u64) -> Flat<'l, 'a> {
        Flat { list, most: Entries::new(), key_bytes: 0, max }
    }

    /// Appends what is flat already.
    pub(super) fn extend(&mut self, attributes: impl Iterator<Item = Attribute<'a>>) {
        self.list.extend(attributes);
    }

    /// Appends an attribute whose value lies `depth` messages deep.
    pub(super) fn put(&mut self, attribute: Attribute<'a>, depth: u8) -> Result<(), Fault> {
        match attribute.value {
            AnyValue::Array(_) | AnyValue::Map(_) => self.nested(&attribute.key, &attribute.value, depth, true),
            _ => self.leaf(attribute),
        }
    }

    /// Appends what is in a value. A list in a list: the collector puts no dot between their places.
    fn nested(&mut self, path: &[u8], value: &AnyValue<'_>, depth: u8, dotted: bool) -> Result<(), Fault> {
        match value {
            AnyValue::Map(list) => {
                let depth = Fields::new(list, depth).inner_depth()?;
                for entry in entries(list, depth, &mut self.most)? {
                    let dot: &[u8] = if path.is_empty() { b"" } else { b"." };
                    self.nested(&[path, dot, &entry.key].concat(), &entry.value, depth + 2, true)?;
                }
                Ok(())
            }
            AnyValue::Array(list) => self.list(path, list, Fields::new(list, depth).inner_depth()?, dotted),
            leaf => self.leaf(Attribute { key: Cow::Owned(path.to_vec()), value: leaf.clone().into_owned() }),
        }
    }

    fn list(&mut self, path: &[u8], list: &[u8], depth: u8, dotted: bool) -> Result<(), Fault> {
        let mut fields = Fields::new(list, depth);
        let mut index = 0_usize;
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(any)) => {
                    let depth = fields.inner_depth()?;
                    let mut value = AnyValue::Empty;
                    value.merge(any, depth)?;
                    self.most.one()?;
                    let dot: &[u8] = if dotted { b"." } else { b"" };
                    self.nested(&[path, dot, index.to_string().as_bytes()].concat(), &value, depth, !dotted)?;
                    index += 1;
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    fn leaf(&mut self, attribute: Attribute<'a>) -> Result<(), Fault> {
        self.key_bytes += attribute.key.len() as u64;
        if self.key_bytes > self.max {
            return Err(Fault::TooLarge("max_column_bytes", self.max));
        }
        self.list.push(attribute);
        Ok(())
    }
}
