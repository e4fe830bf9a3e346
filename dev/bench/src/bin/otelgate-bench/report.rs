//! The figures, a line a run and a table of medians.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::measure::Run;

/// A run in one line.
pub(crate) fn line(run: &Run) -> String {
    let differ = if run.void { "VOID" } else { "NOT ALL STORED" };
    let void = if run.void || run.stored != run.acknowledged {
        format!(" {differ}: {} acknowledged, {} stored", run.acknowledged, run.stored)
    } else {
        String::new()
    };
    format!(
        "{} {} {}: {} records, gateway {:.2}, ClickHouse {:.2} (inserts {:.2}, merges {:.2}; idle {:.2} not in it) CPU s a million, peaks {:.0} and {:.0} MiB, {} parts, p99 {:.0} ms{void}",
        run.gateway,
        run.signal,
        rate(run.rate),
        run.acknowledged,
        run.gateway_cpu_per_million,
        run.clickhouse_cpu_per_million,
        run.inserts_per_million,
        run.merges_per_million,
        run.clickhouse_idle_per_million,
        run.gateway_peak_mib,
        run.clickhouse_peak_mib,
        run.parts,
        latency(run, "p99"),
    )
}

/// Adds a run to the raw figures.
pub(crate) fn append(path: &Path, run: &Run) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(run)?)?;
    Ok(())
}

/// Prints the medians of the runs that are not void, as a Markdown table, and what they mean for other loads.
pub(crate) fn medians(runs: &[Run]) {
    let mut groups: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.void) {
        groups.entry((run.signal.as_str(), run.rate, run.gateway.as_str())).or_default().push(run);
    }
    println!(
        "\n| signal | rate | gateway | runs | records/s | gateway CPU s/M | ClickHouse CPU s/M | inserts | merges | peak MiB | ClickHouse's | p50 ms | p99 ms | parts | stored |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for ((signal, per_second, gateway), runs) in &groups {
        let median = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(|run| figure(run)).collect());
        println!(
            "| {signal} | {} | {gateway} | {} | {:.0} | {} | {} | {:.2} | {:.2} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.1} % |",
            rate(*per_second),
            runs.len(),
            median(&|run| run.load["records_per_second"].as_f64().unwrap_or(0.0)),
            spread(runs, |run| run.gateway_cpu_per_million),
            spread(runs, |run| run.clickhouse_cpu_per_million),
            median(&|run| run.inserts_per_million),
            median(&|run| run.merges_per_million),
            median(&|run| run.gateway_peak_mib),
            median(&|run| run.clickhouse_peak_mib),
            median(&|run| latency(run, "p50")),
            median(&|run| latency(run, "p99")),
            median(&|run| run.parts as f64),
            median(&|run| run.stored as f64 * 100.0 / run.acknowledged as f64),
        );
    }
    let void = runs.iter().filter(|run| run.void).count();
    println!("\n{void} of {} runs were void (rows stored differ from records acknowledged)", runs.len());
    cores(&groups);
}

/// Prints how many cores like these the loads of users need, by the CPU seconds of otelgate's runs at full rate.
fn cores(groups: &BTreeMap<(&str, u64, &str), Vec<&Run>>) {
    let full = groups.iter().filter(|((_, rate, gateway), _)| *rate == 0 && *gateway == "otelgate");
    for (number, ((signal, ..), runs)) in full.enumerate() {
        if number == 0 {
            println!("\n| cores for records a second | 10,000 | 100,000 | 1,000,000 | of these ClickHouse's |");
            println!("| --- | --- | --- | --- | --- |");
        }
        let gateway = median(runs.iter().map(|run| run.gateway_cpu_per_million).collect());
        let clickhouse = median(runs.iter().map(|run| run.clickhouse_cpu_per_million).collect());
        let both = gateway + clickhouse;
        let share = clickhouse * 100.0 / both;
        println!("| {signal} | {:.2} | {:.1} | {both:.0} | {share:.0} % |", both / 100.0, both / 10.0);
    }
}

/// The median of a figure, with the least and the most where there is more than one run.
fn spread(runs: &[&Run], figure: impl Fn(&Run) -> f64) -> String {
    let figures: Vec<f64> = runs.iter().map(|run| figure(run)).collect();
    let (least, most) =
        figures.iter().fold((f64::MAX, 0_f64), |(least, most), each| (least.min(*each), most.max(*each)));
    let middle = median(figures);
    if runs.len() == 1 { format!("{middle:.2}") } else { format!("{middle:.2} ({least:.2} to {most:.2})") }
}

fn latency(run: &Run, quantile: &str) -> f64 {
    run.load["latency_ms"][quantile].as_f64().unwrap_or(0.0)
}

fn rate(per_second: u64) -> String {
    if per_second == 0 { "full".to_owned() } else { per_second.to_string() }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
