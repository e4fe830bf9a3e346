//! What a map is made of: a record's attributes on their way into a column, whoever read them.

use super::texts::Texts;
use super::value::Attribute;
use super::wire::Fault;

/// What a map is made of, by its places.
pub(super) trait KeyValues: Copy {
    /// How many there are.
    fn len(self) -> usize;

    /// A key.
    fn key(&self, at: usize) -> &[u8];

    /// All keys.
    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.key(at))
    }

    /// Whether these are the keys.
    fn has_keys(self, keys: &Texts) -> bool;

    /// Appends a value's text as ClickHouse's String; `depth` is the value's.
    fn put_string(self, at: usize, out: &mut Vec<u8>, depth: u8, max: u64) -> Result<(), Fault>;

    /// All of them in full; `depth` is that of their messages.
    fn in_full(&self, depth: u8) -> Result<Vec<Attribute<'_>>, Fault>;
}
