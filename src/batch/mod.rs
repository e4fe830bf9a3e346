//! Step 6, batch: a request's records are appended to an open chunk, uncommitted; once the request is charged they are
//! committed, and wait until they are kept.
//!
//! A lane is a signal. Its open chunks ([`lane`]) become frames, and the frames a batch ([`assemble`]), which the spool keeps and
//! [`deliver`](crate::sink::deliver) brings to the sink. Invariants: a request lies in exactly one frame, whatever tables it feeds; a
//! request that was refused leaves no trace; a request is answered exactly once, when it is kept or known not to be.

mod assemble;
mod chunk;
mod lane;
mod ticket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use lane::Encoded;
pub use ticket::{Kept, Rejected, Ticket};
pub(crate) use ticket::{Waiting, unavailable};

use crate::admin::metrics::Metrics;
use crate::admit::{Admitted, Charged};
use crate::config;
use crate::keys::Key;
use crate::otlp::{Received, Signal};
use crate::reply::Refusal;
use crate::sink::deliver::Deliveries;
use crate::sink::{Growth, Sink};
use crate::spool::Spool;
use assemble::Assembler;
use lane::Lane;
use ticket::Pending;

/// When a client whose request cannot be kept now is asked to come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The lanes of all signals.
pub struct Lanes {
    lanes: [Arc<Lane>; 3],
    growth: Growth,
    spool: Arc<Spool>,
    pending: Arc<Pending>,
    stopping: watch::Sender<bool>,
}

impl Lanes {
    /// Starts a lane a signal, on the current runtime. `sink` encodes; what is sealed goes to `deliveries`.
    pub fn start(
        sink: &Arc<dyn Sink>,
        spool: &Arc<Spool>,
        deliveries: &Arc<Deliveries>,
        rules: config::Batch,
        limits: &config::RequestLimits,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let stopping = watch::Sender::new(false);
        let pending = Arc::new(Pending::default());
        let lanes = Signal::ALL.map(|signal| {
            let (lane, frames) = Lane::start(signal, sink.clone(), &rules, pending.clone());
            let assembler = Assembler {
                signal,
                rules,
                spool: spool.clone(),
                deliveries: deliveries.clone(),
                metrics: metrics.clone(),
                stopping: stopping.subscribe(),
            };
            tokio::spawn(assembler.run(frames));
            lane
        });
        let growth = Growth {
            max_records: limits.max_records,
            max_column_bytes: limits.max_column_bytes,
            max_parts: limits.max_parts,
        };
        Lanes { lanes, growth, spool: spool.clone(), pending, stopping }
    }

    /// Step 4: whether the spool has room, and this key's share of it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub fn room(&self, key: &Key) -> Result<(), Refusal> {
        self.spool.room(&key.entry.name).map_err(unavailable)
    }

    /// Step 6: the request's records come to lie in an open chunk, uncommitted. CPU-bound: a large request makes the runtime move this
    /// thread's other tasks away.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::TooLarge`], or [`Refusal::Unavailable`] when the columns find no room in memory.
    pub fn encode(&self, received: Received<Admitted>) -> Result<Encoded<'_>, Refusal> {
        let lane = &self.lanes[received.call.signal.index()];
        lane.encode(received.admitted, received.request, &self.growth)
    }

    /// Step 8: commits the request at once; the ticket says whether it is kept. A client that goes away does not take its request back.
    pub fn keep(&self, charged: Charged<'_>) -> Ticket {
        charged.into_encoded().commit()
    }

    /// Requests that wait to be kept.
    pub fn waiting(&self) -> usize {
        self.pending.count()
    }

    /// A clean stop: everything open is sealed at once, and this returns when every request is answered. What comes after it is still served.
    /// Without a spool that takes until the batches are in or their deadline is over.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        self.lanes.iter().for_each(Lane::stop);
        self.pending.none().await;
    }
}
