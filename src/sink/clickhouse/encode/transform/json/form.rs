//! Objects that were seen before, but for their leaves.
//!
//! A program writes the same few objects again and again. What stands between their leaves decides which keys there are and how they lie
//! in each other. So where it is, byte for byte, what it was in an object before, only the leaves are read.
//!
//! Most of what a JSON body costs is its structure: brackets, keys, what lies in what, and a flat key made for each leaf. All of it is the same for each
//! record that one line of a program writes, and one comparison of bytes proves that. What follows from a form is then as true for this object
//! as for the one it was learned from, so that a known form changes what an object costs and never what becomes of it.

use std::ops::Range;

use super::super::super::texts::Texts;
use super::token::{Leaf, Tokens};

/// An object's text without its leaves, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// What stands before each leaf, and behind the last one.
    gaps: Texts,
    /// The leaves' flat keys.
    pub(super) keys: Texts,
    /// The keys of the members that are maps or lists.
    pub(super) nested: Texts,
}

/// The last few forms. None of them is doubtful.
#[derive(Debug, Default)]
pub(super) struct Forms {
    known: Vec<Form>,
    last: usize,
    /// Objects since the last one of a known form.
    misses: usize,
}

impl Forms {
    /// How many forms are remembered, how many leaves they may have, and how long their text and their keys may be.
    const MOST: usize = 8;
    const LONGEST: usize = 128;
    const LONGEST_TEXT: usize = 4 << 10;
    /// After so many objects of other forms only one in so many is looked at: where objects differ every time, each look is work in vain, and so is what
    /// is learned.
    const PATIENCE: usize = 64;
    const SAMPLE: usize = 16;

    /// The form that was read or learned last.
    pub(super) fn last(&self) -> Option<&Form> {
        self.known.get(self.last)
    }

    /// Whether it pays to look for forms.
    pub(super) fn pay(&self) -> bool {
        self.misses < Forms::PATIENCE || self.misses.is_multiple_of(Forms::SAMPLE)
    }

    /// Reads the whole text's leaves if it has one of the forms, which is then the last one; else `false`, and some are read in vain.
    pub(super) fn read<'a>(&mut self, tokens: &mut Tokens<'a>, leaves: &mut Vec<Leaf<'a>>) -> bool {
        let first = self.last;
        for place in 0..self.known.len() {
            let place = (first + place) % self.known.len();
            let form = &self.known[place];
            // No leaf is read twice: only a form that begins as the text did so far can be the text's.
            if !form.gaps.begins_as(&self.known[self.last].gaps, leaves.len()) {
                continue;
            }
            self.last = place;
            if form.read(tokens, leaves) {
                self.misses = 0;
                return true;
            }
        }
        self.misses += 1;
        false
    }

    /// Remembers the form of an object, whose leaves stand at these places in its text.
    pub(super) fn learn<'k>(
        &mut self,
        text: &[u8],
        leaves: &[Range<usize>],
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        nested: impl Iterator<Item = &'k [u8]>,
    ) {
        let key_bytes: usize = keys.clone().map(<[u8]>::len).sum();
        if leaves.len() > Forms::LONGEST || text.len().max(key_bytes) > Forms::LONGEST_TEXT {
            return;
        }
        if self.known.len() < Forms::MOST {
            self.last = self.known.len();
            self.known.push(Form::default());
        } else {
            self.last = (self.last + 1) % Forms::MOST;
        }
        self.known[self.last].learn(text, leaves, keys, nested);
    }
}

impl Form {
    /// Goes on behind the leaves that are read. `false` where the text is another; the next form goes on from there.
    fn read<'a>(&self, tokens: &mut Tokens<'a>, leaves: &mut Vec<Leaf<'a>>) -> bool {
        let end = self.keys.len();
        for at in leaves.len()..end {
            let end_of_last = tokens.at;
            let leaf = tokens.passes(self.gaps.get(at)).and_then(|begin| tokens.leaf(begin));
            let Some(leaf) = leaf else {
                tokens.at = end_of_last;
                return false;
            };
            leaves.push(leaf);
        }
        tokens.ends_with(self.gaps.get(end))
    }

    fn learn<'k>(
        &mut self,
        text: &[u8],
        leaves: &[Range<usize>],
        keys: impl Iterator<Item = &'k [u8]>,
        nested: impl Iterator<Item = &'k [u8]>,
    ) {
        for texts in [&mut self.gaps, &mut self.keys, &mut self.nested] {
            texts.clear();
        }
        let mut start = 0;
        for leaf in leaves {
            self.gaps.push(text.get(start..leaf.start).unwrap_or_default());
            start = leaf.end;
        }
        self.gaps.push(text.get(start..).unwrap_or_default());
        keys.for_each(|key| self.keys.push(key));
        nested.for_each(|key| self.nested.push(key));
    }
}
