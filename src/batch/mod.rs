//! Step 6, batch: a request's records are appended to an open chunk, uncommitted; once the request is charged they are
//! committed, and wait until they are kept.
//!
//! A lane is a signal. Its open chunks ([`lane`]) become frames, and the frames a batch ([`assemble`]), which the spool keeps and
//! [`deliver`](crate::deliver) brings to the sink. Invariants: a request lies in exactly one frame, whatever tables it feeds; a
//! request that was refused leaves no trace; a request is answered exactly once, when it is kept or known not to be.

mod assemble;
mod bound;
mod chunk;
mod company;
mod elsewhere;
mod lane;
mod open;
mod repeat;
mod ticket;
mod unkept;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use company::Coming;
pub(crate) use elsewhere::{RedisStore, Store};
pub(crate) use lane::{Encoded, Fresh};
pub(crate) use ticket::{Kept, Ticket};

use crate::admit::{Admitted, Paid};
use crate::blocking;
use crate::chunk::Growth;
use crate::config;
use crate::deliver::Deliveries;
use crate::keys::Key;
use crate::listen::Answer;
use crate::metrics::Metrics;
use crate::otlp::Received;
use crate::reply::{Away, Refusal};
use crate::shared_server::Sharing;
use crate::signal::Signal;
use crate::sink::Sink;
use crate::spool::{Digest, Remembered, Spool};
use crate::waiting::{Fate, Pending, unavailable};
use assemble::Assembler;
use lane::{INLINE_BYTES, Lane};
use repeat::{Found, Repeats};
use unkept::UnkeptRecords;

/// How long digests are remembered without a spool.
const DIGEST_TTL: Duration = Duration::from_secs(600);

/// What an earlier process left, of which repeats may come.
pub(crate) struct Left {
    /// Digests that count.
    pub(crate) digests: Vec<Remembered>,
    /// How long a digest counts.
    pub(crate) digest_ttl: Duration,
    /// Where gateways tell each other of theirs; none: they do not.
    pub(crate) shared: Option<Box<dyn Store>>,
}

impl Default for Left {
    fn default() -> Self {
        Left { digests: Vec::new(), digest_ttl: DIGEST_TTL, shared: None }
    }
}

/// The lanes of all signals.
pub(crate) struct Lanes {
    /// A lane a signal that the sink takes.
    lanes: [Option<Arc<Lane>>; Signal::ALL.len()],
    growth: Growth,
    spool: Arc<Spool>,
    pending: Arc<Pending>,
    repeats: Arc<Repeats>,
    unkept: UnkeptRecords,
    metrics: Arc<Metrics>,
    stopping: watch::Sender<bool>,
}

/// What a received request turned out to be.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large kind, and each is moved once")]
pub(crate) enum Recognised<'a> {
    /// The same bytes came before from the same key, and the answer may not have arrived: the ticket is that request's.
    Repeat(Ticket),
    /// Any other request.
    Fresh(Fresh<'a>),
}

impl Lanes {
    /// Starts a lane a signal, on the current runtime. `sink` encodes; what is sealed goes to `deliveries`.
    pub(crate) fn start(
        sink: &Arc<dyn Sink>,
        spool: &Arc<Spool>,
        deliveries: &Arc<Deliveries>,
        rules: config::Batch,
        limits: &config::RequestLimits,
        metrics: &Arc<Metrics>,
        left: Left,
    ) -> Self {
        let stopping = watch::Sender::new(false);
        let pending = Arc::new(Pending::default());
        // Otherwise a request waits for its batch, however early its chunk is sealed.
        let hurries = spool.is_durable() || rules.max_age.is_zero();
        let lanes = Signal::ALL.map(|signal| {
            if !sink.takes(signal) {
                return None;
            }
            let (lane, frames) = Lane::start(signal, sink.clone(), &rules, hurries, pending.clone());
            let assembler = Assembler {
                signal,
                rules,
                spool: spool.clone(),
                deliveries: deliveries.clone(),
                metrics: metrics.clone(),
                stopping: stopping.subscribe(),
            };
            tokio::spawn(assembler.run(frames));
            Some(lane)
        });
        let growth = Growth {
            max_records: limits.max_records,
            max_column_bytes: limits.max_column_bytes,
            max_parts: limits.max_parts,
        };
        let repeats = Repeats::start(left.digest_ttl, left.digests, left.shared, metrics.clone());
        let unkept = UnkeptRecords::new(metrics.clone());
        Lanes { lanes, growth, spool: spool.clone(), pending, repeats, unkept, metrics: metrics.clone(), stopping }
    }

    /// Whether there is a place for this signal behind this gateway.
    ///
    /// # Errors
    /// [`Refusal::NoProfiles`].
    pub(crate) fn takes(&self, signal: Signal) -> Result<(), Refusal> {
        self.lane(signal).map(drop)
    }

    fn lane(&self, signal: Signal) -> Result<&Arc<Lane>, Refusal> {
        self.lanes[signal.index()].as_ref().ok_or(Refusal::NoProfiles)
    }

    /// Step 4: whether the spool has room, and this key's share of it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(crate) fn room(&self, key: &Key) -> Result<(), Refusal> {
        self.spool.room(&key.entry.name).map_err(unavailable)
    }

    /// The same for otelgate's own telemetry, which may hold `most` bytes of the spool.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(crate) fn room_within(&self, key: &Key, most: u64) -> Result<(), Refusal> {
        self.room(key)?;
        match self.spool.used_by(&key.entry.name) < most {
            true => Ok(()),
            false => Err(unavailable(Away::KeySpool)),
        }
    }

    /// Before step 5: a request is on its way, and others may wait for its company, for as long as this lives or the request is not kept.
    ///
    /// # Errors
    /// As [`Lanes::takes`].
    pub(crate) fn expect(&self, signal: Signal) -> Result<Coming<'_>, Refusal> {
        self.lane(signal).map(Coming::to)
    }

    /// Whether digests are shared now; nothing where they are not to be.
    pub(crate) fn sharing(&self) -> Option<watch::Receiver<Sharing>> {
        self.repeats.sharing()
    }

    /// Between steps 5 and 6: whether this is the repeat of a request whose answer may not have reached its client. Costs a hash of
    /// the request; where digests are shared, also a question to the server between the gateways.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: another gateway is at the same request.
    pub(crate) async fn recognise<'a>(
        &self,
        coming: Coming<'a>,
        received: Received<Admitted>,
        answer: Answer,
    ) -> Result<Recognised<'a>, Refusal> {
        let digest = blocking::in_place(received.request.len() > INLINE_BYTES, || Digest::of(&received.request));
        let key: Arc<str> = received.admitted.key().entry.name.as_str().into();
        let id = (digest, key);
        Ok(match self.repeats.find(&id).await? {
            (Some(Found { fate, told }), held) => {
                self.metrics.requests_joined.inc();
                let fresh = Fresh { received, id: id.clone(), answer: answer.clone(), coming, held: None };
                let fate = if told { fate } else { self.told_again(fresh).await };
                let followed = self.repeats.follow(id, answer, fate.clone(), held);
                Recognised::Repeat(Ticket::joining(fate, followed))
            }
            (None, held) => Recognised::Fresh(Fresh { received, id, answer, coming, held }),
        })
    }

    /// Of a request that is kept, what its client was told, or would have been: nobody remembers. Nothing of it is kept once more.
    async fn told_again(&self, fresh: Fresh<'_>) -> watch::Receiver<Fate> {
        let left_out = self.encode(fresh).await.ok().and_then(Encoded::into_left_out);
        watch::Sender::new(Fate::Kept(left_out)).subscribe()
    }

    /// Step 6: the request's records come to lie in an open chunk, uncommitted. CPU-bound: a large request, or one that grows large, waits
    /// for its key's turn, and makes the runtime move this thread's other tasks away.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::TooLarge`], [`Refusal::OverLimit`] when they grow further than the key can pay for, or
    /// [`Refusal::Unavailable`] when the columns find no room in memory.
    pub(crate) async fn encode<'a>(&'a self, fresh: Fresh<'a>) -> Result<Encoded<'a>, Refusal> {
        self.lane(fresh.received.call.signal)?.encode(fresh, &self.growth).await
    }

    /// Step 8: commits the request at once; the ticket says whether it is kept. A client that goes away does not take its request back.
    /// `_paid` is the proof that its key paid for it.
    pub(crate) fn keep(&self, encoded: Encoded<'_>, _paid: Paid) -> Ticket {
        self.unkept.count(encoded.key(), encoded.unkept());
        encoded.commit(&self.repeats)
    }

    /// Requests that wait to be kept.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.pending.count()
    }

    /// How often, since this was asked last, the lanes' locks were taken, and the one of those that follow requests that was taken most.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> (usize, usize) {
        (self.lanes.iter().flatten().map(|lane| lane.visits()).sum(), self.repeats.visits())
    }

    /// Chunks that are missing from their stacks.
    #[cfg(test)]
    pub(crate) fn out(&self) -> usize {
        self.lanes.iter().flatten().map(|lane| lane.out()).sum()
    }

    /// The digests of requests whose answer may not have arrived: after [`Lanes::stop`], for [`Spool::stop`].
    pub(crate) fn remembered(&self) -> Vec<Remembered> {
        self.repeats.all()
    }

    /// Tells the other gateways what they are to know of this one's requests when it is gone. After [`Lanes::remembered`].
    pub(crate) async fn leave(&self) {
        self.repeats.leave().await;
    }

    /// A clean stop: everything open is sealed at once, and this returns when every request is answered. What comes after it is still served.
    /// Without a spool that takes until the batches are in or their deadline is over.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        self.lanes.iter().flatten().for_each(|lane| lane.stop());
        self.pending.none().await;
    }
}
