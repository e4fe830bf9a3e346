//! JSON objects in log bodies, read as the collector's JSON library reads them: numbers as doubles; in strings every byte but NUL as it
//! is; of equal keys the last.
//!
//! No tree is made: a walk over the text appends each leaf with its flat key to a list, in the order of the text. That order is
//! wrong only where two keys end up the same, which is rare; the walk says when it may be so, and does it exactly when it is asked to.

mod form;
mod token;

use std::ops::Range;

use self::form::{Form, Forms};
use self::token::{Leaf, Piece, Tokens};
use super::super::bound::Entries;
use super::super::buffer::emptied;
use super::super::texts::Texts;
use super::super::value::{AnyValue, Attribute};
use super::super::wire::Fault;

/// How deep values may lie in each other, and how many there may be. Other text is not taken for JSON.
const MAX_DEPTH: u32 = 500;

/// How many comparisons of keys an object is worth before its keys are sorted instead.
const COMPARISONS: usize = 1024;

/// A member of the outermost object or of one that is still open.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    key: Piece<'a>,
    nested: bool,
    /// Its leaves, in `order`.
    start: usize,
    end: usize,
}

/// An object's leaves. Its lists are used again for the next one.
#[derive(Debug, Default)]
pub(in super::super) struct Object<'a> {
    tokens: Tokens<'a>,
    most: Entries,
    /// Whether objects are sorted and keys that come twice are taken out.
    exact: bool,
    doubtful: bool,
    key_bytes: u64,
    max: u64,
    /// What stands before the keys of the innermost open object.
    path: Vec<u8>,
    leaves: Vec<Leaf<'a>>,
    /// Their flat keys, unless they are those of the last form.
    keys: Vec<Piece<'a>>,
    /// Where the leaves stand in the text.
    places: Vec<Range<usize>>,
    forms: Forms,
    /// Whether the object has the last form.
    formed: bool,
    /// The leaves that count, sorted; only when read exactly.
    order: Vec<usize>,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Reads the object that the whole text is; `false` when it is none. Keys may have `max` bytes in all.
    ///
    /// # Errors
    /// It is an object, but its keys have more.
    pub(super) fn read(&mut self, text: &'a [u8], exact: bool, max: u64) -> Result<bool, Fault> {
        self.forget();
        (self.exact, self.max) = (exact, max);
        self.most = Entries::new();
        self.tokens.begin(text);
        let look = !exact && self.forms.pay();
        self.formed = look && self.forms.read(&mut self.tokens, &mut self.leaves);
        if self.formed {
            self.key_bytes = self.form().map_or(0, |form| form.keys.bytes() as u64);
        } else {
            self.tokens.begin(text);
            self.leaves.clear();
            let is_object = text.first() == Some(&b'{') && self.map(0).is_some() && self.tokens.is_at_end();
            if !is_object {
                self.forget();
                return Ok(false);
            }
        }
        if self.key_bytes > max {
            return Err(Fault::TooLarge("max_column_bytes", max));
        }
        if look && !self.formed && !self.doubtful {
            let keys = self.keys.iter().map(|key| self.tokens.piece(*key));
            let nested = self.members.iter().filter(|member| member.nested).map(|member| self.tokens.piece(member.key));
            self.forms.learn(text, &self.places, keys, nested);
        }
        Ok(true)
    }

    fn forget(&mut self) {
        (self.doubtful, self.key_bytes, self.formed) = (false, 0, false);
        self.tokens.begin(&[]);
        self.path.clear();
        self.leaves.clear();
        self.keys.clear();
        self.places.clear();
        self.order.clear();
        self.members.clear();
    }

    /// The lists without their contents, and the forms.
    pub(super) fn emptied<'b>(mut self) -> Object<'b> {
        /// What idle texts may hold on to.
        const KEEP: usize = 64 << 10;
        self.forget();
        self.path.shrink_to(KEEP);
        self.places.shrink_to(KEEP / size_of::<Range<usize>>());
        Object {
            tokens: self.tokens.emptied(KEEP),
            path: self.path,
            leaves: emptied(self.leaves),
            keys: emptied(self.keys),
            places: self.places,
            forms: self.forms,
            order: emptied(self.order),
            members: emptied(self.members),
            ..Object::default()
        }
    }

    /// Whether some key may stand for two things, so that the leaves must be read exactly: a map or a list and something else, be it an
    /// attribute of the record.
    pub(super) fn is_doubtful(&self, attributes: &[Attribute<'_>]) -> bool {
        let is_attribute = |key: &[u8]| attributes.iter().any(|attribute| *attribute.key == *key);
        match self.form() {
            Some(form) => form.nested.iter().any(is_attribute),
            None => {
                let mut nested = self.members.iter().filter(|member| member.nested);
                self.doubtful || nested.any(|member| is_attribute(self.tokens.piece(member.key)))
            }
        }
    }

    /// The form that the object has, when its keys are those of that form.
    fn form(&self) -> Option<&Form> {
        self.forms.last().filter(|_| self.formed)
    }

    /// Whether the leaves' keys are those from this place on.
    #[inline]
    pub(in super::super) fn has_keys(&self, keys: &Texts, from: usize) -> bool {
        match self.form() {
            Some(form) => keys.ends_as(from, &form.keys),
            None => keys.iter().skip(from).zip(&self.keys).all(|(key, piece)| key == self.tokens.piece(*piece)),
        }
    }

    /// How many leaves there are. They have places in the order of the text.
    #[inline]
    pub(in super::super) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// A leaf's key.
    #[inline]
    pub(in super::super) fn key(&self, at: usize) -> &[u8] {
        match self.form() {
            Some(form) => form.keys.get(at),
            None => self.keys.get(at).map_or(&[], |key| self.tokens.piece(*key)),
        }
    }

    /// A leaf.
    #[inline]
    pub(in super::super) fn value(&self, at: usize) -> AnyValue<'_> {
        match self.leaves.get(at) {
            None | Some(Leaf::Empty) => AnyValue::Empty,
            Some(Leaf::Bool(flag)) => AnyValue::Bool(*flag),
            Some(Leaf::Double(double)) => AnyValue::Double(*double),
            Some(Leaf::Number(text)) => AnyValue::Number((*text).into()),
            Some(Leaf::Text(text)) => AnyValue::Text(self.tokens.piece(*text).into()),
        }
    }

    fn attribute(&self, at: usize) -> Attribute<'_> {
        Attribute { key: self.key(at).into(), value: self.value(at) }
    }

    /// The members, sorted by key, and for each the leaves in it. Only when read exactly.
    pub(super) fn members<'m>(&'m self) -> Vec<(&'m [u8], impl Iterator<Item = Attribute<'m>> + use<'m, 'a>)> {
        let leaves = |member: &Member<'a>| {
            let places = self.order.get(member.start..member.end).unwrap_or_default();
            places.iter().map(|place| self.attribute(*place))
        };
        self.members.iter().map(|member| (self.tokens.piece(member.key), leaves(member))).collect()
    }

    /// Counts a value that lies so deep and says how it begins.
    #[inline]
    fn begin(&mut self, depth: u32) -> Option<u8> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.most.one().ok()?;
        self.tokens.space();
        self.tokens.peek()
    }

    /// Reads a map's members; `path` is what stands before their keys.
    fn map(&mut self, depth: u32) -> Option<()> {
        self.tokens.at += 1;
        let (first, first_leaf, base) = (self.members.len(), self.order.len(), self.path.len());
        let mut more = !self.tokens.takes(b'}');
        while more {
            self.tokens.space();
            let key = self.tokens.string()?;
            if !self.tokens.takes(b':') {
                return None;
            }
            let start = self.order.len();
            let begin = self.begin(depth + 1)?;
            let nested = matches!(begin, b'{' | b'[');
            if nested {
                self.path.extend_from_slice(self.tokens.piece(key));
                if begin == b'[' {
                    self.list(depth + 1, true)?;
                } else {
                    self.map_at_path(depth + 1)?;
                }
                self.path.truncate(base);
            } else {
                self.leaf(key, begin)?;
            }
            self.members.push(Member { key, nested, start, end: self.order.len() });
            more = !self.tokens.takes(b'}');
            if more && !self.tokens.takes(b',') {
                return None;
            }
        }
        if self.exact {
            self.sort(first, first_leaf);
        } else {
            self.doubtful |= self.may_repeat(first);
        }
        if depth > 0 {
            self.members.truncate(first);
        }
        Some(())
    }

    fn map_at_path(&mut self, depth: u32) -> Option<()> {
        if !self.path.is_empty() {
            self.path.push(b'.');
        }
        self.map(depth)
    }

    /// Reads a list's elements. A list in a list: the collector puts no dot between their places.
    fn list(&mut self, depth: u32, dotted: bool) -> Option<()> {
        self.tokens.at += 1;
        let base = self.path.len();
        if self.tokens.takes(b']') {
            return Some(());
        }
        for index in 0.. {
            if dotted {
                self.path.push(b'.');
            }
            super::super::value::put_int(&mut self.path, index);
            match self.begin(depth + 1)? {
                b'{' => self.map_at_path(depth + 1)?,
                b'[' => self.list(depth + 1, !dotted)?,
                begin => self.leaf(Piece::Text(&[]), begin)?,
            }
            self.path.truncate(base);
            if self.tokens.takes(b']') {
                break;
            }
            if !self.tokens.takes(b',') {
                return None;
            }
        }
        Some(())
    }

    /// Reads a leaf under the path and this key.
    #[inline]
    fn leaf(&mut self, key: Piece<'a>, begin: u8) -> Option<()> {
        let start = self.tokens.at;
        let leaf = self.tokens.leaf(begin)?;
        self.key_bytes += (self.path.len() + self.tokens.piece(key).len()) as u64;
        if self.key_bytes > self.max {
            // It may turn out not to be JSON, and then it may be as long as it likes.
            return Some(());
        }
        if self.exact {
            self.order.push(self.leaves.len());
        }
        let key = if self.path.is_empty() { key } else { self.joined(key) };
        self.keys.push(key);
        self.leaves.push(leaf);
        self.places.push(start..self.tokens.at);
        Some(())
    }

    #[inline]
    fn joined(&mut self, key: Piece<'a>) -> Piece<'a> {
        let start = self.tokens.made.len();
        self.tokens.made.extend_from_slice(&self.path);
        match key {
            Piece::Text(key) => self.tokens.made.extend_from_slice(key),
            Piece::Made(start, end) => self.tokens.made.extend_from_within(start..end),
        }
        Piece::Made(start, self.tokens.made.len())
    }

    /// Whether a member that is a map or a list has a key that another has too. Two leaves with one key are found when they are written.
    fn may_repeat(&self, first: usize) -> bool {
        let members = self.members.get(first..).unwrap_or_default();
        let nested = members.iter().filter(|member| member.nested).count();
        if nested * members.len() > COMPARISONS {
            return true;
        }
        nested > 0
            && members.iter().enumerate().filter(|(_, member)| member.nested).any(|(at, member)| {
                let key = self.tokens.piece(member.key);
                members.iter().enumerate().any(|(other, member)| other != at && self.tokens.piece(member.key) == key)
            })
    }

    /// Sorts an object's members, takes out what a later member with the same key replaces, and puts their leaves into that order.
    fn sort(&mut self, first: usize, first_leaf: usize) {
        let mut members = self.members.split_off(first);
        members.sort_by(|one, other| self.tokens.piece(one.key).cmp(self.tokens.piece(other.key)));
        members.dedup_by(|later, earlier| {
            let equal = self.tokens.piece(later.key) == self.tokens.piece(earlier.key);
            if equal {
                *earlier = *later;
            }
            equal
        });
        let unsorted = self.order.split_off(first_leaf);
        for member in &mut members {
            let leaves = member.start - first_leaf..member.end - first_leaf;
            member.start = self.order.len();
            self.order.extend_from_slice(unsorted.get(leaves).unwrap_or_default());
            member.end = self.order.len();
        }
        self.members.append(&mut members);
    }
}
