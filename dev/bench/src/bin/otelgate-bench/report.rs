//! The figures, a line a run and a table of medians.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::measure::Run;

/// A run in one line.
pub(crate) fn line(run: &Run) -> String {
    let void = if run.void {
        format!(" VOID: {} acknowledged, {} stored", run.acknowledged, run.stored)
    } else {
        String::new()
    };
    format!(
        "{} {} {}: {} records, gateway {:.2}, ClickHouse {:.2} CPU s a million, peak {:.0} MiB, {} parts, p99 {:.0} ms{void}",
        run.gateway,
        run.signal,
        rate(run.rate),
        run.acknowledged,
        run.gateway_cpu_per_million,
        run.clickhouse_cpu_per_million,
        run.gateway_peak_mib,
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

/// Prints the medians of the runs that are not void, as a Markdown table.
pub(crate) fn medians(runs: &[Run]) {
    let mut groups: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs.iter().filter(|run| !run.void) {
        groups.entry((run.signal.as_str(), run.rate, run.gateway)).or_default().push(run);
    }
    println!(
        "\n| signal | rate | gateway | runs | records/s | gateway CPU s/M | ClickHouse CPU s/M | peak MiB | p50 ms | p99 ms | parts |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for ((signal, per_second, gateway), runs) in &groups {
        let median = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(|run| figure(run)).collect());
        println!(
            "| {signal} | {} | {gateway} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.1} | {:.1} | {:.0} |",
            rate(*per_second),
            runs.len(),
            median(&|run| run.load["records_per_second"].as_f64().unwrap_or(0.0)),
            median(&|run| run.gateway_cpu_per_million),
            median(&|run| run.clickhouse_cpu_per_million),
            median(&|run| run.gateway_peak_mib),
            median(&|run| latency(run, "p50")),
            median(&|run| latency(run, "p99")),
            median(&|run| run.parts as f64),
        );
    }
    let void = runs.iter().filter(|run| run.void).count();
    println!("\n{void} of {} runs were void (rows stored differ from records acknowledged)", runs.len());
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
