//! The server's clock, since that is what decides there whether a row is too old. It is read with the tables, and goes on by this machine's monotonic clock: a
//! wrong clock here refuses nothing, and neither does a start while ClickHouse is away, for until it has said what time it is, no row is too old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The server's clock. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct ServerClock(Arc<Clock>);

#[derive(Debug, Default)]
struct Clock {
    /// When it was heard, and what it said.
    heard: Mutex<Option<(Instant, u32)>>,
    max_age: Duration,
    reread: Arc<Notify>,
}

impl ServerClock {
    /// A clock that was not heard yet. Rows that are refused by what was heard longer than `max_age` ago are reason for `reread`: nothing is inserted
    /// then that would be.
    pub(crate) fn new(max_age: Duration, reread: Arc<Notify>) -> ServerClock {
        ServerClock(Arc::new(Clock { heard: Mutex::default(), max_age, reread }))
    }

    /// The server has just said what time it is, in seconds since 1970.
    pub(crate) fn set(&self, seconds: u32) {
        *self.0.heard.lock() = Some((Instant::now(), seconds));
    }

    /// What it says now, if it was ever heard.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (at, seconds) = (*self.0.heard.lock())?;
        let since = i64::try_from(at.elapsed().as_secs()).ok()?;
        Timestamp::from_second(i64::from(seconds).checked_add(since)?).ok()
    }

    /// Has the tables read again when that was long ago.
    pub(super) fn ask_when_old(&self) {
        if self.0.heard.lock().is_none_or(|(at, _)| at.elapsed() >= self.0.max_age) {
            self.0.reread.notify_one();
        }
    }
}
