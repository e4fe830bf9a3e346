//! When a lane may seal its batch by age.
//!
//! A lane seals its batch by age once it has nothing to deliver ([`Deliveries::seals_at`]). A table that takes no inserts does not count for that: what
//! waits for it says nothing about the lane's other tables. A batch that would feed such tables only grows on, and is sealed all the same when it is as
//! old as their trouble was when it was opened, a minute at least: the trouble may lie in the rows that were tried, and only others can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Deliveries;
use super::table::Table;
use crate::signal::Signal;

/// A batch that feeds tables which take no inserts is sealed when it is so old, or as old as their trouble: a day without a sink makes a dozen of them.
const TRIED_ANEW: Duration = Duration::from_secs(60);

impl Deliveries {
    /// When a lane's batch that was opened then and feeds these tables is sealed by age, between `least` and `most`; `None` while the lane has
    /// something to deliver.
    pub(crate) fn seals_at<'a>(
        &self,
        signal: Signal,
        opened: Instant,
        (least, most): (Duration, Duration),
        feeds: impl Iterator<Item = &'a Arc<str>>,
    ) -> Option<Instant> {
        let tables = self.tables.lock();
        let wait = |name| match tables.get(name).and_then(Table::sick_since) {
            Some(since) => opened.duration_since(since).max(TRIED_ANEW).min(most).max(least),
            None => least,
        };
        is_idle(&tables, signal).then(|| opened + feeds.map(wait).min().unwrap_or(least))
    }

    /// Returns when [`Deliveries::seals_at`] may have another answer. For one waiter a lane.
    pub(crate) async fn idle(&self, signal: Signal) {
        self.idle[signal.index()].notified().await;
    }
}

/// Whether a lane has nothing to deliver that counts.
pub(super) fn is_idle(tables: &BTreeMap<Arc<str>, Table>, signal: Signal) -> bool {
    tables.values().all(|table| table.signal != signal || table.counting() == 0)
}
