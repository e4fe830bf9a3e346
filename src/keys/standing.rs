//! Whether a key is good now, for whoever holds something of it for longer than a request: a connection outlives many reloads of the keys.

use std::time::SystemTime;

use parking_lot::Mutex;

use crate::config::KeyEntry;

/// What is known of one key by its digest, for as long as anybody asks; each reload says it anew.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The SHA-256 of its value.
    pub(crate) digest: [u8; 32],
    good: Mutex<Good>,
}

#[derive(Debug, Clone, Copy)]
enum Good {
    No,
    Always,
    Until(SystemTime),
}

impl Standing {
    /// As the entry has it.
    pub(crate) fn new(entry: &KeyEntry) -> Self {
        let standing = Standing { digest: entry.sha256, good: Mutex::new(Good::No) };
        standing.follow(entry);
        standing
    }

    /// The entry has changed, or not.
    pub(crate) fn follow(&self, entry: &KeyEntry) {
        *self.good.lock() = match (entry.enabled, entry.expires) {
            (false, _) => Good::No,
            (true, None) => Good::Always,
            (true, Some(expires)) => Good::Until(expires),
        };
    }

    /// No source has it any more.
    pub(super) fn end(&self) {
        *self.good.lock() = Good::No;
    }

    /// Whether the key may be used.
    pub(crate) fn is_good(&self, now: SystemTime) -> bool {
        match *self.good.lock() {
            Good::No => false,
            Good::Always => true,
            Good::Until(end) => now < end,
        }
    }
}
