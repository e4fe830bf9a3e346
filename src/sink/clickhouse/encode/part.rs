//! The open parts of a chunk: one set of columns for each table and day that its records touch.
//!
//! A row is begun, gets one value (or one list of values) in every column, and that is all: there is no end of a row. What most rows have in
//! common is written later (see `owed`). Invariant: cut to what was committed, a part is as it was before the request.

mod owed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::column::{Column, ColumnData, FixedKind, Mark, hex, seconds};
use super::days::Day;
use super::keep::AllBounds;
use super::key_values::KeyValues;
use super::map::Duplicates;
use super::plan::{TablePlan, ValueFormat};
use super::settings::EncoderSettings;
use super::table::TableKind;
use super::wire::Fault;
use crate::chunk::PartName;
use crate::otlp::steps;

pub(super) use owed::Nested;
use owed::Owed;

/// What a new part costs, in steps.
const NEW_PART: usize = 1000;

/// How many rows of a part are kept to find it by.
const WITNESSES: usize = 8;

/// What an idle buffer may hold on to, in bytes.
const KEEP: usize = 4 << 20;

/// The columns of one table and day.
#[derive(Debug)]
pub(super) struct OpenPart {
    kind: TableKind,
    name: PartName,
    day: Day,
    plan: Arc<TablePlan>,
    columns: Vec<Column>,
    rows: usize,
    bytes: u64,
    /// What `bytes` may grow to in this request.
    limit: u64,
    max_bytes: u64,
    owed: Owed,
    committed: Committed,
    rows_by_request: Vec<(u32, u32)>,
    candidate: Option<(u64, Vec<Mark>)>,
    witnesses: Vec<Vec<Mark>>,
}

#[derive(Debug, Default)]
struct Committed {
    rows: usize,
    bytes: u64,
    marks: Vec<Mark>,
}

impl OpenPart {
    pub(super) fn new(kind: TableKind, day: Day, settings: &EncoderSettings) -> OpenPart {
        let plan = settings.plans.get(kind);
        let columns: Vec<Column> = plan.formats().iter().map(|format| Column::new(format.as_ref())).collect();
        let marks = columns.iter().map(Column::mark).collect();
        OpenPart {
            kind,
            name: PartName { table: plan.table().clone(), partition: day.number },
            day,
            plan: plan.clone(),
            columns,
            rows: 0,
            bytes: 0,
            limit: u64::MAX,
            max_bytes: u64::MAX,
            owed: Owed::default(),
            committed: Committed { marks, ..Committed::default() },
            rows_by_request: Vec::new(),
            candidate: None,
            witnesses: Vec::new(),
        }
    }

    /// Begins a row. The row with the request's highest score is remembered as its witness.
    pub(super) fn begin(&mut self, score: u64, used: u64, max_bytes: u64) {
        self.max_bytes = max_bytes;
        self.limit = self.bytes.saturating_add(max_bytes.saturating_sub(used));
        self.rows += 1;
        if self.witnesses.len() < WITNESSES && self.candidate.as_ref().is_none_or(|best| best.0 < score) {
            self.settle();
            let mut marks = self.candidate.take().map_or_else(Vec::new, |best| best.1);
            marks.clear();
            marks.extend(self.columns.iter().map(Column::mark));
            self.candidate = Some((score, marks));
        }
    }

    pub(super) fn text(&mut self, place: usize, text: &[u8]) {
        self.bytes += self.columns[place].text(text) as u64;
    }

    /// An id in hex; nothing when it is absent or all zeros.
    pub(super) fn id<const N: usize>(&mut self, place: usize, id: Option<&[u8; N]>) {
        match id.filter(|id| **id != [0; N]) {
            Some(id) => self.text(place, hex(id).as_flattened()),
            None => self.text(place, &[]),
        }
    }

    /// An id in hex, zeros when it is absent.
    pub(super) fn full_id<const N: usize>(&mut self, place: usize, id: Option<&[u8; N]>) {
        self.text(place, hex(id.unwrap_or(&[0; N])).as_flattened());
    }

    pub(super) fn time(&mut self, place: usize, nanos: u64) {
        self.bytes += self.columns[place].time(nanos) as u64;
    }

    pub(super) fn integer(&mut self, place: usize, value: u64) {
        self.bytes += self.columns[place].integer(value) as u64;
    }

    /// Numbers that lie together.
    pub(super) fn integers(&mut self, place: usize, values: &[[u8; 8]]) {
        self.bytes += self.columns[place].integers(values) as u64;
    }

    pub(super) fn double(&mut self, place: usize, value: f64) {
        self.integer(place, value.to_bits());
    }

    /// Whether so many bytes more may be appended in this row. To be asked wherever a few bytes on the wire append many.
    pub(super) fn room_for(&self, bytes: usize) -> Result<(), Fault> {
        if self.bytes.saturating_add(bytes as u64) > self.limit {
            return Err(Fault::TooLarge("max_column_bytes", self.max_bytes));
        }
        Ok(())
    }

    /// A map; `depth` is that of the attributes' messages.
    pub(super) fn attributes(&mut self, place: usize, attributes: impl KeyValues, depth: u8) -> Result<(), Fault> {
        self.map(place, attributes, Duplicates::Kept, depth).map(drop)
    }

    /// A map; of equal keys the last counts when it says so. `false`, and nothing is written, when it is not clear which one counts.
    pub(super) fn map(
        &mut self,
        place: usize,
        attributes: impl KeyValues,
        duplicates: Duplicates,
        depth: u8,
    ) -> Result<bool, Fault> {
        self.room_for(0)?;
        let grown = self.columns[place].attributes(attributes, duplicates, depth, self.max_bytes)?;
        self.bytes += grown.unwrap_or(0) as u64;
        Ok(grown.is_some())
    }

    /// Ends the row's list of so many elements.
    pub(super) fn close(&mut self, places: &[usize], elements: usize) {
        for place in places {
            self.bytes += self.columns[*place].close(elements) as u64;
        }
    }

    /// Whether the request has rows here that are not committed yet.
    pub(super) fn touched(&self) -> bool {
        self.rows > self.committed.rows
    }

    fn commit(&mut self, request: u32) {
        if !self.touched() {
            return;
        }
        self.settle();
        let rows = self.rows - self.committed.rows;
        // Bounded by Growth's max_records.
        self.rows_by_request.push((request, u32::try_from(rows).unwrap_or(u32::MAX)));
        self.committed.rows = self.rows;
        self.committed.bytes = self.bytes;
        self.committed.marks.clear();
        self.committed.marks.extend(self.columns.iter().map(Column::mark));
        self.witnesses.extend(self.candidate.take().map(|best| best.1));
    }

    fn roll_back(&mut self) {
        if !self.touched() {
            return;
        }
        for (column, mark) in self.columns.iter_mut().zip(&self.committed.marks) {
            column.truncate(*mark);
        }
        self.rows = self.committed.rows;
        self.bytes = self.committed.bytes;
        self.owed = Owed::default();
        self.candidate = None;
    }

    /// Empties the part. At once, not when it is used again: that may be never, and what one request needed would stay with it.
    fn empty(&mut self) {
        for column in &mut self.columns {
            column.clear(KEEP);
        }
        self.rows = 0;
        self.bytes = 0;
        self.owed = Owed::default();
        self.candidate = None;
        self.witnesses = Vec::new();
        self.rows_by_request.clear();
        self.rows_by_request.shrink_to(KEEP / size_of::<(u32, u32)>());
        self.committed.rows = 0;
        self.committed.bytes = 0;
        self.committed.marks.clear();
        self.committed.marks.extend(self.columns.iter().map(Column::mark));
    }

    /// Gives an empty part another day.
    fn reuse(&mut self, day: Day) {
        self.name.partition = day.number;
        self.day = day;
    }

    pub(super) fn kind(&self) -> TableKind {
        self.kind
    }

    pub(super) fn name(&self) -> &PartName {
        &self.name
    }

    pub(super) fn plan(&self) -> &TablePlan {
        &self.plan
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows and bytes that are committed.
    pub(super) fn committed(&self) -> (usize, u64) {
        (self.committed.rows, self.committed.bytes)
    }

    pub(super) fn rows_by_request(&self) -> &[(u32, u32)] {
        &self.rows_by_request
    }

    pub(super) fn witnesses(&self) -> &[Vec<Mark>] {
        &self.witnesses
    }
}

/// All open parts of a chunk.
#[derive(Debug)]
pub(super) struct OpenParts {
    pub(super) settings: Arc<EncoderSettings>,
    /// What the tables keep, as of the request that is being encoded.
    pub(super) bounds: AllBounds,
    pub(super) open: Vec<OpenPart>,
    /// Emptied parts, for their buffers.
    spare: Vec<OpenPart>,
    /// The part of each table that got the last row.
    last: [usize; TableKind::ALL.len()],
    /// The parts of each table in the order of their days, by their places in `open`.
    by_day: [Vec<usize>; TableKind::ALL.len()],
}

impl OpenParts {
    pub(super) fn new(settings: Arc<EncoderSettings>) -> OpenParts {
        let last = [usize::MAX; TableKind::ALL.len()];
        let bounds = settings.keeps.bounds(&settings.plans);
        OpenParts { settings, bounds, open: Vec::new(), spare: Vec::new(), last, by_day: Default::default() }
    }

    /// A request begins: it goes by what the tables keep now.
    pub(super) fn follow_clock(&mut self) {
        if self.bounds.are_over() {
            self.bounds = self.settings.keeps.bounds(&self.settings.plans);
        }
    }

    /// The place in `open` of the part that a row with this time belongs to.
    pub(super) fn find(&mut self, kind: TableKind, nanos: u64) -> usize {
        let last = self.last[kind.index()];
        if let Some(part) = self.open.get(last)
            && part.kind == kind
            && part.day.contains(part.kept(nanos))
        {
            return last;
        }
        let place = self.find_slowly(kind, nanos);
        self.last[kind.index()] = place;
        place
    }

    #[cold]
    fn find_slowly(&mut self, kind: TableKind, nanos: u64) -> usize {
        let begun = |place: &usize| {
            steps::count(1);
            self.open.get(*place).is_some_and(|part| part.day.has_begun(part.kept(nanos)))
        };
        let after = self.by_day[kind.index()].partition_point(begun);
        let last_begun = after.checked_sub(1).and_then(|at| self.by_day[kind.index()].get(at)).copied();
        if let Some(place) = last_begun
            && self.open.get(place).is_some_and(|part| part.day.contains(part.kept(nanos)))
        {
            return place;
        }
        steps::count(NEW_PART);
        let plan = self.settings.plans.get(kind);
        let nanos = match plan.time_format() {
            Some(ValueFormat::Seconds { .. }) => kept(FixedKind::Seconds, nanos),
            Some(ValueFormat::Ticks { nanos: tick, .. }) => kept(FixedKind::Ticks(*tick), nanos),
            _ => nanos.cast_signed(),
        };
        let day = Day::of(nanos, plan.time_zone().unwrap_or(&self.settings.zone));
        let part = match self.spare.iter().position(|part| part.kind == kind) {
            Some(at) => {
                let mut part = self.spare.swap_remove(at);
                part.reuse(day);
                part
            }
            None => OpenPart::new(kind, day, &self.settings),
        };
        self.by_day[kind.index()].insert(after, self.open.len());
        self.open.push(part);
        self.open.len() - 1
    }

    pub(super) fn commit(&mut self, request: u32) {
        for part in &mut self.open {
            part.commit(request);
        }
    }

    pub(super) fn roll_back(&mut self) {
        for part in &mut self.open {
            part.roll_back();
        }
        while let Some(part) = self.open.pop_if(|part| part.rows == 0) {
            self.keep(part);
        }
        let left = self.open.len();
        self.by_day.iter_mut().for_each(|places| places.retain(|place| *place < left));
    }

    /// Keeps a sealed part's buffers, of one part a table.
    pub(super) fn keep(&mut self, mut part: OpenPart) {
        if self.spare.iter().all(|spare| spare.kind != part.kind) {
            part.empty();
            self.spare.push(part);
        }
    }

    /// Forgets which parts got the last rows; after all were taken out.
    pub(super) fn forget(&mut self) {
        self.last = [usize::MAX; TableKind::ALL.len()];
        self.by_day.iter_mut().for_each(Vec::clear);
    }
}

impl OpenPart {
    /// A time as the part's table keeps it.
    fn kept(&self, nanos: u64) -> i64 {
        match &self.columns[self.kind.time_column()].data {
            ColumnData::Fixed(fixed) => kept(fixed.kind, nanos),
            _ => nanos.cast_signed(),
        }
    }
}

/// A time as a column of this kind keeps it, in nanoseconds again.
fn kept(kind: FixedKind, nanos: u64) -> i64 {
    match kind {
        FixedKind::Seconds => i64::from(seconds(nanos)) * 1_000_000_000,
        FixedKind::Ticks(1) => nanos.cast_signed(),
        FixedKind::Ticks(tick) => nanos.cast_signed() / tick * tick,
        _ => nanos.cast_signed(),
    }
}
