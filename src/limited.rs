//! Log lines that a stranger can cause are limited: a flood of refused connections must not become a flood of log lines.
//!
//! Each place that calls [`limited!`](crate::limited!) may write a few lines a second; the next line that passes says how many were left out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines that one place may write in one second.
const LINES_PER_SECOND: u64 = 5;

/// The limit of one place in the code that logs.
#[derive(Debug)]
pub(crate) struct Limited {
    /// The second in which lines are counted now (upper half) and the lines asked for in it (lower half).
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl Limited {
    /// A place that has not logged yet.
    pub(crate) const fn new() -> Self {
        Limited { window: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// May a line be written now? If so, how many lines were left out since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(seconds_since_start())
    }

    fn pass_at(&self, second: u32) -> Option<u64> {
        let second = u64::from(second) << 32;
        let before = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                let same_second = window & !u64::from(u32::MAX) == second;
                Some(if same_second { window.saturating_add(1) } else { second | 1 })
            })
            .unwrap_or_default();
        let count = if before & !u64::from(u32::MAX) == second { before & u64::from(u32::MAX) } else { 0 };
        if count < LINES_PER_SECOND {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Limited {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds_since_start() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Logs like `tracing::warn!(…)`, at most a few lines a second from this place:
/// `limited!(warn, %address, "connection refused")`. The field `suppressed` counts the lines left out before.
#[macro_export]
macro_rules! limited {
    ($level:ident, $($line:tt)+) => {{
        static LIMITED: $crate::limited::Limited = $crate::limited::Limited::new();
        if let Some(suppressed) = LIMITED.pass() {
            ::tracing::$level!(suppressed, $($line)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let limited = Limited::new();
        let passed = (0..100).filter(|_| limited.pass_at(7).is_some()).count();
        assert_eq!(passed as u64, LINES_PER_SECOND);
        assert_eq!(limited.pass_at(8), Some(100 - LINES_PER_SECOND));
        assert_eq!(limited.pass_at(8), Some(0));
    }

    #[test]
    fn the_first_second_counts_too() {
        let limited = Limited::new();
        let passed = (0..100).filter(|_| limited.pass_at(0).is_some()).count();
        assert_eq!(passed as u64, LINES_PER_SECOND);
    }
}
