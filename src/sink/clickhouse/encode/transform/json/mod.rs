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
use super::super::bound::{Entries, KeyBytes};
use super::super::buffer::emptied;
use super::super::texts::Texts;
use super::super::value::{AnyValue, Attribute};
use super::super::wire::Fault;
use crate::otlp::steps;

/// How deep values may lie in each other, and how many there may be. Other text is not taken for JSON.
const MAX_DEPTH: u32 = 500;

/// How many comparisons of keys an object is worth before its keys are sorted instead.
const COMPARISONS: usize = 1024;

/// A member of the outermost object or of one that is still open.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    key: Piece<'a>,
    nested: bool,
    /// Its leaf; of a map or a list its members, in `closed`; when all is read, its leaves in `order`. Only when read exactly.
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
    /// The members of maps and lists that were read to their end, sorted; only when read exactly.
    closed: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Reads the object that the whole text is; `false` when it is none. The keys that are written for it are counted by `key_bytes`, whatever it is.
    ///
    /// # Errors
    /// It is an object, but its keys have more than are left.
    pub(super) fn read(&mut self, text: &'a [u8], exact: bool, key_bytes: &mut KeyBytes) -> Result<bool, Fault> {
        self.forget();
        (self.exact, self.max) = (exact, key_bytes.left());
        self.most = Entries::new();
        self.tokens.begin(text);
        let look = !exact && self.forms.pay();
        self.formed = look && self.forms.read(&mut self.tokens, &mut self.leaves);
        steps::count(self.tokens.at);
        if self.formed {
            // None of them is written, but whether an object is taken may not depend on those before it.
            let bytes = self.form().map_or(0, |form| form.keys.bytes() as u64);
            key_bytes.spend(bytes)?;
        } else {
            self.tokens.begin(text);
            self.leaves.clear();
            let is_object = text.first() == Some(&b'{') && self.map(0).is_some() && self.tokens.is_at_end();
            steps::count(self.tokens.at);
            let within = key_bytes.spend(self.key_bytes);
            if !is_object {
                self.forget();
                return Ok(false);
            }
            within?;
            if exact {
                self.arrange();
            }
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
        self.closed.clear();
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
            closed: emptied(self.closed),
            ..Object::default()
        }
    }

    /// Whether some key may stand for two things, so that the leaves must be read exactly: a map or a list and something else, be it an
    /// attribute of the record.
    pub(super) fn is_doubtful(&self, attributes: &[Attribute<'_>]) -> bool {
        let is_attribute = |key: &[u8]| {
            steps::count(attributes.len());
            attributes.iter().any(|attribute| *attribute.key == *key)
        };
        let too_many = |nested: usize| nested * attributes.len() > COMPARISONS;
        match self.form() {
            Some(form) => too_many(form.nested.len()) || form.nested.iter().any(is_attribute),
            None => {
                let mut nested = self.members.iter().filter(|member| member.nested);
                self.doubtful
                    || too_many(nested.clone().count())
                    || nested.any(|member| is_attribute(self.tokens.piece(member.key)))
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

    /// Reads a map's members; `path` is what stands before their keys. Says where they are in `closed`.
    fn map(&mut self, depth: u32) -> Option<(usize, usize)> {
        self.tokens.at += 1;
        let (first, base) = (self.members.len(), self.path.len());
        let mut more = !self.tokens.takes(b'}');
        while more {
            self.tokens.space();
            let key = self.tokens.string()?;
            if !self.tokens.takes(b':') {
                return None;
            }
            let begin = self.begin(depth + 1)?;
            let nested = matches!(begin, b'{' | b'[');
            let (start, end) = if nested {
                self.path.extend_from_slice(self.tokens.piece(key));
                let inside = if begin == b'[' { self.list(depth + 1, true)? } else { self.map_at_path(depth + 1)? };
                self.path.truncate(base);
                inside
            } else {
                self.leaf(key, begin)?
            };
            self.members.push(Member { key, nested, start, end });
            more = !self.tokens.takes(b'}');
            if more && !self.tokens.takes(b',') {
                return None;
            }
        }
        if self.exact {
            self.sort(first);
        } else {
            self.doubtful |= self.may_repeat(first);
        }
        Some(if depth > 0 { self.close(first) } else { (0, 0) })
    }

    /// Ends a map or a list whose members begin here; says where they are kept.
    fn close(&mut self, first: usize) -> (usize, usize) {
        let start = self.closed.len();
        if self.exact {
            self.closed.extend_from_slice(self.members.get(first..).unwrap_or_default());
        }
        self.members.truncate(first);
        (start, self.closed.len())
    }

    fn map_at_path(&mut self, depth: u32) -> Option<(usize, usize)> {
        if !self.path.is_empty() {
            self.path.push(b'.');
        }
        self.map(depth)
    }

    /// Reads a list's elements. A list in a list: the collector puts no dot between their places.
    fn list(&mut self, depth: u32, dotted: bool) -> Option<(usize, usize)> {
        self.tokens.at += 1;
        let (first, base) = (self.members.len(), self.path.len());
        if self.tokens.takes(b']') {
            return Some((0, 0));
        }
        for index in 0.. {
            if dotted {
                self.path.push(b'.');
            }
            super::super::value::put_int(&mut self.path, index);
            let begin = self.begin(depth + 1)?;
            let (start, end) = match begin {
                b'{' => self.map_at_path(depth + 1)?,
                b'[' => self.list(depth + 1, !dotted)?,
                begin => self.leaf(Piece::Text(&[]), begin)?,
            };
            if self.exact {
                let nested = matches!(begin, b'{' | b'[');
                self.members.push(Member { key: Piece::Text(&[]), nested, start, end });
            }
            self.path.truncate(base);
            if self.tokens.takes(b']') {
                break;
            }
            if !self.tokens.takes(b',') {
                return None;
            }
        }
        Some(self.close(first))
    }

    /// Reads a leaf under the path and this key; says which one it is.
    #[inline]
    fn leaf(&mut self, key: Piece<'a>, begin: u8) -> Option<(usize, usize)> {
        let start = self.tokens.at;
        let leaf = self.tokens.leaf(begin)?;
        self.key_bytes += (self.path.len() + self.tokens.piece(key).len()) as u64;
        if self.key_bytes > self.max {
            // It may turn out not to be JSON, and then it may be as long as it likes.
            return Some((0, 0));
        }
        let place = self.leaves.len();
        let key = if self.path.is_empty() { key } else { self.joined(key) };
        self.keys.push(key);
        self.leaves.push(leaf);
        self.places.push(start..self.tokens.at);
        Some((place, place + 1))
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
        steps::count(members.len() + nested * members.len());
        nested > 0
            && members.iter().enumerate().filter(|(_, member)| member.nested).any(|(at, member)| {
                let key = self.tokens.piece(member.key);
                members.iter().enumerate().any(|(other, member)| other != at && self.tokens.piece(member.key) == key)
            })
    }

    /// Sorts an object's members, and takes out what a later member with the same key replaces.
    fn sort(&mut self, first: usize) {
        let mut members = self.members.split_off(first);
        members.sort_by(|one, other| {
            steps::count(1);
            self.tokens.piece(one.key).cmp(self.tokens.piece(other.key))
        });
        members.dedup_by(|later, earlier| {
            let equal = self.tokens.piece(later.key) == self.tokens.piece(earlier.key);
            if equal {
                *earlier = *later;
            }
            equal
        });
        self.members.append(&mut members);
    }

    /// Puts the leaves into the order of their members, once for the whole object.
    fn arrange(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        for member in &mut members {
            let start = self.order.len();
            put_leaves(&self.closed, *member, &mut self.order);
            (member.start, member.end) = (start, self.order.len());
        }
        self.members = members;
    }
}

/// Appends a member's leaves. As deep as the text nests, which is bounded.
fn put_leaves(closed: &[Member<'_>], member: Member<'_>, order: &mut Vec<usize>) {
    steps::count(1);
    if !member.nested {
        order.extend(member.start..member.end);
        return;
    }
    for inner in closed.get(member.start..member.end).unwrap_or_default() {
        put_leaves(closed, *inner, order);
    }
}
