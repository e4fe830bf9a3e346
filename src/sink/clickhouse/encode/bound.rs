//! How long lists may get in memory, and what may be written besides columns. Two bytes on the wire become an entry of 60 in a list, so without a
//! bound a body of 64 MiB would take gigabytes before its columns are looked at; and a long path stands before each of the many keys below it.

use super::wire::Fault;
use crate::otlp::steps;

/// The most attributes, events, links, exemplars or quantiles of one record, and the most entries of lists and maps in one value.
pub(super) const MOST_ENTRIES: usize = 1 << 20;

/// Appends to a list.
///
/// # Errors
/// The list has [`MOST_ENTRIES`].
#[inline]
pub(super) fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Fault> {
    if list.len() >= MOST_ENTRIES {
        return Err(too_many());
    }
    list.push(item);
    Ok(())
}

/// Entries that may still be made, over all lists in a value.
#[derive(Debug)]
pub(super) struct Entries(usize);

impl Default for Entries {
    fn default() -> Entries {
        Entries::new()
    }
}

impl Entries {
    pub(super) fn new() -> Entries {
        Entries(MOST_ENTRIES)
    }

    /// Counts one more.
    #[inline]
    pub(super) fn one(&mut self) -> Result<(), Fault> {
        steps::count(1);
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(too_many()),
        }
    }
}

/// Bytes of keys that a request may still have written on their way into columns, which know equal keys by their number and so do not grow by them.
#[derive(Debug)]
pub(super) struct KeyBytes {
    left: u64,
    /// The limit that is named.
    max: u64,
}

impl KeyBytes {
    /// How many times the columns' bytes they may be: copying is cheap, and a key that lies deep is longer than what the wire says of it.
    const TIMES: u64 = 2;

    /// Of a request whose columns may have so many bytes.
    pub(super) fn new(max_column_bytes: u64) -> KeyBytes {
        KeyBytes { left: max_column_bytes.saturating_mul(KeyBytes::TIMES), max: max_column_bytes }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Counts so many more.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), Fault> {
        steps::count(usize::try_from(bytes.min(self.left)).unwrap_or(usize::MAX));
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Fault::TooLarge("max_column_bytes", self.max))
            }
        }
    }
}

#[cold]
fn too_many() -> Fault {
    Fault::TooLarge("entries of one record", MOST_ENTRIES as u64)
}
