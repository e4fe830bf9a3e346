//! Without a spool: the requests that wait until their batch is in, and what each of them is told.
//!
//! A request lies in one frame and may feed several parts; it is answered as soon as all of them are settled. Rows that the sink
//! refuses for good are counted against the request that they came from and nobody else.

use std::sync::Arc;

use crate::chunk::PartName;
use crate::reply::{Away, Refusal};
use crate::spool::{BatchPart, Frame};
use crate::waiting::{Rejected, Waiting, unavailable};

/// Who waits for a batch.
#[derive(Default)]
pub(crate) struct Audience {
    requests: Vec<Waiter>,
    parts: Vec<Share>,
}

/// What a client is told of rows that the sink refuses for good.
const REFUSED: &str = "the storage behind this gateway does not take these records; its log says why";

/// One request; `waiting` is gone once it was answered.
struct Waiter {
    waiting: Option<Waiting>,
    open_parts: u32,
    rows: u64,
    refused: u64,
    why: Option<Arc<str>>,
}

/// Whose rows lie in a part, segment by segment in the order of the file.
struct Share {
    name: PartName,
    columns: Arc<[Arc<str>]>,
    segments: Vec<Vec<RequestRows>>,
}

/// The rows of one request in one segment.
struct RequestRows {
    request: usize,
    rows: u64,
}

impl Audience {
    /// Takes up a frame, in the order in which frames are appended, and who waits for it: one a request, in the frame's order.
    pub(crate) fn join(&mut self, frame: &Frame, waiting: Vec<Waiting>) {
        let first = self.requests.len();
        self.requests.extend(waiting.into_iter().map(Waiter::new));
        for part in &frame.parts {
            let mut segment = Vec::with_capacity(part.rows_by_request.len());
            for (request, rows) in &part.rows_by_request {
                let request = first.saturating_add(*request as usize);
                let rows = u64::from(*rows);
                if let Some(waiter) = self.requests.get_mut(request) {
                    waiter.open_parts += 1;
                    waiter.rows += rows;
                    segment.push(RequestRows { request, rows });
                }
            }
            self.share(&part.name, &part.columns).segments.push(segment);
        }
    }

    /// Rows of a part's segment are refused for good; they count when the part is settled. Why stands in the log: a database's own words name its
    /// version, its tables and other rows' values, and who sends need not know them.
    pub(super) fn refused(&mut self, part: &BatchPart, segment: usize, rows: (u64, u64)) {
        let (from, to) = (rows.0, rows.0.saturating_add(rows.1));
        let Some(share) = self.parts.iter().find(|share| share.is(part)) else {
            return;
        };
        let mut start = 0;
        for of in share.segments.get(segment).into_iter().flatten() {
            let end = start + of.rows;
            let refused = end.min(to).saturating_sub(start.max(from));
            if let (1.., Some(waiter)) = (refused, self.requests.get_mut(of.request)) {
                waiter.refused += refused;
                waiter.why = Some(REFUSED.into());
            }
            start = end;
        }
    }

    /// So many rows of a part are not in, nobody knows which: they can be counted against a request only when the part holds no other.
    pub(super) fn rejected(&mut self, part: &BatchPart, rows: u64, why: &str) {
        let Some(share) = self.parts.iter().find(|share| share.is(part)) else {
            return;
        };
        let mut requests = share.segments.iter().flatten().map(|of| of.request);
        let Some(first) = requests.next().filter(|first| requests.all(|other| other == *first)) else {
            return;
        };
        if let Some(waiter) = self.requests.get_mut(first) {
            waiter.refused = waiter.refused.saturating_add(rows).min(waiter.rows);
            waiter.why = Some(why.into());
        }
    }

    /// A part is settled: who waited for nothing else is answered.
    pub(super) fn settled(&mut self, part: &BatchPart) {
        let Some(share) = self.parts.iter().find(|share| share.is(part)) else {
            return;
        };
        for of in share.segments.iter().flatten() {
            if let Some(waiter) = self.requests.get_mut(of.request) {
                waiter.open_parts = waiter.open_parts.saturating_sub(1);
                if waiter.open_parts == 0 {
                    waiter.answer();
                }
            }
        }
    }

    /// Nothing of the batch is in, or ever will be: everybody who waits for it is refused.
    pub(crate) fn refuse_all(&mut self, away: Away) {
        for waiter in &mut self.requests {
            if let Some(waiting) = waiter.waiting.take() {
                waiting.refused(unavailable(away));
            }
        }
    }

    /// Something of the batch may be in, and the time of those who wait is over. Who comes again joins what comes of it.
    pub(super) fn all_unknown(&mut self) {
        let waiting = self.requests.iter_mut().filter_map(|waiter| waiter.waiting.as_mut());
        waiting.for_each(Waiting::unknown);
    }

    fn share(&mut self, name: &PartName, columns: &Arc<[Arc<str>]>) -> &mut Share {
        let known = |share: &Share| share.name == *name && share.columns == *columns;
        let place = self.parts.iter().position(known).unwrap_or_else(|| {
            self.parts.push(Share { name: name.clone(), columns: columns.clone(), segments: Vec::new() });
            self.parts.len() - 1
        });
        &mut self.parts[place]
    }
}

impl Share {
    fn is(&self, part: &BatchPart) -> bool {
        self.name == part.name && self.columns == part.columns
    }
}

impl Waiter {
    fn new(waiting: Waiting) -> Self {
        Waiter { waiting: Some(waiting), open_parts: 0, rows: 0, refused: 0, why: None }
    }

    fn answer(&mut self) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        match &self.why {
            None => waiting.kept(),
            Some(why) if self.refused >= self.rows => {
                waiting.refused(Refusal::Malformed(why.to_string()));
            }
            Some(why) => waiting.kept_but(Rejected { records: self.refused, why: why.clone() }),
        }
    }
}
