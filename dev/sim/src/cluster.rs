//! Gateways before shards, by otelgate's own rules: a batch is sealed when it is full, or when it is old and its lane has nothing to deliver; a table has a
//! few inserts at a time; shards take turns, and one that is away gets nothing new.

use std::collections::VecDeque;

use crate::shard::{Insert, Shard, TABLES};

/// Seconds of one step.
const STEP: f64 = 0.1;
/// `batch.max_rows`.
const FULL: f64 = 200_000.0;
/// Compressed bytes of a record in the spool: 650 bytes a span, which LZ4 makes 4.5 times smaller.
pub(crate) const KEPT_BYTES: f64 = 145.0;

/// What is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Records a second, all together.
    pub(crate) rate: f64,
    pub(crate) gateways: usize,
    pub(crate) shards: usize,
    /// Of each shard.
    pub(crate) cores: f64,
    /// `batch.max_age`, in seconds.
    pub(crate) max_age: f64,
}

impl Plan {
    /// `sink.clickhouse.inserts_per_table`.
    fn at_once(&self) -> usize {
        (self.cores as usize).clamp(2, 4)
    }
}

/// What goes wrong, from a third of the time on, and for how many seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// A gateway; its disk comes back.
    pub(crate) gateway: f64,
    /// A shard.
    pub(crate) shard: f64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Inserts a second into one table of one shard.
    pub(crate) inserts: f64,
    pub(crate) rows_each: f64,
    /// The most parts of a table on a shard that are small enough to be merged.
    pub(crate) most_parts: usize,
    /// What inserts and merges take of a shard's cores.
    pub(crate) insert_share: f64,
    pub(crate) merge_share: f64,
    /// Bytes in the fullest spool.
    pub(crate) most_spool: f64,
    /// Seconds of work in the spools when the time is over.
    #[cfg_attr(not(test), allow(dead_code, reason = "what tests hold a run to"))]
    pub(crate) behind: f64,
    /// Records that came and are neither stored nor in a spool.
    #[cfg_attr(not(test), allow(dead_code, reason = "what tests hold a run to"))]
    pub(crate) missing: f64,
}

#[derive(Default, Clone)]
struct Lane {
    open: f64,
    age: f64,
    sealed: VecDeque<f64>,
    under_way: usize,
    under_way_rows: f64,
}

impl Lane {
    fn rows(&self) -> f64 {
        self.open + self.sealed.iter().sum::<f64>() + self.under_way_rows
    }
}

/// Runs for so many seconds.
pub(crate) fn run(plan: &Plan, trouble: Trouble, seconds: f64) -> Run {
    let mut gateways = vec![vec![Lane::default(); TABLES]; plan.gateways];
    // Gateways do not start at the same moment, nor do their batches.
    for (number, lanes) in gateways.iter_mut().enumerate() {
        lanes.iter_mut().for_each(|lane| lane.age = plan.max_age * number as f64 / plan.gateways as f64);
    }
    let mut shards: Vec<Shard> = (0..plan.shards).map(|_| Shard::default()).collect();
    let (mut came, mut turn, mut most_spool) = (0.0, 0, 0.0_f64);
    let begins = seconds / 3.0;
    for step in 0..(seconds / STEP) as usize {
        let now = step as f64 * STEP;
        let during = |length: f64| now >= begins && now < begins + length;
        let lost = during(trouble.gateway).then_some(0);
        shards[0].away = during(trouble.shard);
        let there = || (0..plan.gateways).filter(|number| Some(*number) != lost);
        let shares: f64 = there().map(share).sum();
        for (number, lanes) in gateways.iter_mut().enumerate().filter(|(number, _)| Some(*number) != lost) {
            for (table, lane) in lanes.iter_mut().enumerate() {
                let rows = plan.rate / TABLES as f64 * share(number) / shares * STEP;
                came += rows;
                lane.take(rows, plan.max_age);
                while lane.under_way < plan.at_once() {
                    let Some(shard) = next(&shards, &mut turn) else { break };
                    let Some(rows) = lane.sealed.pop_front() else { break };
                    lane.under_way += 1;
                    lane.under_way_rows += rows;
                    shards[shard].inserts.push(Insert::new(number, table, rows));
                }
            }
            most_spool = most_spool.max(lanes.iter().map(Lane::rows).sum::<f64>() * KEPT_BYTES);
        }
        for shard in &mut shards {
            for Insert { gateway, table, rows, .. } in shard.work(plan.cores, STEP) {
                let lane = &mut gateways[gateway][table];
                lane.under_way -= 1;
                lane.under_way_rows -= rows;
            }
        }
    }
    summary(plan, seconds, &shards, came, gateways.iter().flatten().map(Lane::rows).sum(), most_spool)
}

/// Gateways get more or less of what comes, up to a fifth of it.
fn share(gateway: usize) -> f64 {
    0.8 + 0.4 * (gateway as f64 * 0.618).fract()
}

impl Lane {
    fn take(&mut self, rows: f64, max_age: f64) {
        self.open += rows;
        self.age += STEP;
        while self.open >= FULL {
            self.sealed.push_back(FULL);
            (self.open, self.age) = (self.open - FULL, 0.0);
        }
        let idle = self.under_way == 0 && self.sealed.is_empty();
        if self.open > 0.0 && self.age >= max_age && idle {
            self.sealed.push_back(std::mem::take(&mut self.open));
            self.age = 0.0;
        }
    }
}

/// The shard whose turn it is, of those that are there.
fn next(shards: &[Shard], turn: &mut usize) -> Option<usize> {
    *turn += 1;
    (0..shards.len()).map(|more| (*turn + more) % shards.len()).find(|shard| !shards[*shard].away)
}

fn summary(plan: &Plan, seconds: f64, shards: &[Shard], came: f64, kept: f64, most_spool: f64) -> Run {
    let sum = |of: fn(&Shard) -> f64| shards.iter().map(of).sum::<f64>();
    let (finished, rows) = (sum(|shard| shard.finished as f64), sum(|shard| shard.rows));
    let all_cores = plan.shards as f64 * plan.cores * seconds;
    Run {
        inserts: finished / seconds / (plan.shards * TABLES) as f64,
        rows_each: rows / finished.max(1.0),
        most_parts: shards.iter().map(|shard| shard.most_parts).max().unwrap_or(0),
        insert_share: sum(|shard| shard.insert_cpu) / all_cores,
        merge_share: sum(|shard| shard.merge_cpu) / all_cores,
        most_spool,
        behind: kept / plan.rate,
        missing: (came - rows - kept).abs(),
    }
}
