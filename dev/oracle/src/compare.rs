//! Compares two sets of rows, column by column, byte by byte.
//!
//! Rows carry no number of their own, so equal rows are matched first; what is left over on both sides is paired by likeness, and
//! each column in which a pair differs is a difference, unless a known one explains it.

use std::collections::BTreeMap;

use crate::known::{self, Known};

/// A table's rows as text, column by column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Vec<u8>>>,
}

impl Rows {
    /// Reads `TabSeparatedWithNames`, in which tabs and line ends inside of values are escaped.
    pub(crate) fn parse(text: &[u8]) -> Rows {
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let cells = |line: &[u8]| line.split(|byte| *byte == b'\t').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let columns = lines.next().map(cells).unwrap_or_default();
        let columns = columns.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Rows { columns, rows: lines.map(cells).collect() }
    }
}

/// A column in which a pair of rows differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) column: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

/// What comparing a table found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Rows that are equal on both sides.
    pub(crate) equal: u64,
    pub(crate) differences: Vec<Difference>,
    /// Rows that one side has and the other has not.
    pub(crate) only_ours: u64,
    pub(crate) only_theirs: u64,
    /// How often each known difference was used.
    pub(crate) known: BTreeMap<Known, u64>,
}

impl Comparison {
    /// Whether everything is equal or explained.
    pub(crate) fn agrees(&self) -> bool {
        self.differences.is_empty() && self.only_ours == 0 && self.only_theirs == 0
    }
}

/// Compares a table's rows.
pub(crate) fn compare(table: &str, ours: &Rows, theirs: &Rows) -> Comparison {
    let mut comparison = Comparison::default();
    let (mut left, mut right) = (Vec::new(), counted(theirs));
    for row in &ours.rows {
        match right.get_mut(row) {
            Some(count) if *count > 0 => {
                *count -= 1;
                comparison.equal += 1;
            }
            _ => left.push(row),
        }
    }
    let mut right: Vec<_> = right.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count)).collect();
    for row in left {
        let likest = (0..right.len()).max_by_key(|index| likeness(row, right[*index]));
        match likest {
            Some(index) => pair(&mut comparison, table, &ours.columns, row, right.swap_remove(index)),
            None => comparison.only_ours += 1,
        }
    }
    comparison.only_theirs = u64::try_from(right.len()).unwrap_or(u64::MAX);
    comparison
}

fn counted(rows: &Rows) -> BTreeMap<&Vec<Vec<u8>>, usize> {
    let mut counts = BTreeMap::new();
    for row in &rows.rows {
        *counts.entry(row).or_default() += 1;
    }
    counts
}

fn likeness(one: &[Vec<u8>], other: &[Vec<u8>]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one == other).map(|(one, _)| 1 + one.len()).sum()
}

fn pair(comparison: &mut Comparison, table: &str, columns: &[String], ours: &[Vec<u8>], theirs: &[Vec<u8>]) {
    for ((column, ours), theirs) in columns.iter().zip(ours).zip(theirs) {
        if ours == theirs {
            continue;
        }
        match known::explains(table, column, ours, theirs) {
            Some(known) => *comparison.known.entry(known).or_default() += 1,
            None => comparison.differences.push(Difference {
                column: column.clone(),
                ours: String::from_utf8_lossy(ours).into_owned(),
                theirs: String::from_utf8_lossy(theirs).into_owned(),
            }),
        }
    }
}

/// Columns in which a difference would not be noticed: each is corrupted in one row of a few, which must be found in that column alone.
pub(crate) fn blind(table: &str, rows: &Rows) -> Vec<String> {
    let few = Rows { columns: rows.columns.clone(), rows: rows.rows.iter().take(20).cloned().collect() };
    let noticed = |column: usize| {
        let mut corrupt = few.clone();
        if let Some(cell) = corrupt.rows.first_mut().and_then(|row| row.get_mut(column)) {
            cell.push(b'!');
        }
        let found = compare(table, &few, &corrupt).differences;
        matches!(found.as_slice(), [difference] if difference.column == few.columns[column])
    };
    (0..few.columns.len()).filter(|column| !noticed(*column)).map(|column| few.columns[column].clone()).collect()
}

/// Per column, how many values are not the type's default.
pub(crate) fn not_default(rows: &Rows) -> Vec<(String, u64)> {
    let is_default = |value: &[u8]| {
        matches!(value, b"" | b"0" | b"{}" | b"[]" | b"false" | b"\\N") || value.starts_with(b"1970-01-01 00:00:00")
    };
    let count =
        |index: usize| rows.rows.iter().filter(|row| row.get(index).is_some_and(|value| !is_default(value))).count();
    let counts = (0..rows.columns.len()).map(|index| u64::try_from(count(index)).unwrap_or(u64::MAX));
    rows.columns.iter().cloned().zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Rows {
        let row = |number: usize| (0..20).map(|column| format!("{number}-{column}").into_bytes()).collect();
        Rows { columns: (0..20).map(|column| format!("column{column}")).collect(), rows: (0..50).map(row).collect() }
    }

    #[test]
    fn order_does_not_matter() {
        let (ours, mut theirs) = (table(), table());
        theirs.rows.reverse();
        let comparison = compare("t", &ours, &theirs);
        assert!(comparison.agrees());
        assert_eq!(comparison.equal, 50);
    }

    #[test]
    fn corrupting_any_one_column_of_one_row_is_detected() {
        let ours = table();
        for column in 0..ours.columns.len() {
            let mut theirs = table();
            theirs.rows[7][column].push(b'!');
            let comparison = compare("t", &ours, &theirs);
            assert_eq!(comparison.differences.len(), 1);
            assert_eq!(comparison.differences[0].column, format!("column{column}"));
        }
    }

    #[test]
    fn no_column_is_blind_but_one_that_is_missing_is() {
        assert_eq!(blind("t", &table()), Vec::<String>::new());
        let mut short = table();
        short.columns.push("missing".to_owned());
        assert_eq!(blind("t", &short), ["missing"]);
    }

    #[test]
    fn a_lost_or_doubled_row_is_detected() {
        let (ours, mut theirs) = (table(), table());
        theirs.rows.pop();
        assert_eq!(compare("t", &ours, &theirs).only_ours, 1);
        theirs.rows.push(theirs.rows[0].clone());
        theirs.rows.push(theirs.rows[0].clone());
        assert!(!compare("t", &ours, &theirs).agrees());
    }

    #[test]
    fn defaults_are_told_from_values() {
        let rows = Rows::parse(b"a\tb\n\t1\nx\t0\n");
        assert_eq!(not_default(&rows), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    }
}
