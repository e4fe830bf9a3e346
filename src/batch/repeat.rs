//! Repeats of requests whose answer may not have reached their client: they join what was kept and are not stored twice.
//!
//! Every request is followed from its commit until 6 s after its answer. Its digest is remembered, for as long as the configuration
//! says, when its stream or connection broke before that, or when its client was told to come again although something may have
//! been kept. A request that was answered on a connection that lived on is forgotten then, so that sending the same bytes
//! twice on purpose stores them twice. What an earlier process left comes from the spool.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::elsewhere::{Claimed, Elsewhere, Store};
pub(super) use super::elsewhere::{Held, Id};
use crate::counted::Counted;
use crate::listen::{Answer, UNACKNOWLEDGED};
use crate::metrics::Metrics;
use crate::reply::{Away, Refusal};
use crate::shared_server::Sharing;
use crate::spool::{Digests, Remembered};
use crate::waiting::{Fate, unavailable};

/// A connection that lives this long after an answer has brought it to its client: it would have ended if nobody had acknowledged
/// the answer's bytes. Linux counts from their first repetition, up to a second or two after they were sent.
const ARRIVES_WITHIN: Duration = UNACKNOWLEDGED.saturating_add(Duration::from_secs(2));
/// Requests are followed in so many places, so that those of different cores seldom meet at one lock.
const SHARDS: usize = 64;
/// Answers are asked no more often than this whether they arrived.
const SWEEP: Duration = Duration::from_secs(1);

type Outcome = watch::Receiver<Fate>;

/// All requests that are followed, and the digests that are remembered.
pub(super) struct Repeats {
    shards: Box<[Shard; SHARDS]>,
    remembered: Digests<Outcome>,
    /// The other gateways, where digests are shared.
    elsewhere: Option<Arc<Elsewhere>>,
    /// There is something to sweep, or nobody is left to sweep for.
    wake: Arc<Notify>,
}

/// Those whose digests begin alike. A request takes each of its locks twice at most.
#[derive(Default)]
struct Shard {
    recent: Counted<Recent>,
    answered: Counted<VecDeque<(Instant, Arc<Entry>)>>,
}

type Recent = HashMap<Id, Vec<Arc<Entry>>>;

/// A request that is followed.
struct Entry {
    id: Id,
    answer: Answer,
    outcome: Outcome,
    /// What other gateways see of it; taken back when nobody follows it any more.
    held: Option<Box<Held>>,
}

/// A request that was here before.
pub(super) struct Found {
    /// What became of it, or will.
    pub(super) fate: Outcome,
    /// That says of which records it was kept without. `false`: all that is known is that it was kept.
    pub(super) told: bool,
}

/// Follows one request; dropped before it was answered, the answer is lost.
pub(super) struct Followed {
    repeats: Arc<Repeats>,
    entry: Arc<Entry>,
    answered: AtomicBool,
}

impl Repeats {
    /// Remembers digests for `ttl`, and what an earlier process left. Others are asked through `shared`, if there are any.
    pub(super) fn start(
        ttl: Duration,
        left: Vec<Remembered>,
        shared: Option<Box<dyn Store>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let remembered = Digests::new(ttl);
        remembered.restore(left);
        let wake = Arc::new(Notify::new());
        let (elsewhere, caller) = shared.map(|store| Elsewhere::new(store, metrics.clone())).unzip();
        let shards = Box::new(std::array::from_fn(|_| Shard::default()));
        let repeats = Arc::new(Repeats { shards, remembered, elsewhere, wake: wake.clone() });
        let sweeping = Arc::downgrade(&repeats);
        if let Some(caller) = caller {
            let asked = sweeping.clone();
            tokio::spawn(caller.run(move |id| {
                if let Some(repeats) = asked.upgrade() {
                    repeats.asked(id);
                }
            }));
        }
        tokio::spawn(async move {
            while let Some(repeats) = sweeping.upgrade() {
                let arrives = repeats.sweep();
                let remembered = repeats.remembered.expire();
                metrics.digests_remembered.set(i64::try_from(remembered).unwrap_or(i64::MAX));
                let ends = repeats.remembered.first_ends_in().and_then(|left| Instant::now().checked_add(left));
                let due = arrives.into_iter().chain(ends).min();
                drop(repeats);
                // Who is sent nothing is not woken up, and who is sent much not for each of it.
                match due {
                    None => wake.notified().await,
                    Some(due) => {
                        tokio::time::sleep(SWEEP).await;
                        let _ = tokio::time::timeout_at(due, wake.notified()).await;
                    }
                }
            }
        });
        repeats
    }

    /// [`Elsewhere::sharing`], where there are other gateways.
    pub(super) fn sharing(&self) -> Option<watch::Receiver<Sharing>> {
        self.elsewhere.as_deref().map(Elsewhere::sharing)
    }

    /// The request that this one repeats, if its answer may not have arrived: what became of it, or will. And what other gateways are to
    /// see of this one.
    ///
    /// # Errors
    /// [`Away::Elsewhere`]: nobody can say yet.
    pub(super) async fn find(&self, id: &Id) -> Result<(Option<Found>, Option<Held>), Refusal> {
        let found = self.find_here(id);
        let Some(elsewhere) = &self.elsewhere else { return Ok((found, None)) };
        if found.is_some() {
            return Ok((found, Some(elsewhere.hold(id))));
        }
        Ok(match elsewhere.claim(id).await {
            Claimed::Ours(held) => (None, Some(held)),
            Claimed::Joins(held) => {
                let fate = watch::Sender::new(Fate::Kept(None)).subscribe();
                (Some(Found { fate, told: false }), Some(held))
            }
            Claimed::Busy => return Err(unavailable(Away::Elsewhere)),
            Claimed::Alone => (None, None),
        })
    }

    fn find_here(&self, id: &Id) -> Option<Found> {
        let (digest, key) = id;
        while let Some(remembered) = self.remembered.take(key, *digest) {
            // Without an outcome it is kept already.
            let told = remembered.is_some();
            let fate = remembered.unwrap_or_else(|| watch::Sender::new(Fate::Kept(None)).subscribe());
            if !matches!(*fate.borrow(), Fate::Refused(_)) {
                return Some(Found { fate, told });
            }
        }
        let mut recent = self.shard(id).recent.lock();
        let entries = recent.get_mut(id)?;
        let broken = entries.iter().position(|entry| entry.answer.is_broken())?;
        let entry = entries.swap_remove(broken);
        entry.arrived();
        if entries.is_empty() {
            recent.remove(&entry.id);
        }
        Some(Found { fate: entry.outcome.clone(), told: true })
    }

    /// Follows a request that was committed, or that joins one.
    pub(super) fn follow(self: &Arc<Self>, id: Id, answer: Answer, outcome: Outcome, held: Option<Held>) -> Followed {
        let entry = Arc::new(Entry { id, answer, outcome, held: held.map(Box::new) });
        self.shard(&entry.id).recent.lock().entry(entry.id.clone()).or_default().push(entry.clone());
        Followed { repeats: self.clone(), entry, answered: AtomicBool::new(false) }
    }

    /// What the next process is to remember, when this one ends in peace.
    pub(super) fn all(&self) -> Vec<Remembered> {
        for shard in self.shards.iter() {
            let entries = shard.recent.lock().values().flatten().cloned().collect();
            self.lost_unless_arrived(shard, entries);
            shard.answered.lock().clear();
        }
        self.remembered.all()
    }

    /// The last words to other gateways.
    pub(super) async fn leave(&self) {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.leave().await;
        }
    }

    /// Another gateway has a request like this one, and wants to know whether it is its repeat.
    fn asked(&self, id: &Id) {
        let Some(elsewhere) = &self.elsewhere else { return };
        let of_this = |entries: &Vec<Arc<Entry>>| {
            let held = entries.iter().filter(|entry| entry.held.is_some());
            held.min_by_key(|entry| !entry.answer.is_broken()).cloned()
        };
        let entry = self.shard(id).recent.lock().get(id).and_then(of_this);
        match entry {
            None => elsewhere.forget_unless_held(id),
            // It is heard of when it is kept, or taken back.
            Some(entry) if !matches!(*entry.outcome.borrow(), Fate::Kept(_)) => {}
            Some(entry) if entry.answer.is_broken() => self.lost(&entry),
            Some(_) => elsewhere.fine(id),
        }
    }

    fn shard(&self, (digest, _): &Id) -> &Shard {
        &self.shards[usize::from(digest.0[0]) % SHARDS]
    }

    /// Asks those that were answered long enough ago whether they arrived; when there will be more of them, if nothing else is answered.
    fn sweep(&self) -> Option<Instant> {
        let first = self.shards.iter().filter_map(|shard| {
            let mut answered = shard.answered.lock();
            let over = answered.iter().take_while(|(at, _)| at.elapsed() >= ARRIVES_WITHIN).count();
            let entries: Vec<_> = answered.drain(..over).map(|(_, entry)| entry).collect();
            let first = answered.front().map(|(at, _)| *at + ARRIVES_WITHIN);
            drop(answered);
            if !entries.is_empty() {
                self.lost_unless_arrived(shard, entries);
            }
            first
        });
        first.min()
    }

    fn lost_unless_arrived(&self, shard: &Shard, entries: Vec<Arc<Entry>>) {
        let (arrived, lost): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.answer.arrived());
        let mut recent = shard.recent.lock();
        for entry in &arrived {
            entry.arrived();
            forget(&mut recent, entry);
        }
        drop(recent);
        lost.iter().for_each(|entry| self.lost(entry));
    }

    /// The answer did not reach its client, or may not have. A repeat that came already has taken the entry with it.
    fn lost(&self, entry: &Arc<Entry>) {
        if self.forget(entry) {
            let (digest, key) = &entry.id;
            // What is kept for good needs nothing to wait for, and is remembered in much less.
            let kept = matches!(*entry.outcome.borrow(), Fate::Kept(None));
            self.remembered.remember(key, *digest, (!kept).then(|| entry.outcome.clone()));
            self.wake.notify_one();
            if entry.held.is_some() {
                tell(entry.clone());
            }
        }
    }

    /// False when it was not followed any more.
    fn forget(&self, entry: &Arc<Entry>) -> bool {
        forget(&mut self.shard(&entry.id).recent.lock(), entry)
    }

    /// How often the lock that was taken most was taken since this was asked last.
    #[cfg(test)]
    pub(super) fn visits(&self) -> usize {
        let each = self.shards.iter().map(|shard| shard.recent.taken().max(shard.answered.taken()));
        each.max().unwrap_or_default()
    }
}

fn forget(recent: &mut Recent, entry: &Arc<Entry>) -> bool {
    let Some(entries) = recent.get_mut(&entry.id) else {
        return false;
    };
    let place = entries.iter().position(|one| Arc::ptr_eq(one, entry));
    if let Some(place) = place {
        entries.swap_remove(place);
    }
    if entries.is_empty() {
        recent.remove(&entry.id);
    }
    place.is_some()
}

/// Other gateways hear that its answer is lost, once it is known to be kept.
fn tell(entry: Arc<Entry>) {
    let mut outcome = entry.outcome.clone();
    let tell = move |fate: &Fate| {
        if let (Some(held), Fate::Kept(_)) = (&entry.held, fate) {
            held.lost();
        }
    };
    let known = |fate: &Fate| matches!(fate, Fate::Kept(_) | Fate::Refused(_));
    if known(&outcome.borrow()) {
        return tell(&outcome.borrow());
    }
    tokio::spawn(async move {
        if let Ok(fate) = outcome.wait_for(known).await {
            tell(&fate);
        }
    });
}

impl Drop for Repeats {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Entry {
    /// A repeat through another gateway would be another request.
    fn arrived(&self) {
        if let Some(held) = &self.held {
            held.arrived();
        }
    }
}

impl Followed {
    /// It is kept; returns when other gateways can know.
    pub(super) async fn kept(&self) {
        if let Some(held) = &self.entry.held {
            held.kept().await;
        }
    }

    /// Its client is being told this.
    pub(super) fn answered(&self, fate: &Fate) {
        self.answered.store(true, Ordering::Relaxed);
        match fate {
            Fate::Kept(_) => {
                let mut answered = self.repeats.shard(&self.entry.id).answered.lock();
                answered.push_back((Instant::now(), self.entry.clone()));
                if answered.len() == 1 {
                    self.repeats.wake.notify_one();
                }
            }
            // Nothing of it was kept: there is nothing to join.
            Fate::Refused(_) => {
                self.repeats.forget(&self.entry);
            }
            Fate::Open | Fate::Unknown => self.repeats.lost(&self.entry),
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.repeats.lost(&self.entry);
        }
    }
}
