//! How many elements there are up to the end of each row, for columns whose rows are lists.
//!
//! Kept as the bytes that a block carries, as everything else in a column is.

/// The running counts of elements, one a row.
#[derive(Debug, Default)]
pub(super) struct Ends(pub(super) Vec<[u8; 8]>);

impl Ends {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many elements the first `rows` rows have.
    #[inline]
    pub(super) fn of(&self, rows: usize) -> u64 {
        rows.checked_sub(1).and_then(|at| self.0.get(at)).map_or(0, |end| u64::from_le_bytes(*end))
    }

    /// Ends a row that has so many elements.
    #[inline]
    pub(super) fn push(&mut self, elements: usize) {
        let end = self.0.last().map_or(0, |end| u64::from_le_bytes(*end)) + elements as u64;
        self.0.push(end.to_le_bytes());
    }

    /// Ends so many rows without an element.
    pub(super) fn push_empty(&mut self, rows: usize) {
        let end = self.0.last().copied().unwrap_or_default();
        self.0.resize(self.0.len() + rows, end);
    }

    /// Ends so many more rows with as many elements as the last one has.
    pub(super) fn repeat(&mut self, times: usize) {
        let end = self.of(self.len());
        let elements = end - self.of(self.len().saturating_sub(1));
        self.0.extend((1..=times as u64).map(|time| (end + time * elements).to_le_bytes()));
    }

    /// What the block carries.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }
}
