//! The distinct strings of a column, in the order in which they were first seen.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::wire::put_string;
use crate::otlp::steps;

/// A growing set of strings; each has a number, from 0 up. Kept as the bytes that a block carries.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Each string with its length in front.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Strings that came lately, by their [`slot`]: most of a column's are a few that come again and again, and are found here unhashed.
    recent: [u32; SLOTS],
}

const SLOTS: usize = 32;

/// A place for a string that strings of another length, or with another end, mostly do not have.
#[inline]
fn slot(text: &[u8]) -> usize {
    (text.len() * 5 + text.last().map_or(0, |byte| usize::from(*byte))) % SLOTS
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    /// Where the string itself lies in `bytes`, behind its length.
    start: usize,
    end: usize,
}

impl Dictionary {
    /// The number of `text`, and how many bytes the dictionary grew by.
    #[inline]
    pub(super) fn number(&mut self, text: &[u8]) -> (u32, usize) {
        steps::count(1 + text.len());
        let slot = slot(text);
        let recent = self.recent[slot];
        if self.has(recent, text) {
            return (recent, 0);
        }
        let hash = self.hasher.hash_one(text);
        let (number, grown) = match self.table.find(hash, |number| self.has(*number, text)) {
            Some(number) => (*number, 0),
            None => self.insert(hash, text),
        };
        self.recent[slot] = number;
        (number, grown)
    }

    #[inline]
    fn has(&self, number: u32, text: &[u8]) -> bool {
        self.entries.get(number as usize).is_some_and(|entry| self.bytes.get(entry.start..entry.end) == Some(text))
    }

    fn insert(&mut self, hash: u64, text: &[u8]) -> (u32, usize) {
        let before = self.bytes.len();
        put_string(&mut self.bytes, text);
        let end = self.bytes.len();
        // Numbers count strings in memory: there are never 2^32 of them.
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { hash, start: end - text.len(), end });
        let entries = &self.entries;
        self.table.insert_unique(hash, number, |number| entries.get(*number as usize).map_or(0, |entry| entry.hash));
        (number, end - before)
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A string by its number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        match self.entries.get(number as usize) {
            Some(entry) => &self.bytes[entry.start..entry.end],
            None => &[],
        }
    }

    /// All strings, each with its length in front.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets all strings from this number on.
    pub(super) fn truncate(&mut self, len: usize) {
        for number in (len..self.entries.len()).rev() {
            let hash = self.entries[number].hash;
            if let Ok(found) = self.table.find_entry(hash, |other| *other as usize == number) {
                found.remove();
            }
        }
        self.entries.truncate(len);
        self.bytes.truncate(self.entries.last().map_or(0, |entry| entry.end));
    }

    /// Forgets everything, and gives memory back when there is much of it.
    pub(super) fn clear(&mut self, keep: usize) {
        self.table.clear();
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > keep || self.entries.capacity() > keep / 16 {
            *self = Dictionary::default();
        }
    }
}

/// Strings as numbers into a dictionary.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) numbers: Vec<u32>,
    pub(super) dictionary: Dictionary,
}

impl Numbers {
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> usize {
        let (number, grown) = self.dictionary.number(text);
        self.numbers.push(number);
        4 + grown
    }
}
