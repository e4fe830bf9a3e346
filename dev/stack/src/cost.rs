//! What a process has cost so far, from Linux's `/proc`: CPU seconds, peak memory, wake-ups.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// User and system time of a process and all its threads (fields 14 and 15 of `/proc/PID/stat`), in seconds. Linux
/// counts hundredths there.
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    let after_name = stat.rsplit_once(')').context("unexpected /proc/PID/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

/// The highest resident memory since the process started (VmHWM), in bytes.
///
/// # Errors
/// There is no such process.
pub fn peak_memory(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

/// From here on [`peak_memory`] is the highest since now.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn forget_peak_memory(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("the peak of process {pid} stays"))
}

/// The resident memory now (VmRSS), in bytes.
///
/// # Errors
/// There is no such process.
pub fn resident_memory(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// How often each thread went to sleep so far and so was woken up, or will be (voluntary_ctxt_switches), by its number and name.
///
/// # Errors
/// There is no such process.
pub fn wake_ups(pid: u32) -> Result<BTreeMap<String, u64>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is not there"))?;
    let mut all = BTreeMap::new();
    for thread in threads {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let (Some(id), Some(name), Some(count)) = (field("Pid:"), field("Name:"), field("voluntary_ctxt_switches:"))
        {
            all.insert(format!("{name} {id}"), count.parse()?);
        }
    }
    Ok(all)
}

fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let line = line.with_context(|| format!("no {field} in /proc/PID/status"))?;
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
    fn a_peak_can_be_forgotten() {
        let me = std::process::id();
        drop(std::hint::black_box(vec![1_u8; 256 << 20]));
        let before = peak_memory(me).unwrap();
        forget_peak_memory(me).unwrap();
        assert!(peak_memory(me).unwrap() < before);
    }

    #[test]
    fn reads_its_own_cost() {
        let me = std::process::id();
        assert!(cpu_seconds(me).unwrap() >= 0.0);
        assert!(peak_memory(me).unwrap() >= resident_memory(me).unwrap() / 2);
        assert!(cpu_seconds(u32::MAX).is_err() && wake_ups(u32::MAX).is_err());
        let sum = || wake_ups(me).unwrap().values().sum::<u64>();
        let before = sum();
        (0..3).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(1)));
        assert!(sum() >= before + 3);
    }
}
