//! What ClickStack's collector does to logs before it stores them (the statements of its `transform` processor):
//!
//! 1. an object in a text body, from the first `{` of a line to that line's last `}`, is merged into the attributes;
//!    attributes are flattened (`a.b`, `a.0`), equal keys become one, and the last value counts; a map body is merged into them as it is;
//! 2. a record without severity takes it from an attribute such as `level`, else from a word at the body's beginning, else it is `info`;
//! 3. the severity's text is lower-cased.
//!
//! A record whose body holds no brace and whose attributes are flat costs a search for that brace. An object is read once and its leaves go
//! into the column as they come, under keys that are remembered from an object like it; only where keys turn out to be equal is it read once
//! more, with its keys sorted.

mod flatten;
mod json;
mod list;
mod severity;

use std::borrow::Cow;

pub(super) use list::List;
pub(super) use severity::Severity;

use self::flatten::Flat;
use self::json::Object;
use super::bound::{Entries, KeyBytes};
use super::map::Duplicates;
use super::value::{AnyValue, Attribute, entries};
use super::wire::Fault;
use crate::chunk::EncodeError;

/// How a record's attributes come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// As the record has them.
    AsTheyAre,
    /// The record's, then what the body adds, as it comes.
    Appended,
    /// One by one: an attribute is flattened, or gives way to the body's.
    Exactly,
}

/// Merges bodies into attributes. Its lists are used again for the next record.
#[derive(Debug, Default)]
pub(super) struct Merge<'a> {
    /// The object in the body, if there is one and it is JSON.
    text: Option<&'a [u8]>,
    object: Object<'a>,
}

impl<'a> Merge<'a> {
    /// Looks at a record. What keys are written for it are counted by `key_bytes`.
    pub(super) fn find(
        &mut self,
        attributes: &[Attribute<'a>],
        body: &AnyValue<'a>,
        key_bytes: &mut KeyBytes,
    ) -> Result<Merged, Fault> {
        self.text = None;
        let mut merged = if matches!(body, AnyValue::Map(_)) { Merged::Appended } else { Merged::AsTheyAre };
        if let AnyValue::Text(Cow::Borrowed(text)) = body
            && let Some(text) = object(text)
            && self.object.read(text, false, key_bytes)?
        {
            self.text = Some(text);
            merged = Merged::Appended;
            // Appended leaves come after the attributes, in the order of the text. That is wrong only where a key may stand for two things.
            if self.object.is_doubtful(attributes) {
                merged = self.find_exactly(key_bytes)?;
            }
        }
        // A nested attribute becomes several, whose keys may be those of others.
        if attributes.iter().any(|attribute| attribute.value.is_nested()) && merged != Merged::Exactly {
            merged = self.find_exactly(key_bytes)?;
        }
        Ok(merged)
    }

    /// Reads the object once more, sorted.
    pub(super) fn find_exactly(&mut self, key_bytes: &mut KeyBytes) -> Result<Merged, Fault> {
        if let Some(text) = self.text {
            self.object.read(text, true, key_bytes)?;
        }
        Ok(Merged::Exactly)
    }

    /// What to do about equal keys in the list that [`Merge::list`] makes.
    pub(super) fn duplicates(&self, merged: Merged, attributes: &[Attribute<'_>]) -> Duplicates {
        match merged {
            Merged::Appended if self.text.is_some() => Duplicates::Clear { own: attributes.len() },
            _ => Duplicates::LastOnly,
        }
    }

    /// Whether [`Merge::list`] makes attributes.
    pub(super) fn makes(&self, merged: Merged) -> bool {
        match merged {
            Merged::AsTheyAre => false,
            Merged::Appended => self.text.is_none(),
            Merged::Exactly => true,
        }
    }

    /// The attributes with the body merged into them. Of equal keys the last counts. `depth` is that of the attributes' messages, and of the
    /// body; `list` is empty, and there for what must be made.
    pub(super) fn list<'l, 'm>(
        &'m self,
        merged: Merged,
        attributes: &'m [Attribute<'a>],
        body: &'m AnyValue<'a>,
        (depth, key_bytes): (u8, &mut KeyBytes),
        list: &'l mut Vec<Attribute<'m>>,
    ) -> Result<List<'l, 'm>, Fault> {
        match merged {
            Merged::AsTheyAre => return Ok(List::own(attributes)),
            Merged::Appended if self.text.is_some() => return Ok(List::with(attributes, &self.object)),
            Merged::Appended => list.extend(attributes.iter().map(Attribute::borrowed)),
            Merged::Exactly => self.put_exactly(attributes, (depth, key_bytes), list)?,
        }
        if let AnyValue::Map(entry_list) = body {
            list.append(&mut entries(entry_list, depth + 1, &mut Entries::new())?);
        }
        Ok(List::own(list))
    }

    /// Those with a key of the object's are replaced by the object's, then come the object's others.
    fn put_exactly<'m>(
        &'m self,
        attributes: &'m [Attribute<'a>],
        (depth, key_bytes): (u8, &mut KeyBytes),
        list: &mut Vec<Attribute<'m>>,
    ) -> Result<(), Fault> {
        let mut flat = Flat::new(list, key_bytes);
        let mut members = if self.text.is_some() { self.object.members() } else { Vec::new() };
        let mut taken = vec![false; members.len()];
        for attribute in attributes {
            match members.binary_search_by(|(key, _)| (*key).cmp(&attribute.key)) {
                Ok(at) if !std::mem::replace(&mut taken[at], true) => {
                    // What is replaced is never written, so nobody else finds out whether it was well-formed.
                    attribute.value.check(depth + 1)?;
                    flat.extend(&mut members[at].1);
                }
                _ => flat.put(attribute.borrowed(), depth + 1)?,
            }
        }
        for (_, leaves) in &mut members {
            flat.extend(leaves);
        }
        Ok(())
    }

    /// The lists without their contents.
    pub(super) fn emptied<'b>(self) -> Merge<'b> {
        Merge { text: None, object: self.object.emptied() }
    }
}

/// What may be an object in a text.
fn object(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    loop {
        rest = &rest[memchr::memchr(b'{', rest)?..];
        let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        if let Some(end) = memchr::memrchr(b'}', line) {
            return Some(&line[..=end]);
        }
        rest = &rest[line.len()..];
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The attributes that a body becomes, as text, for fuzzing.
///
/// # Panics
/// When the body becomes something else if one like it was seen before.
///
/// # Errors
/// None that a record of less than 64 MiB can make.
pub fn body_attributes(body: &[u8]) -> Result<Vec<Pair>, EncodeError> {
    let mut merge = Merge::default();
    let first = merge.texts(&[], body, u64::MAX).map_err(|fault| fault.within(body))?;
    let again = merge.texts(&[], body, u64::MAX).map_err(|fault| fault.within(body))?;
    assert_eq!(first, again, "a form that is known changes nothing");
    Ok(first)
}

impl<'a> Merge<'a> {
    fn texts(&mut self, attributes: &[Attribute<'a>], body: &'a [u8], max: u64) -> Result<Vec<Pair>, Fault> {
        let body = AnyValue::Text(Cow::Borrowed(body));
        let mut key_bytes = KeyBytes::new(max);
        let mut merged = self.find(attributes, &body, &mut key_bytes)?;
        let mut made = Vec::new();
        let list = self.list(merged, attributes, &body, (4, &mut key_bytes), &mut made)?;
        if !self.duplicates(merged, attributes).in_doubt(list) {
            return texts(list, max);
        }
        made = Vec::new();
        merged = self.find_exactly(&mut key_bytes)?;
        texts(self.list(merged, attributes, &body, (4, &mut key_bytes), &mut made)?, max)
    }
}

fn texts(list: List<'_, '_>, max: u64) -> Result<Vec<Pair>, Fault> {
    let text = |attribute: Attribute<'_>| {
        let mut text = Vec::new();
        attribute.value.put_text(&mut text, 5, max)?;
        Ok((attribute.key.to_vec(), text))
    };
    list.attributes().map(text).collect()
}

#[cfg(test)]
mod tests;
