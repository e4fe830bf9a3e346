//! What the fuzz targets share.

use otelgate::memory::Memory;
use otelgate::reply::{Away, Refusal};

/// A request's memory with a limit, which panics when more is given back than was taken.
pub struct Budget {
    used: u64,
    max: u64,
}

impl Budget {
    /// At most `max` bytes.
    pub fn new(max: u64) -> Self {
        Budget { used: 0, max }
    }
}

impl Memory for Budget {
    fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.used += bytes;
        if self.used > self.max {
            self.used -= bytes;
            return Err(Refusal::Unavailable { away: Away::Memory, retry_after: std::time::Duration::from_secs(1) });
        }
        Ok(())
    }

    fn shrink(&mut self, bytes: u64) {
        self.used = self.used.checked_sub(bytes).expect("more given back than was taken");
    }
}
