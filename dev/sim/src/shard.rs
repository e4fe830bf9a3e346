//! A ClickHouse shard: inserts and merges share its cores, half and half.
//!
//! Its costs are measured ones (benches/README.md and docs/scale.md say where), its way of merging is the usual one made simple: parts of about one size
//! are merged when there are several, and each row is merged a few times until its part is large.

use std::collections::VecDeque;

/// Tables of this model: traces, logs, metrics.
pub(crate) const TABLES: usize = 3;
/// CPU seconds of an insert, however few its rows, and of each row: a line through what inserts of 10,000 and of 100,000 logs cost.
const INSERT: (f64, f64) = (0.153, 4.7e-6);
/// CPU seconds of a row in one merge; a row is merged about four times.
const MERGE_ROW: f64 = 2.5e-6;
/// So many parts of a level are merged into one of the next.
const MERGED_AT_ONCE: usize = 8;
/// Parts of this level are large enough to be left alone.
const LARGE: usize = 4;

/// An insert that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insert {
    /// Whose it is.
    pub(crate) gateway: usize,
    pub(crate) table: usize,
    pub(crate) rows: f64,
    /// CPU seconds that it still takes.
    left: f64,
}

impl Insert {
    pub(crate) fn new(gateway: usize, table: usize, rows: f64) -> Insert {
        Insert { gateway, table, rows, left: INSERT.0 + rows * INSERT.1 }
    }
}

struct Merge {
    table: usize,
    level: usize,
    rows: f64,
    left: f64,
}

/// One shard.
#[derive(Default)]
pub(crate) struct Shard {
    /// Nothing goes on meanwhile.
    pub(crate) away: bool,
    pub(crate) inserts: Vec<Insert>,
    merges: VecDeque<Merge>,
    /// Rows of each part that is in no merge, by table and level.
    parts: [[Vec<f64>; LARGE + 1]; TABLES],
    /// In parts that are being merged.
    merging: [usize; TABLES],
    /// The most parts that a table had.
    pub(crate) most_parts: usize,
    /// Inserts and rows that were finished, and CPU seconds of both kinds.
    pub(crate) finished: u64,
    pub(crate) rows: f64,
    pub(crate) insert_cpu: f64,
    pub(crate) merge_cpu: f64,
}

impl Shard {
    /// Works for `step` seconds on `cores`; what was inserted.
    pub(crate) fn work(&mut self, cores: f64, step: f64) -> Vec<Insert> {
        if self.away {
            return Vec::new();
        }
        let each = step * (cores / 2.0 / self.inserts.len().max(1) as f64).min(1.0);
        for insert in &mut self.inserts {
            insert.left -= each;
        }
        self.insert_cpu += each * self.inserts.len() as f64;
        let (done, on): (Vec<Insert>, Vec<Insert>) = self.inserts.drain(..).partition(|insert| insert.left <= 0.0);
        self.inserts = on;
        for insert in &done {
            self.parts[insert.table][0].push(insert.rows);
            (self.finished, self.rows) = (self.finished + 1, self.rows + insert.rows);
        }
        self.merge(cores / 2.0 * step, step);
        done
    }

    /// Each merge has one core at the most; the small ones, which are many, go first.
    fn merge(&mut self, mut budget: f64, step: f64) {
        for table in 0..TABLES {
            for level in 0..LARGE {
                while self.parts[table][level].len() >= MERGED_AT_ONCE {
                    let rows = self.parts[table][level].drain(..MERGED_AT_ONCE).sum();
                    self.merging[table] += MERGED_AT_ONCE;
                    let merge = Merge { table, level, rows, left: rows * MERGE_ROW };
                    let place = self.merges.iter().position(|other| other.level > level);
                    self.merges.insert(place.unwrap_or(self.merges.len()), merge);
                }
            }
        }
        for merge in &mut self.merges {
            let part = budget.min(step).min(merge.left);
            merge.left -= part;
            budget -= part;
            self.merge_cpu += part;
        }
        let (done, on): (Vec<Merge>, Vec<Merge>) = self.merges.drain(..).partition(|merge| merge.left <= 0.0);
        self.merges = on.into();
        for Merge { table, level, rows, .. } in done {
            self.merging[table] -= MERGED_AT_ONCE;
            self.parts[table][level + 1].push(rows);
        }
        for table in 0..TABLES {
            let small = self.parts[table][..LARGE].iter().map(Vec::len).sum::<usize>();
            self.most_parts = self.most_parts.max(small + self.merging[table]);
        }
    }
}
