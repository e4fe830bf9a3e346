//! JSON objects in log bodies, read as the collector's JSON library reads them: numbers as doubles; in strings every byte but NUL as it
//! is; of equal keys the last.
//!
//! No tree is made: a walk over the text appends each leaf with its flat key to a list, in the order of the text. That order is
//! wrong only where two keys end up the same, which is rare; the walk says when it may be so, and does it exactly when it is asked to.

mod token;

use super::super::bound::Entries;
use super::super::value::{Attribute, Value};
use super::super::walk::emptied;
use super::super::wire::Fault;

/// How deep values may lie in each other, and how many there may be. Other text is not taken for JSON.
const MAX_DEPTH: u32 = 500;

/// How many comparisons of keys an object is worth before its keys are sorted instead.
const COMPARISONS: usize = 1024;

/// A string of the text, or of what was made from it.
#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    Text(&'a [u8]),
    /// From here to there in `made`.
    Made(usize, usize),
}

#[derive(Debug, Clone, Copy)]
enum Leaf<'a> {
    Empty,
    Bool(bool),
    Double(f64),
    /// A number whose text is the one that Go would write.
    Number(&'a [u8]),
    Text(Piece<'a>),
}

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
pub(super) struct Object<'a> {
    text: &'a [u8],
    at: usize,
    most: Entries,
    /// Whether objects are sorted and keys that come twice are taken out.
    exact: bool,
    doubtful: bool,
    key_bytes: u64,
    max: u64,
    /// What stands before the keys of the innermost open object.
    path: Vec<u8>,
    made: Vec<u8>,
    leaves: Vec<(Piece<'a>, Leaf<'a>)>,
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
        (self.text, self.exact, self.max) = (text, exact, max);
        self.most = Entries::new();
        let is_object = text.first() == Some(&b'{') && self.map(0).is_some() && self.at == text.len();
        if !is_object {
            self.forget();
        } else if self.key_bytes > max {
            return Err(Fault::TooLarge("max_column_bytes", max));
        }
        Ok(is_object)
    }

    fn forget(&mut self) {
        (self.at, self.doubtful, self.key_bytes) = (0, false, 0);
        self.path.clear();
        self.made.clear();
        self.leaves.clear();
        self.order.clear();
        self.members.clear();
    }

    /// The lists without their contents.
    pub(super) fn emptied<'b>(mut self) -> Object<'b> {
        /// What idle texts may hold on to.
        const KEEP: usize = 64 << 10;
        self.forget();
        self.path.shrink_to(KEEP);
        self.made.shrink_to(KEEP);
        Object {
            path: self.path,
            made: self.made,
            leaves: emptied(self.leaves),
            order: emptied(self.order),
            members: emptied(self.members),
            ..Object::default()
        }
    }

    /// Whether some key may stand for two things, so that the leaves must be read exactly: a map or a list and something else, be it an
    /// attribute of the record.
    pub(super) fn is_doubtful(&self, attributes: &[Attribute<'_>]) -> bool {
        let is_attribute = |key: &[u8]| attributes.iter().any(|attribute| *attribute.key == *key);
        self.doubtful || self.members.iter().any(|member| member.nested && is_attribute(self.piece(member.key)))
    }

    /// Appends all leaves, in the order of the text.
    pub(super) fn put<'m>(&'m self, list: &mut Vec<Attribute<'m>>) {
        list.extend(self.leaves.iter().map(|leaf| self.attribute(leaf)));
    }

    /// The members, sorted by key, and for each the leaves in it. Only when read exactly.
    pub(super) fn members<'m>(&'m self) -> Vec<(&'m [u8], impl Iterator<Item = Attribute<'m>> + use<'m, 'a>)> {
        let leaves = |member: &Member<'a>| {
            let places = self.order.get(member.start..member.end).unwrap_or_default();
            places.iter().filter_map(|place| self.leaves.get(*place)).map(|leaf| self.attribute(leaf))
        };
        self.members.iter().map(|member| (self.piece(member.key), leaves(member))).collect()
    }

    fn attribute<'m>(&'m self, (key, leaf): &(Piece<'a>, Leaf<'a>)) -> Attribute<'m> {
        let value = match *leaf {
            Leaf::Empty => Value::Empty,
            Leaf::Bool(flag) => Value::Bool(flag),
            Leaf::Double(double) => Value::Double(double),
            Leaf::Number(text) => Value::Number(text.into()),
            Leaf::Text(text) => Value::Text(self.piece(text).into()),
        };
        Attribute { key: self.piece(*key).into(), value }
    }

    fn piece(&self, piece: Piece<'a>) -> &[u8] {
        match piece {
            Piece::Text(text) => text,
            Piece::Made(start, end) => self.made.get(start..end).unwrap_or_default(),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over a byte after white space.
    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    /// Counts a value that lies so deep and says how it begins.
    #[inline]
    fn begin(&mut self, depth: u32) -> Option<u8> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.most.one().ok()?;
        self.space();
        self.peek()
    }

    /// Reads a map's members; `path` is what stands before their keys.
    fn map(&mut self, depth: u32) -> Option<()> {
        self.at += 1;
        let (first, first_leaf, base) = (self.members.len(), self.order.len(), self.path.len());
        let mut more = !self.takes(b'}');
        while more {
            self.space();
            let key = self.string()?;
            if !self.takes(b':') {
                return None;
            }
            let start = self.order.len();
            let begin = self.begin(depth + 1)?;
            let nested = matches!(begin, b'{' | b'[');
            if nested {
                self.enter(key);
                if begin == b'[' {
                    self.list(depth + 1, true)?;
                } else {
                    self.map_at_path(depth + 1)?;
                }
                self.path.truncate(base);
            } else {
                let leaf = self.leaf(begin)?;
                self.push(key, leaf);
            }
            self.members.push(Member { key, nested, start, end: self.order.len() });
            more = !self.takes(b'}');
            if more && !self.takes(b',') {
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
        self.at += 1;
        let base = self.path.len();
        if self.takes(b']') {
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
                begin => {
                    let leaf = self.leaf(begin)?;
                    self.push(Piece::Text(&[]), leaf);
                }
            }
            self.path.truncate(base);
            if self.takes(b']') {
                break;
            }
            if !self.takes(b',') {
                return None;
            }
        }
        Some(())
    }

    #[inline]
    fn leaf(&mut self, begin: u8) -> Option<Leaf<'a>> {
        match begin {
            b'"' => self.string().map(Leaf::Text),
            b't' => self.word(b"true", Leaf::Bool(true)),
            b'f' => self.word(b"false", Leaf::Bool(false)),
            b'n' => self.word(b"null", Leaf::Empty),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], leaf: Leaf<'a>) -> Option<Leaf<'a>> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(leaf)
    }

    #[inline]
    fn enter(&mut self, key: Piece<'a>) {
        match key {
            Piece::Text(key) => self.path.extend_from_slice(key),
            Piece::Made(start, end) => self.path.extend_from_slice(self.made.get(start..end).unwrap_or_default()),
        }
    }

    /// Appends a leaf under the path and this key.
    #[inline]
    fn push(&mut self, key: Piece<'a>, leaf: Leaf<'a>) {
        self.key_bytes += (self.path.len() + self.piece(key).len()) as u64;
        if self.key_bytes > self.max {
            // It may turn out not to be JSON, and then it may be as long as it likes.
            return;
        }
        let key = if self.path.is_empty() { key } else { self.joined(key) };
        if self.exact {
            self.order.push(self.leaves.len());
        }
        self.leaves.push((key, leaf));
    }

    #[inline]
    fn joined(&mut self, key: Piece<'a>) -> Piece<'a> {
        let start = self.made.len();
        self.made.extend_from_slice(&self.path);
        match key {
            Piece::Text(key) => self.made.extend_from_slice(key),
            Piece::Made(start, end) => self.made.extend_from_within(start..end),
        }
        Piece::Made(start, self.made.len())
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
                let key = self.piece(member.key);
                members.iter().enumerate().any(|(other, member)| other != at && self.piece(member.key) == key)
            })
    }

    /// Sorts an object's members, takes out what a later member with the same key replaces, and puts their leaves into that order.
    fn sort(&mut self, first: usize, first_leaf: usize) {
        let mut members = self.members.split_off(first);
        members.sort_by(|one, other| self.piece(one.key).cmp(self.piece(other.key)));
        members.dedup_by(|later, earlier| {
            let equal = self.piece(later.key) == self.piece(earlier.key);
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
