//! What other processes spent while the load ran: CPU seconds and peak memory, from `/proc`.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// A process given as `NAME=PID`.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    name: String,
    pid: u32,
}

/// Reads `NAME=PID`.
pub(crate) fn parse(text: &str) -> Result<Named, String> {
    let (name, pid) = text.split_once('=').ok_or("write it as NAME=PID")?;
    let pid = pid.parse().map_err(|_| format!("{pid:?} is not a process id"))?;
    Ok(Named { name: name.to_owned(), pid })
}

/// What one process spent during the run.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    /// The highest resident memory since the process started (VmHWM).
    pub(crate) peak_memory_bytes: u64,
}

/// CPU seconds of each process so far.
pub(crate) fn read_all(processes: &[Named]) -> Result<Vec<f64>> {
    processes.iter().map(|process| cpu_seconds(process.pid)).collect()
}

/// What each process spent since `before`.
pub(crate) fn difference(processes: &[Named], before: &[f64]) -> Result<Vec<Cost>> {
    processes
        .iter()
        .zip(before)
        .map(|(process, before)| {
            Ok(Cost {
                name: process.name.clone(),
                cpu_seconds: cpu_seconds(process.pid)? - before,
                peak_memory_bytes: peak_memory(process.pid)?,
            })
        })
        .collect()
}

/// User and system time (fields 14 and 15 of `/proc/PID/stat`), in seconds; Linux counts in hundredths there.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    let after_name = stat.rsplit_once(')').context("unexpected /proc/PID/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

fn peak_memory(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/PID/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .with_context(|| format!("process {pid} cannot be read; is it running?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_cost() {
        let me = parse(&format!("me={}", std::process::id())).unwrap();
        let before = read_all(std::slice::from_ref(&me)).unwrap();
        let cost = difference(&[me], &before).unwrap();
        assert!(cost[0].cpu_seconds >= 0.0);
        assert!(cost[0].peak_memory_bytes > 100_000);
    }
}
