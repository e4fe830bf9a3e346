//! A record's attributes with what its body adds to them.

use super::super::key_values::KeyValues;
use super::super::texts::{Texts, equal};
use super::super::value::{AnyValue, Attribute};
use super::super::wire::Fault;
use super::json::Object;

/// Attributes by their places: a record's own, then the leaves of the object in its body.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct List<'l, 'a> {
    own: &'l [Attribute<'a>],
    added: Option<&'l Object<'a>>,
}

impl<'l, 'a> List<'l, 'a> {
    #[inline]
    pub(in super::super) fn own(own: &'l [Attribute<'a>]) -> List<'l, 'a> {
        List { own, added: None }
    }

    pub(in super::super) fn with(own: &'l [Attribute<'a>], added: &'l Object<'a>) -> List<'l, 'a> {
        List { own, added: Some(added) }
    }

    #[inline]
    pub(in super::super) fn len(&self) -> usize {
        self.own.len() + self.added.map_or(0, Object::len)
    }

    #[inline]
    pub(in super::super) fn key(&self, at: usize) -> &'l [u8] {
        match (self.own.get(at), self.added) {
            (Some(attribute), _) => &attribute.key,
            (None, Some(object)) => object.key(at - self.own.len()),
            (None, None) => &[],
        }
    }

    #[inline]
    pub(in super::super) fn value(&self, at: usize) -> AnyValue<'l> {
        match (self.own.get(at), self.added) {
            (Some(attribute), _) => attribute.value.borrowed(),
            (None, Some(object)) => object.value(at - self.own.len()),
            (None, None) => AnyValue::Empty,
        }
    }

    pub(in super::super) fn attributes(&self) -> impl Iterator<Item = Attribute<'l>> {
        (0..self.len()).map(|at| Attribute { key: self.key(at).into(), value: self.value(at) })
    }
}

impl KeyValues for List<'_, '_> {
    #[inline]
    fn len(self) -> usize {
        List::len(&self)
    }

    #[inline]
    fn key(&self, at: usize) -> &[u8] {
        List::key(self, at)
    }

    #[inline]
    fn has_keys(self, keys: &Texts) -> bool {
        keys.len() == self.len()
            && self.own.iter().zip(keys.iter()).all(|(attribute, key)| equal(&attribute.key, key))
            && self.added.is_none_or(|object| object.has_keys(keys, self.own.len()))
    }

    #[inline]
    fn put_string(self, at: usize, out: &mut Vec<u8>, depth: u8, max: u64) -> Result<(), Fault> {
        match self.own.get(at) {
            Some(attribute) => attribute.value.put_string(out, depth, max),
            None => self.value(at).put_string(out, depth, max),
        }
    }

    fn in_full(&self, _: u8) -> Result<Vec<Attribute<'_>>, Fault> {
        Ok(List::attributes(self).collect())
    }
}
