//! What rows have in common, written for many of them at once.
//!
//! What the resource, the scope and the metric say is written for the first of their rows, and the rows after it are owed a copy. Rows without
//! events, links or exemplars are owed an empty list. A part's bytes count what is owed from the beginning, and it is written when something
//! else comes or somebody asks how far the columns reach.

use super::OpenPart;
use crate::sink::clickhouse::encode::table::{Group, gauge, span};

/// What rows are owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    groups: [Written; Group::COUNT],
    nested: [Empty; Nested::COUNT],
}

/// What the last row says of its resource, scope or metric.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    serial: u64,
    bytes: u64,
    /// How many rows after it are owed a copy, and what each adds to the part's bytes.
    copies: usize,
    copy_bytes: u64,
}

/// How many rows are owed an empty list, and what each adds to the part's bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Empty {
    rows: usize,
    row_bytes: u64,
}

/// Lists that most rows have nothing in.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Nested {
    Events,
    Links,
    Exemplars,
}

impl Nested {
    const COUNT: usize = 3;

    fn columns(self) -> &'static [usize] {
        match self {
            Nested::Events => &[span::EVENTS_TIMESTAMP, span::EVENTS_NAME, span::EVENTS_ATTRIBUTES],
            Nested::Links => {
                &[span::LINKS_TRACE_ID, span::LINKS_SPAN_ID, span::LINKS_TRACE_STATE, span::LINKS_ATTRIBUTES]
            }
            Nested::Exemplars => &[
                gauge::EXEMPLARS_ATTRIBUTES,
                gauge::EXEMPLARS_TIME,
                gauge::EXEMPLARS_VALUE,
                gauge::EXEMPLARS_SPAN_ID,
                gauge::EXEMPLARS_TRACE_ID,
            ],
        }
    }
}

impl OpenPart {
    /// Says that a group's columns are those of the row before, if that has the same resource, scope or metric; else `false`, and they are
    /// to be written.
    #[inline]
    pub(in super::super) fn repeat(&mut self, group: Group, serial: u64) -> bool {
        let written = &mut self.owed.groups[group as usize];
        if written.serial == serial {
            written.copies += 1;
            self.bytes += written.copy_bytes;
            return true;
        }
        self.settle_group(group);
        false
    }

    /// Notes that the group's columns were written, of which the part had `before` bytes then.
    pub(in super::super) fn written(&mut self, group: Group, serial: u64, before: u64) {
        let copy_bytes = self.kind.group(group).iter().map(|place| self.columns[*place].repeated() as u64).sum();
        self.owed.groups[group as usize] = Written { serial, bytes: self.bytes - before, copies: 0, copy_bytes };
    }

    /// How many bytes the groups with these serials add to a row, as far as it is known.
    #[inline]
    pub(in super::super) fn repeated_bytes(&self, serials: [u64; Group::COUNT]) -> u64 {
        let mut bytes = 0;
        for (written, serial) in self.owed.groups.iter().zip(serials) {
            if written.serial == serial {
                bytes += written.bytes;
            }
        }
        bytes
    }

    /// Ends the row's list of so many elements.
    #[inline]
    pub(in super::super) fn close_nested(&mut self, nested: Nested, elements: usize) {
        let empty = &mut self.owed.nested[nested as usize];
        if elements > 0 {
            self.settle_nested(nested);
            self.close(nested.columns(), elements);
            return;
        }
        if empty.rows == 0 {
            empty.row_bytes = nested.columns().iter().map(|place| self.columns[*place].empty_bytes() as u64).sum();
        }
        empty.rows += 1;
        self.bytes += empty.row_bytes;
    }

    /// Writes what rows are owed, so that every column reaches as far.
    pub(super) fn settle(&mut self) {
        for group in [Group::Resource, Group::Scope, Group::Metric] {
            self.settle_group(group);
        }
        for nested in [Nested::Events, Nested::Links, Nested::Exemplars] {
            self.settle_nested(nested);
        }
    }

    fn settle_group(&mut self, group: Group) {
        let copies = std::mem::take(&mut self.owed.groups[group as usize].copies);
        if copies > 0 {
            for place in self.kind.group(group) {
                self.columns[*place].repeat(copies);
            }
        }
    }

    fn settle_nested(&mut self, nested: Nested) {
        let rows = std::mem::take(&mut self.owed.nested[nested as usize].rows);
        if rows > 0 {
            for place in nested.columns() {
                self.columns[*place].close_empty(rows);
            }
        }
    }
}
