//! How long lists may get in memory. Two bytes on the wire become an entry of 60 in a list, so without a bound a body of 64 MiB would
//! take gigabytes before its columns are looked at.

use super::wire::Fault;

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
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(too_many()),
        }
    }
}

#[cold]
fn too_many() -> Fault {
    Fault::TooLarge("entries of one record", MOST_ENTRIES as u64)
}
