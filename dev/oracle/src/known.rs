//! Differences in which the collector is plainly wrong, each known by an exact predicate; their reasons are in
//! `docs/decisions/`. A predicate says what the other side may hold, not merely that the two may differ.

/// A known difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {}

/// The known difference that explains why a column of a row differs.
pub(crate) fn explains(_table: &str, _column: &str, _ours: &[u8], _theirs: &[u8]) -> Option<Known> {
    None
}
