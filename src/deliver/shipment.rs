//! One sealed batch on its way: which of its parts may be in, and whether it may still be given up.
//!
//! Invariant: once the waiting requests were told that nothing of theirs is kept, no byte of the batch is sent any more. So a part asks
//! before each attempt ([`Shipment::may_send`]), under the same lock under which the batch is given up.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::audience::Audience;
use crate::blocking;
use crate::reply::Away;
use crate::spool::{Batch, BatchPart, Counts, Note, Summary};

/// A sealed batch that is being delivered.
pub(super) struct Shipment {
    pub(super) batch: Arc<Batch>,
    fate: Mutex<Progress>,
    given_up: watch::Sender<bool>,
    dropped: AtomicBool,
    /// Tables of which parts wait for a person.
    held: Mutex<BTreeMap<Arc<str>, Held>>,
}

/// A table's parts that wait for a person.
#[derive(Default)]
struct Held {
    count: usize,
    /// Why the last of them does.
    why: Arc<str>,
}

struct Progress {
    /// Who waits; nobody with a spool.
    audience: Option<Audience>,
    /// By place in [`Batch::parts`].
    parts: Vec<Whereabouts>,
    unsettled: usize,
    late: bool,
}

/// What is known about where a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// Never sent, or every attempt is known to have left nothing.
    Absent,
    /// Being sent, or an outcome is unknown.
    Perhaps,
    /// Some of it is in.
    In,
}

impl Shipment {
    pub(super) fn new(batch: Arc<Batch>, audience: Option<Audience>) -> Arc<Self> {
        let parts = batch.parts().len();
        Arc::new(Shipment {
            batch,
            fate: Mutex::new(Progress {
                audience,
                parts: vec![Whereabouts::Absent; parts],
                unsettled: parts,
                late: false,
            }),
            given_up: watch::Sender::new(false),
            dropped: AtomicBool::new(false),
            held: Mutex::default(),
        })
    }

    /// Asked before every attempt: false when the batch was given up.
    pub(super) fn may_send(&self, place: usize) -> bool {
        let mut fate = self.fate.lock();
        if *self.given_up.borrow() {
            return false;
        }
        if let Some(part @ Whereabouts::Absent) = fate.parts.get_mut(place) {
            *part = Whereabouts::Perhaps;
        }
        true
    }

    /// Every attempt so far is known to have left nothing. When the deadline has passed this may be the moment to give the batch up.
    pub(super) fn absent(&self, place: usize) {
        let mut fate = self.fate.lock();
        if let Some(part @ Whereabouts::Perhaps) = fate.parts.get_mut(place) {
            *part = Whereabouts::Absent;
        }
        if fate.late {
            self.give_up_if_absent(&mut fate);
        }
    }

    /// Some rows of the part are in.
    pub(super) fn is_in(&self, place: usize) {
        if let Some(part) = self.fate.lock().parts.get_mut(place) {
            *part = Whereabouts::In;
        }
    }

    /// Rows (first, count) of a segment are refused for good.
    pub(super) fn refused(&self, part: &BatchPart, segment: usize, rows: (u64, u64)) {
        if let Some(audience) = &mut self.fate.lock().audience {
            audience.refused(part, segment, rows);
        }
    }

    /// The sink took the part, or a piece of it, without some of its rows, and did not say which.
    pub(super) fn rejected(&self, part: &BatchPart, rows: u64, why: &str) {
        if let Some(audience) = &mut self.fate.lock().audience {
            audience.rejected(part, rows, why);
        }
    }

    /// Nothing more is to be done for the part. True when it was the batch's last.
    pub(super) fn settled(&self, part: &BatchPart) -> bool {
        let mut fate = self.fate.lock();
        if !*self.given_up.borrow()
            && let Some(audience) = &mut fate.audience
        {
            audience.settled(part);
        }
        fate.unsettled = fate.unsettled.saturating_sub(1);
        fate.unsettled == 0
    }

    /// The time of those who wait is over. A batch of which nothing can be in is given up; otherwise what was begun goes on without them.
    pub(super) fn deadline(&self) {
        let mut fate = self.fate.lock();
        fate.late = true;
        let given_up = self.give_up_if_absent(&mut fate);
        if let (Some(audience), false) = (&mut fate.audience, given_up) {
            audience.all_unknown();
        }
    }

    /// Nothing came of a late batch for so long that its memory is needed for others.
    pub(super) fn expire(&self) {
        let mut fate = self.fate.lock();
        if fate.unsettled > 0 {
            self.given_up.send_replace(true);
            if let Some(audience) = &mut fate.audience {
                audience.refuse_all(Away::Unknown);
            }
        }
    }

    /// A person drops what is not in: nothing more of it is sent. False when it was dropped before, or nothing is left to be settled: how it
    /// ends is decided then.
    pub(super) fn drop_rest(&self) -> bool {
        let fate = self.fate.lock();
        let drops = fate.unsettled > 0 && !self.dropped.swap(true, Ordering::AcqRel);
        if drops {
            self.given_up.send_replace(true);
        }
        drops
    }

    /// Whether a person dropped it.
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// A part of this table came to wait for a person, for this reason, or no longer does.
    pub(super) fn set_held(&self, table: &Arc<str>, why: Option<Arc<str>>) {
        let mut tables = self.held.lock();
        let held = tables.entry(table.clone()).or_default();
        match why {
            Some(why) => *held = Held { count: held.count + 1, why },
            None => held.count = held.count.saturating_sub(1),
        }
        if held.count == 0 {
            tables.remove(table);
        }
    }

    /// The batch as people see it, with what is wrong with its tables where nothing is held.
    pub(super) fn summary(&self, wrong: impl Fn(&str) -> Option<Arc<str>>) -> Summary {
        let (mut summary, held) = (self.batch.summary(), self.held.lock());
        for part in summary.parts.iter_mut().filter(|part| !part.is_in) {
            let why = held.get(&*part.table).map(|held| held.why.clone());
            part.held = why.is_some();
            part.reasons.extend(why.or_else(|| wrong(&part.table)).map(|why| why.to_string()));
        }
        summary
    }

    /// What of the batch waits for a person: all rows in tables of which a part does.
    pub(super) fn held(&self) -> Counts {
        let tables = self.held.lock();
        let mut counts = Counts::default();
        if tables.is_empty() {
            return counts;
        }
        for ((key, table), rows) in &self.batch.waiting.rows {
            if tables.contains_key(table) {
                counts.add_rows(key, table, *rows);
            }
        }
        counts
    }

    pub(super) fn is_given_up(&self) -> bool {
        *self.given_up.borrow()
    }

    /// Returns when the batch is given up, which may be never.
    pub(super) async fn given_up(&self) {
        let mut watch = self.given_up.subscribe();
        // The sender lives as long as `self`.
        let _ = watch.wait_for(|given_up| *given_up).await;
    }

    fn give_up_if_absent(&self, fate: &mut Progress) -> bool {
        let absent = |part: &Whereabouts| *part == Whereabouts::Absent;
        let give_up = fate.unsettled > 0 && fate.parts.iter().all(absent);
        if give_up {
            self.given_up.send_replace(true);
            if let Some(audience) = &mut fate.audience {
                audience.refuse_all(Away::Sink);
            }
        }
        give_up
    }

    /// Writes notes down, off the reactor where there is a disk; when this returns `Ok` they survive a crash.
    pub(super) async fn note(&self, notes: Vec<Note>) -> io::Result<()> {
        let batch = self.batch.clone();
        blocking::run_io_if(batch.is_durable(), move || batch.note(&notes)).await
    }
}
