//! The report: a table for people, JSON for scripts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::Args;
use crate::drive::Outcome;
use crate::process::Cost;

#[derive(Serialize)]
struct Report<'a> {
    endpoint: String,
    protocol: String,
    signal: String,
    compression: String,
    connections: usize,
    in_flight: usize,
    records_per_request: usize,
    rate: Option<f64>,
    elapsed_seconds: f64,
    requests: u64,
    records_accepted: u64,
    records_rejected: u64,
    refused: &'a BTreeMap<String, u64>,
    records_per_second: f64,
    megabytes_per_second: f64,
    latency_ms: BTreeMap<&'static str, f64>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(flatten)]
    cost: &'a Cost,
    cpu_seconds_per_million_records: Option<f64>,
}

/// Prints the table, and writes the JSON where it was asked for.
pub(crate) fn print(args: &Args, outcome: &Outcome, costs: &[Cost]) -> Result<()> {
    let report = report(args, outcome, costs);
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => println!("{}", serde_json::to_string_pretty(&report)?),
        Some(path) => {
            fs::write(path, serde_json::to_string_pretty(&report)?)?;
            table(&report);
        }
        None => table(&report),
    }
    Ok(())
}

fn report<'a>(args: &Args, outcome: &'a Outcome, costs: &'a [Cost]) -> Report<'a> {
    let seconds = outcome.elapsed.as_secs_f64();
    let per_million = |cost: &Cost| (outcome.records > 0).then(|| cost.cpu_seconds * 1e6 / outcome.records as f64);
    let quantile = |q| outcome.latency.value_at_quantile(q) as f64 / 1000.0;
    Report {
        endpoint: args.endpoint.to_string(),
        protocol: format!("{:?}", args.protocol),
        signal: format!("{:?}", args.signal),
        compression: format!("{:?}", args.compression),
        connections: args.connections,
        in_flight: args.in_flight,
        records_per_request: args.records,
        rate: args.rate,
        elapsed_seconds: seconds,
        requests: outcome.requests,
        records_accepted: outcome.records,
        records_rejected: outcome.rejected,
        refused: &outcome.refused,
        records_per_second: outcome.records as f64 / seconds,
        megabytes_per_second: outcome.bytes as f64 / 1e6 / seconds,
        latency_ms: BTreeMap::from([
            ("p50", quantile(0.5)),
            ("p90", quantile(0.9)),
            ("p99", quantile(0.99)),
            ("p99.9", quantile(0.999)),
            ("max", outcome.latency.max() as f64 / 1000.0),
        ]),
        processes: costs
            .iter()
            .map(|cost| Process { cost, cpu_seconds_per_million_records: per_million(cost) })
            .collect(),
    }
}

fn table(report: &Report<'_>) {
    println!(
        "{} {} to {}, compression {}, {} connections x {} in flight, {} records a request",
        report.protocol,
        report.signal,
        report.endpoint,
        report.compression,
        report.connections,
        report.in_flight,
        report.records_per_request
    );
    println!(
        "accepted  {} records in {:.1} s: {:.0} records/s, {:.1} MB/s (uncompressed)",
        report.records_accepted, report.elapsed_seconds, report.records_per_second, report.megabytes_per_second
    );
    let latency = &report.latency_ms;
    println!(
        "latency   p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        latency["p50"], latency["p90"], latency["p99"], latency["p99.9"], latency["max"]
    );
    if report.records_rejected > 0 {
        println!("rejected  {} records, by partial_success", report.records_rejected);
    }
    for (status, count) in report.refused {
        println!("refused   {count} requests: {status}");
    }
    for process in &report.processes {
        let per_million =
            process.cpu_seconds_per_million_records.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2}"));
        println!(
            "{:<9} {:.2} CPU s, {per_million} CPU s a million records, peak memory {} MiB",
            process.cost.name,
            process.cost.cpu_seconds,
            process.cost.peak_memory_bytes >> 20
        );
    }
}
