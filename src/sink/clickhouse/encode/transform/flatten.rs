//! Nested values as flat attributes, by the collector's rules for their keys.

use std::borrow::Cow;

use super::super::bound::Entries;
use super::super::value::{Attribute, Value, entries};
use super::super::wire::{Fault, Field, Fields};

/// A value with what is in it.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// Anything but a list or a map.
    Leaf(Value<'a>),
    Map(Vec<(Cow<'a, [u8]>, Node<'a>)>),
    List(Vec<Node<'a>>),
    /// Taken already.
    Gone,
}

impl<'a> Node<'a> {
    /// Reads a value that lies `depth` messages deep.
    pub(super) fn of(value: Value<'a>, depth: u8, most: &mut Entries) -> Result<Node<'a>, Fault> {
        match value {
            Value::Array(list) => Node::read_list(&list, Fields::new(&list, depth).inner_depth()?, most),
            Value::Map(list) => {
                let depth = Fields::new(&list, depth).inner_depth()?;
                let pairs = entries(&list, depth, most)?
                    .into_iter()
                    .map(Attribute::into_owned)
                    .map(|entry| Ok((entry.key, Node::of(entry.value, depth + 2, most)?)))
                    .collect::<Result<_, Fault>>()?;
                Ok(Node::Map(pairs))
            }
            leaf => Ok(Node::Leaf(leaf)),
        }
    }

    fn read_list(list: &[u8], depth: u8, most: &mut Entries) -> Result<Node<'a>, Fault> {
        let mut nodes = Vec::new();
        let mut fields = Fields::new(list, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(any)) => {
                    let depth = fields.inner_depth()?;
                    let mut value = Value::Empty;
                    value.merge(any, depth)?;
                    most.one()?;
                    nodes.push(Node::of(value.into_owned(), depth, most)?);
                }
                (1, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(Node::List(nodes))
    }
}

/// Flat attributes on the way, at most so many bytes of keys.
pub(super) struct Flat<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
    key_bytes: u64,
    max: u64,
}

impl<'a> Flat<'a> {
    pub(super) fn new(max: u64) -> Flat<'a> {
        Flat { attributes: Vec::new(), key_bytes: 0, max }
    }

    /// Appends a value under `prefix` and `key`.
    pub(super) fn put(&mut self, prefix: &[u8], key: Cow<'a, [u8]>, node: Node<'a>) -> Result<(), Fault> {
        match node {
            Node::Gone => Ok(()),
            Node::Leaf(value) => {
                let key = if prefix.is_empty() { key } else { Cow::Owned([prefix, &key].concat()) };
                self.leaf(key, value)
            }
            Node::Map(pairs) => self.map(&[prefix, &key].concat(), pairs),
            Node::List(nodes) => {
                for (index, node) in nodes.into_iter().enumerate() {
                    let mut path = [prefix, &key, b"."].concat();
                    path.extend_from_slice(index.to_string().as_bytes());
                    match node {
                        Node::Map(pairs) => self.map(&path, pairs)?,
                        Node::List(nodes) => {
                            // A list in a list: the collector puts no dot between their places.
                            for (index, node) in nodes.into_iter().enumerate() {
                                self.put(&path, Cow::Owned(index.to_string().into_bytes()), node)?;
                            }
                        }
                        Node::Leaf(value) => self.leaf(Cow::Owned(path), value)?,
                        Node::Gone => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn map(&mut self, path: &[u8], pairs: Vec<(Cow<'a, [u8]>, Node<'a>)>) -> Result<(), Fault> {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"."].concat() };
        for (key, node) in pairs {
            self.put(&prefix, key, node)?;
        }
        Ok(())
    }

    fn leaf(&mut self, key: Cow<'a, [u8]>, value: Value<'a>) -> Result<(), Fault> {
        self.key_bytes += key.len() as u64;
        if self.key_bytes > self.max {
            return Err(Fault::TooLarge("max_column_bytes", self.max));
        }
        self.attributes.push(Attribute { key, value });
        Ok(())
    }
}
