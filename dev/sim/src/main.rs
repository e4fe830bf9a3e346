//! Gateways and shards on paper: what docs/scale.md claims, run as a simulation of otelgate's rules with measured costs. Prints the table that stands there.
//!
//! No clock and no chance: two runs print the same, and a test compares the print with the documentation.

mod cluster;
mod shard;

use std::fmt::Write as _;
use std::io::Write as _;

use cluster::{KEPT_BYTES, Plan, Run, Trouble, run};

/// Seconds that each run lasts.
const LASTS: f64 = 600.0;
/// CPU seconds of a gateway for a million logs (benches/README.md), and the part of its cores that is used at the most: the rest is for peaks and a lost neighbour.
const GATEWAY_CPU: f64 = 1.11;
const GATEWAY_USED: f64 = 0.4;
/// The same of ClickHouse with its merges.
const CLICKHOUSE_CPU: f64 = 10.9;
const CLICKHOUSE_USED: f64 = 0.5;
/// Bytes of a record as it comes, uncompressed.
const BYTES: f64 = 650.0;
/// The most cores of a shard and of a gateway, and the fewest.
const SHARD_CORES: f64 = 32.0;
const GATEWAY_CORES: f64 = 4.0;
const FEWEST: f64 = 2.0;
/// Replicas of each shard, each of which merges for itself.
const REPLICAS: f64 = 2.0;
/// An assumed price: US dollars for a core and its memory, an hour, and hours of a month.
const PRICE: f64 = 0.04 * 730.0;

/// Machines for so many records a second: cores by CPU seconds, one gateway more than needed, `max_age` by the rule.
fn plan(rate: f64) -> Plan {
    let cores = |cpu: f64, used: f64| rate / 1e6 * cpu / used;
    let of_shards = cores(CLICKHOUSE_CPU, CLICKHOUSE_USED);
    let shards = (of_shards / SHARD_CORES).ceil() as usize;
    let gateways = (cores(GATEWAY_CPU, GATEWAY_USED) / GATEWAY_CORES).ceil() as usize + 1;
    // Powers of two, as machines are.
    let each = 2.0_f64.powf((of_shards / shards as f64).log2().ceil()).clamp(FEWEST, SHARD_CORES);
    Plan { rate, gateways, shards, cores: each, max_age: max_age(gateways, shards) }
}

/// Of one gateway.
fn gateway_cores(plan: &Plan) -> f64 {
    if plan.rate > 1e5 { GATEWAY_CORES } else { FEWEST }
}

/// The rule: so many inserts a second into a table of a shard by age, from all gateways together; never less than the default.
fn max_age(gateways: usize, shards: usize) -> f64 {
    (gateways as f64 / shards as f64 / 4.0).ceil().max(5.0)
}

fn table() -> String {
    let mut text = String::from(
        "| records/s | gateways × cores | shards × cores | max_age | in, Gbit/s | to ClickHouse, Gbit/s | inserts/s a table and shard | rows an insert | most parts to merge | inserts, merges of the cores | fullest spool | the same, a gateway lost for 60 s | a shard away for 60 s | cores, two replicas a shard | USD a month |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rate in [1e4, 1e5, 1e6, 1e7, 1e8] {
        let plan = plan(rate);
        let well = run(&plan, Trouble::default(), LASTS);
        let lost = run(&plan, Trouble { gateway: 60.0, ..Trouble::default() }, LASTS);
        let away = run(&plan, Trouble { shard: 60.0, ..Trouble::default() }, LASTS);
        let gbit = |bytes: f64| rate * bytes * 8.0 / 1e9;
        let (gateway, all) = (gateway_cores(&plan), plan.shards as f64 * plan.cores * REPLICAS);
        let all = all + plan.gateways as f64 * gateway;
        let Plan { gateways, shards, cores, max_age, .. } = plan;
        let _ = write!(text, "| {} | {gateways} × {gateway} | {shards} × {cores} | {max_age} s | ", number(rate));
        let _ = write!(text, "{:.2} | {:.2} | ", gbit(BYTES), gbit(KEPT_BYTES));
        let _ = write!(text, "{:.2} | {} | {} | ", well.inserts, number(well.rows_each), well.most_parts);
        let _ = write!(text, "{:.0} %, {:.0} % | ", well.insert_share * 100.0, well.merge_share * 100.0);
        let _ = write!(text, "{} | {}, {} parts | ", size(well.most_spool), size(lost.most_spool), lost.most_parts);
        let _ = write!(text, "{}, {} parts | ", size(away.most_spool), away.most_parts);
        let _ = writeln!(text, "{} | {} |", number(all), number(all * PRICE));
    }
    text
}

/// Many small gateways at a million records a second.
fn rule() -> String {
    let mut text = String::from(
        "| 1,000,000 records/s, 1 shard | max_age | inserts/s a table and shard | rows an insert | most parts to merge | inserts of the cores |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (what, plan) in sidecars() {
        let Run { inserts, rows_each, most_parts, insert_share, .. } = run(&plan, Trouble::default(), LASTS);
        let _ = writeln!(
            text,
            "| {what} | {} s | {inserts:.2} | {} | {most_parts} | {:.0} % |",
            plan.max_age,
            number(rows_each),
            insert_share * 100.0
        );
    }
    text
}

fn sidecars() -> [(&'static str, Plan); 3] {
    let edge = plan(1e6);
    let all = Plan { gateways: 1000, ..edge };
    [
        ("1000 sidecars that insert, the default age", Plan { max_age: 5.0, ..all }),
        ("1000 sidecars that insert, the age by the rule", Plan { max_age: max_age(1000, edge.shards), ..all }),
        ("1000 sidecars that forward to the edge's gateways", edge),
    ]
}

fn number(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn size(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

fn main() -> std::io::Result<()> {
    write!(std::io::stdout(), "{}\n{}", table(), rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ClickHouse slows inserts into a partition of so many parts (`parts_to_delay_insert`).
    const TOO_MANY_PARTS: usize = 1000;
    /// `spool.max_bytes`.
    const SPOOL: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;

    #[test]
    fn limits_hold_and_nothing_is_missing_when_a_gateway_or_a_shard_is_lost() {
        for rate in [1e4, 1e5, 1e6, 1e7, 1e8] {
            let plan = plan(rate);
            for trouble in [(0.0, 0.0), (60.0, 0.0), (0.0, 60.0)] {
                let run = run(&plan, Trouble { gateway: trouble.0, shard: trouble.1 }, LASTS);
                assert!(run.missing < 1.0, "{plan:?} {trouble:?}: {run:?}");
                assert!(run.most_parts < TOO_MANY_PARTS / 4, "{plan:?} {trouble:?}: {run:?}");
                assert!(run.most_spool < SPOOL, "{plan:?} {trouble:?}: {run:?}");
                assert!(run.insert_share + run.merge_share < 0.95, "{plan:?} {trouble:?}: {run:?}");
                assert!(run.behind < 3.0 * plan.max_age, "what waited is delivered: {plan:?} {trouble:?}: {run:?}");
            }
        }
    }

    #[test]
    fn too_few_shards_are_seen() {
        let plan = Plan { shards: 1, ..plan(1e7) };
        let run = run(&plan, Trouble::default(), LASTS);
        assert!(run.behind > 60.0, "{run:?}");
        assert!(run.rows_each > 90_000.0, "batches grow while nothing gets through: {run:?}");
    }

    #[test]
    fn many_gateways_make_few_inserts_by_age_or_by_an_edge() {
        let [by_default, by_rule, by_edge] = sidecars().map(|(_, plan)| run(&plan, Trouble::default(), LASTS));
        assert!(by_default.insert_share > 2.0 * by_rule.insert_share, "{by_default:?} {by_rule:?}");
        for good in [by_rule, by_edge] {
            assert!(good.inserts < 5.0 && good.rows_each > 60_000.0, "{good:?}");
        }
    }

    /// `cargo run -p sim` prints what stands there.
    #[test]
    fn the_documentation_has_what_a_run_prints() {
        let documentation = include_str!("../../../docs/scale.md");
        for printed in [table(), rule()] {
            assert!(documentation.contains(&printed), "docs/scale.md lacks:\n{printed}");
        }
    }
}
