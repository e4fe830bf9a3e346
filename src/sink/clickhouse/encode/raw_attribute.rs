//! Attributes on their way from a record to its map.
//!
//! A record has some ten of them, so they are most of what the walk does. Texts, integers and flags, as everybody writes them, are taken apart
//! in one go and kept in what is copied and dropped for nothing; whatever else there is stays as it came, and is read again when it is written.

use super::bound::push;
use super::key_values::KeyValues;
use super::plain::{counted, plain, short_int};
use super::texts::{Texts, equal};
use super::value::{Attribute, INT_DIGITS, bool_text, decimal, read_key_value};
use super::wire::{Fault, MAX_DEPTH, put_string};

/// An attribute of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawAttribute<'a> {
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

impl<'a> RawAttribute<'a> {
    /// Reads a `KeyValue` that lies `depth` messages deep to the end of a list.
    ///
    /// # Errors
    /// Also when the list has as many as it may have.
    pub(super) fn push(list: &mut Vec<RawAttribute<'a>>, message: &'a [u8], depth: u8) -> Result<(), Fault> {
        if let Some((key, value)) = plain(message)
            && depth < MAX_DEPTH
        {
            // Each kind on its own, so that it is written where it is to lie and not moved.
            if let [0x0a, text @ ..] = value
                && let Some(text) = counted(text)
            {
                return push(list, RawAttribute { key, value: Scalar::Text(text), message });
            }
            if let [0x18, int @ ..] = value
                && let Some(int) = short_int(int)
            {
                return push(list, RawAttribute { key, value: Scalar::Int(int), message });
            }
            if let [0x10, flag @ ..0x80] = value {
                return push(list, RawAttribute { key, value: Scalar::Bool(*flag != 0), message });
            }
        }
        let (key, _) = read_key_value(message, depth)?;
        push(list, RawAttribute { key, value: Scalar::Other, message })
    }
}

impl KeyValues for &[RawAttribute<'_>] {
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
