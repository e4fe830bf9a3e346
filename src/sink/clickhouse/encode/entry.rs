//! Attributes on their way from a record to its map.
//!
//! A record has some ten of them, so they are most of what the walk does. Texts, integers and flags, as everybody writes them, are taken apart
//! in one go and kept in what is copied and dropped for nothing; whatever else there is stays as it came, and is read again when it is written.

use super::bound::push;
use super::list::KeyValues;
use super::texts::{Texts, equal};
use super::value::{Attribute, INT_DIGITS, bool_text, decimal, read_key_value};
use super::wire::{Fault, MAX_DEPTH, put_string};

/// An attribute of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    key: &'a [u8],
    value: Scalar<'a>,
    /// The `KeyValue` as it came.
    message: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
enum Scalar<'a> {
    Text(&'a [u8]),
    Int(i64),
    Bool(bool),
    /// Something else; its message can be read.
    Other,
}

impl<'a> Entry<'a> {
    /// Reads a `KeyValue` that lies `depth` messages deep to the end of a list.
    ///
    /// # Errors
    /// Also when the list has as many as it may have.
    pub(super) fn push(list: &mut Vec<Entry<'a>>, message: &'a [u8], depth: u8) -> Result<(), Fault> {
        if let Some((key, value)) = plain(message)
            && depth < MAX_DEPTH
        {
            // Each kind on its own, so that it is written where it is to lie and not moved.
            if let [0x0a, text @ ..] = value
                && let Some(text) = counted(text)
            {
                return push(list, Entry { key, value: Scalar::Text(text), message });
            }
            if let [0x18, int @ ..] = value
                && let Some(int) = short_int(int)
            {
                return push(list, Entry { key, value: Scalar::Int(int), message });
            }
            if let [0x10, flag @ ..0x80] = value {
                return push(list, Entry { key, value: Scalar::Bool(*flag != 0), message });
            }
        }
        let (key, _) = read_key_value(message, depth)?;
        push(list, Entry { key, value: Scalar::Other, message })
    }
}

impl KeyValues for &[Entry<'_>] {
    #[inline]
    fn len(self) -> usize {
        <[_]>::len(self)
    }

    #[inline]
    fn key(&self, at: usize) -> &[u8] {
        self.get(at).map_or(&[], |entry| entry.key)
    }

    #[inline]
    fn has_keys(self, keys: &Texts) -> bool {
        keys.len() == <[_]>::len(self) && self.iter().zip(keys.iter()).all(|(entry, key)| equal(entry.key, key))
    }

    #[inline]
    fn put_string(self, at: usize, out: &mut Vec<u8>, depth: u8, max: u64) -> Result<(), Fault> {
        let Some(entry) = self.get(at) else { return Ok(()) };
        match entry.value {
            Scalar::Text(text) => put_string(out, text),
            Scalar::Int(int) => put_string(out, decimal(int, &mut [0; INT_DIGITS])),
            Scalar::Bool(flag) => put_string(out, bool_text(flag)),
            Scalar::Other => {
                return read_key_value(entry.message, depth.saturating_sub(1))?.1.put_string(out, depth, max);
            }
        }
        Ok(())
    }

    fn in_full(&self, depth: u8) -> Result<Vec<Attribute<'_>>, Fault> {
        self.iter().map(|entry| Attribute::read(entry.message, depth)).collect()
    }
}

/// The key and the value's message, in the order in which everybody writes them and none longer than 16 KiB.
#[inline(always)]
fn plain(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, bytes @ ..] = message else { return None };
    let (key_len, bytes) = short_len(bytes)?;
    let (key, bytes) = bytes.split_at_checked(key_len)?;
    let [0x12, value @ ..] = bytes else { return None };
    Some((key, counted(value)?))
}

/// The key and the text of an attribute that is one, as everybody writes it.
#[inline]
pub(super) fn plain_text(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, value) = plain(message)?;
    Some((key, only_text(value)?))
}

/// The text of an `AnyValue` that holds one and nothing else, as most bodies do.
#[inline]
pub(super) fn only_text(value: &[u8]) -> Option<&[u8]> {
    match value {
        [0x0a, text @ ..] => counted(text),
        _ => None,
    }
}

/// A length of one or two bytes, and what follows it.
#[inline(always)]
fn short_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [len @ ..0x80, rest @ ..] => Some((usize::from(*len), rest)),
        [low, high @ ..0x80, rest @ ..] => Some((usize::from(low & 0x7f) | usize::from(*high) << 7, rest)),
        _ => None,
    }
}

/// What follows a length of one or two bytes, when it is so long.
#[inline(always)]
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = short_len(bytes)?;
    (rest.len() == len).then_some(rest)
}

/// An integer of at most nine bytes, with nothing behind it.
#[inline]
fn short_int(bytes: &[u8]) -> Option<i64> {
    let (last, before) = bytes.split_last()?;
    if before.len() > 8 || *last >= 0x80 || before.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    Some(bytes.iter().rev().fold(0, |value, byte| value << 7 | i64::from(byte & 0x7f)))
}
