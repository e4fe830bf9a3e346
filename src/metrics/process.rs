//! What the process costs, read when somebody asks: `otelgate_process_…`, by the names of Prometheus' client libraries behind otelgate's prefix.
//!
//! Linux tells it in `/proc`; where there is none, these families are empty.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` anew for each question.
#[derive(Debug)]
pub(super) struct Process;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Costs {
    /// User and system time since the start.
    cpu_seconds: f64,
    resident_bytes: i64,
    open_fds: i64,
    max_fds: i64,
    /// When the process began, in seconds since 1970.
    start_seconds: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(costs) = costs() else { return Ok(()) };
        let mut write = |name, help, metric: &dyn Encode| metric.encode_as(&mut encoder, name, help);
        write("process_cpu_seconds", "CPU time of the process, in seconds", &ConstCounter::new(costs.cpu_seconds))?;
        write(
            "process_resident_memory_bytes",
            "Memory that the process holds",
            &ConstGauge::new(costs.resident_bytes),
        )?;
        write("process_open_fds", "Files that the process has open", &ConstGauge::new(costs.open_fds))?;
        write("process_max_fds", "Files that the process may have open", &ConstGauge::new(costs.max_fds))?;
        let start = ConstGauge::new(costs.start_seconds);
        write("process_start_time_seconds", "When the process began, in seconds since 1970", &start)
    }
}

/// [`EncodeMetric`], whatever the number's type.
trait Encode {
    fn encode_as(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), std::fmt::Error>;
}

impl<M: EncodeMetric> Encode for M {
    fn encode_as(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), std::fmt::Error> {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

#[cfg(target_os = "linux")]
fn costs() -> Option<Costs> {
    use procfs::process::{LimitValue, Process};

    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let max_fds = match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => signed(most),
        LimitValue::Unlimited => i64::MAX,
    };
    Some(Costs {
        cpu_seconds: stat.utime.saturating_add(stat.stime) as f64 / ticks,
        resident_bytes: signed(stat.rss.saturating_mul(procfs::page_size())),
        open_fds: signed(process.fd_count().ok()? as u64),
        max_fds,
        start_seconds: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
    })
}

#[cfg(not(target_os = "linux"))]
fn costs() -> Option<Costs> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_the_system_says_is_of_this_process() {
        let before = costs().expect("/proc is there");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!(before.start_seconds <= now + 1.0 && before.start_seconds > now - 86_400.0, "{before:?} at {now}");
        assert!(before.resident_bytes > 1 << 20 && before.open_fds < before.max_fds, "{before:?}");
        let files: Vec<_> = (0..20).map(|_| std::fs::File::open("/proc/self/stat").expect("opens")).collect();
        let block = vec![1_u8; 64 << 20];
        let mut sum = 0_u64;
        while costs().is_some_and(|costs| costs.cpu_seconds <= before.cpu_seconds) {
            sum = sum.wrapping_add(block.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        let after = costs().expect("/proc is there");
        assert!(after.open_fds > before.open_fds && after.resident_bytes > before.resident_bytes, "{after:?} {sum}");
        drop(files);
    }
}
