//! How far a request may grow before it is known how far it grows.
//!
//! Bytes on the wire say little of the columns that they become: a resource is repeated in each of its rows. So a request is encoded within bounds, the first as far as most of its
//! size grow; who grows further is rolled back and begun again with more room, which costs a third more than if that had been known.
//!
//! Invariant: what takes a core for long is paid for, and has its turn, before it is done, whatever becomes of it.

use std::sync::Arc;

use bytes::Bytes;

use super::lane::{Fresh, INLINE_BYTES, Lane, Uncommitted};
use crate::chunk::{Appended, EncodeError, Growth};
use crate::memory::Memory;
use crate::reply::Refusal;

/// Columns that are made on the reactor's thread, whatever the request is: more is long work.
const SHORT_COLUMNS: u64 = 4 << 20;

/// So many times its bytes a request's columns may be before it is begun again with more: most are half of that.
const USUAL_GROWTH: u64 = 4;

/// As an encoder names the limit of columns.
pub(super) const MAX_COLUMN_BYTES: &str = "max_column_bytes";

/// A request that lies in a chunk, uncommitted, or why it does not.
pub(super) type Outcome<'a> = Result<(Uncommitted<'a>, Appended), EncodeError>;

impl Lane {
    /// Appends what the request holds, or `instead` of it, to an open chunk, and has its key pay for the columns: as far as most requests grow in
    /// passing, further only in the key's turn, and each time no further than was paid for before.
    pub(super) async fn append_paid<'l>(
        self: &'l Arc<Self>,
        fresh: &mut Fresh<'_>,
        instead: Option<&Bytes>,
        growth: &Growth,
    ) -> Result<Outcome<'l>, Refusal> {
        let size = instead.unwrap_or(&fresh.received.request).len();
        let most = growth.max_column_bytes;
        let mut bound = most.min(SHORT_COLUMNS.max((size as u64).saturating_mul(USUAL_GROWTH)));
        let mut long = size > INLINE_BYTES;
        loop {
            if long {
                fresh.coming.leave();
                fresh.received.admitted.turn().await?;
                fresh.received.admitted.spend(bound)?;
            }
            let (outcome, grown) = self.append(fresh, instead, &Growth { max_column_bytes: bound, ..*growth }, long)?;
            let further = matches!(outcome, Err(EncodeError::TooLarge { limit: MAX_COLUMN_BYTES, .. }));
            let cost = match &outcome {
                Ok((_, appended)) => appended.column_bytes,
                // Keys that are copied on their way are bounded with the columns, and are none.
                Err(_) if further => bound,
                Err(_) => grown,
            };
            match long {
                true => fresh.received.admitted.unspend(bound.saturating_sub(cost)),
                false => fresh.received.admitted.spend(cost)?,
            }
            if !further || bound >= most {
                return Ok(outcome);
            }
            (bound, long) = (most.min(bound.saturating_mul(USUAL_GROWTH)), true);
        }
    }
}
