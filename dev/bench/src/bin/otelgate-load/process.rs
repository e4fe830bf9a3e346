//! What other processes spent while the load ran: CPU seconds and peak memory, as its own kernel counts it.

use anyhow::Result;
use serde::Serialize;
use stack::cost::{cpu_seconds, peak_memory};

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
