//! Gateways that tell each other which requests they are at, so that a client's repeat through another gateway is stored once.
//!
//! Invariants: a request joins another gateway's only when that one said, after its sync, that it is kept; and when nobody answers, a request is
//! taken as if there were no other gateway. The states, where each may end, and what that costs: docs/decisions/0017-shared-digests.md.
//!
//! One call is under way at a time; what is to be said meanwhile goes with the next one, as frames do with the spool's syncs.

#[cfg(test)]
mod model;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::metrics::{Metrics, Outcome};
use crate::shared_server::Sharing;
pub(super) use store::Id;
use store::{ALIVE, Other, Reply, Step, Word};
pub(crate) use store::{RedisStore, Store};

/// A gateway that is at requests hears at least so often what it is asked.
const TICK: Duration = Duration::from_millis(100);
/// One that is at none says so often that it is there.
const IDLE: Duration = Duration::from_secs(1);
/// Longer than another gateway takes to be known as gone.
const PATIENCE: Duration = ALIVE.saturating_add(Duration::from_secs(1));
/// How often is looked for what another gateway says.
const POLL: Duration = Duration::from_millis(50);
/// Before a server that is away is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Steps in one call.
const MAX_STEPS: usize = 1000;
/// Steps that wait for a server that is away.
const MAX_BACKLOG: usize = 65_536;
/// Longest wait for the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What this gateway says of its requests, and hears of the others'.
pub(super) struct Elsewhere {
    jobs: mpsc::UnboundedSender<Job>,
    /// How many requests of this gateway stand behind its word. None: it is at none like this.
    standing: Arc<Standing>,
    sharing: watch::Receiver<Sharing>,
}

type Standing = Mutex<HashMap<Id, u32>>;

/// A step, and who waits for what it brings: nothing, when nobody answers.
struct Job {
    step: Step,
    reply: Option<oneshot::Sender<Option<Reply>>>,
}

/// The side that calls.
pub(super) struct Caller {
    store: Box<dyn Store>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// What was not said while nobody answered.
    backlog: Vec<Job>,
    sharing: watch::Sender<Sharing>,
    standing: Arc<Standing>,
    metrics: Arc<Metrics>,
}

/// What a request turned out to be.
pub(super) enum Claimed {
    /// No other gateway is at it.
    Ours(Held),
    /// Another gateway has kept it.
    Joins(Held),
    /// Another gateway is at it, and nobody knows yet what becomes of it.
    Busy,
    /// Nobody answers.
    Alone,
}

/// This gateway's word for one request. Dropped, it is taken back, and what was said to be kept is lost unless its answer arrived: whoever goes away in
/// the middle of something leaves what a repeat needs.
pub(super) struct Held {
    elsewhere: Arc<Elsewhere>,
    id: Id,
    arrived: AtomicBool,
}

/// What is to be done about what other gateways say of a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    Ours,
    /// It is kept there: nothing is to be stored.
    Join(&'a Other),
    /// What is said there does not concern this one.
    Instead(&'a Other),
    /// It may be kept elsewhere, and the gateways there know more.
    Wait,
}

impl Elsewhere {
    pub(super) fn new(store: Box<dyn Store>, metrics: Arc<Metrics>) -> (Arc<Elsewhere>, Caller) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (sender, sharing) = watch::channel(Sharing::default());
        let standing = Arc::<Standing>::default();
        let elsewhere = Elsewhere { jobs, standing: standing.clone(), sharing };
        let caller = Caller { store, jobs: receiver, backlog: Vec::new(), sharing: sender, standing, metrics };
        (Arc::new(elsewhere), caller)
    }

    /// Whether anybody answers, and why not.
    pub(super) fn sharing(&self) -> watch::Receiver<Sharing> {
        self.sharing.clone()
    }

    fn is_alone(&self) -> bool {
        !self.sharing.borrow().connected
    }

    /// Before a request is stored: whether it is kept elsewhere, or may be.
    pub(super) async fn claim(self: &Arc<Self>, id: &Id) -> Claimed {
        if self.is_alone() {
            return Claimed::Alone;
        }
        let (until, mut asked) = (Instant::now() + PATIENCE, false);
        // From the first step on, so that who gives up takes its word back.
        let held = self.hold(id);
        loop {
            let Some(Reply::Others(others)) = self.step(Step::Claim(id.clone())).await else { return Claimed::Alone };
            let take = |from: &Other, saying| self.step(Step::Take { id: id.clone(), from: from.clone(), saying });
            match verdict(&others, asked) {
                Verdict::Ours => return Claimed::Ours(held),
                Verdict::Join(from) => match take(from, Word::Kept).await {
                    Some(Reply::Taken(true)) => return Claimed::Joins(held),
                    Some(_) => {}
                    None => return Claimed::Alone,
                },
                Verdict::Instead(from) => match take(from, Word::Open).await {
                    Some(Reply::Taken(true)) => return Claimed::Ours(held),
                    Some(_) => {}
                    None => return Claimed::Alone,
                },
                Verdict::Wait => {
                    for gateway in others.iter().filter(|other| other.there).map(|other| &other.gateway) {
                        // What it said before this request came says nothing of its connection now.
                        if !asked {
                            self.say(Step::Doubt(id.clone(), gateway.clone()));
                        }
                        // Again each time: what it knows changes.
                        self.say(Step::Ask(id.clone(), gateway.clone()));
                    }
                    asked = true;
                }
            }
            if Instant::now() >= until {
                return Claimed::Busy;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// For a request that joins one of this gateway's own.
    pub(super) fn hold(self: &Arc<Self>, id: &Id) -> Held {
        *self.standing.lock().entry(id.clone()).or_default() += 1;
        Held { elsewhere: self.clone(), id: id.clone(), arrived: AtomicBool::new(false) }
    }

    /// Another gateway asks, and no request of this one says more than its word: it may be none of its own.
    pub(super) fn forget_unless_held(&self, id: &Id) {
        if !self.standing.lock().contains_key(id) {
            self.say(Step::Forget(id.clone()));
        }
    }

    /// Says that a request's connection lives on.
    pub(super) fn fine(&self, id: &Id) {
        self.say(Step::Say(id.clone(), Word::Fine));
    }

    /// The last words: nobody waits for this gateway from now on.
    pub(super) async fn leave(&self) {
        // Who does not hear it sees that nothing is said any more.
        let _ = tokio::time::timeout(LAST_WORDS, self.step(Step::Leave)).await;
    }

    fn say(&self, step: Step) {
        // Nobody takes it when the process ends.
        let _ = self.jobs.send(Job { step, reply: None });
    }

    /// Goes a step with the next call; `None`: nobody answers.
    async fn step(&self, step: Step) -> Option<Reply> {
        if self.is_alone() {
            self.say(step);
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { step, reply: Some(reply) }).ok()?;
        answer.await.ok().flatten()
    }
}

/// `asked`: those that are there were asked since the request came.
fn verdict(others: &[Other], asked: bool) -> Verdict<'_> {
    let kept = |other: &Other| match other.word {
        Word::Lost => true,
        // After a gateway's end every request of its last minutes counts, as at its own next start.
        Word::Kept | Word::Fine => !other.there,
        Word::Open => false,
    };
    let waits = |other: &Other| other.there && (other.word != Word::Fine || !asked);
    match (others.iter().find(|other| kept(other)), others.first()) {
        (Some(kept), _) => Verdict::Join(kept),
        (None, None) => Verdict::Ours,
        (None, Some(_)) if others.iter().any(waits) => Verdict::Wait,
        (None, Some(other)) => Verdict::Instead(other),
    }
}

impl Held {
    /// The request is kept; returns when other gateways can know it, or nobody answers.
    pub(super) async fn kept(&self) {
        self.elsewhere.step(Step::Say(self.id.clone(), Word::Kept)).await;
    }

    /// Its client has the answer, or sent it again to this gateway.
    pub(super) fn arrived(&self) {
        self.arrived.store(true, Ordering::Relaxed);
    }

    /// The request is kept, and its answer may not have arrived.
    pub(super) fn lost(&self) {
        self.elsewhere.say(Step::Say(self.id.clone(), Word::Lost));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut standing = self.elsewhere.standing.lock();
        let Some(count) = standing.get_mut(&self.id) else { return };
        *count -= 1;
        if *count == 0 {
            standing.remove(&self.id);
            let last = if self.arrived.load(Ordering::Relaxed) { Step::Forget } else { Step::GiveUp };
            self.elsewhere.say(last(self.id.clone()));
        }
    }
}

impl Caller {
    /// Calls until nobody is left who could say something. `asked`: another gateway asks about this request.
    pub(super) async fn run(mut self, asked: impl Fn(&Id) + Send) {
        let mut pause = Duration::ZERO;
        loop {
            let mut jobs = std::mem::take(&mut self.backlog);
            let rest = jobs.split_off(jobs.len().min(MAX_STEPS));
            self.backlog = rest;
            if jobs.is_empty() {
                tokio::select! {
                    biased;
                    taken = self.jobs.recv_many(&mut jobs, MAX_STEPS) => if taken == 0 { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
            pause = if self.standing.lock().is_empty() { IDLE } else { TICK };
            let (steps, waiting): (Vec<Step>, Vec<_>) = jobs.into_iter().map(|job| (job.step, job.reply)).unzip();
            let last = steps.last() == Some(&Step::Leave);
            let result = self.store.call(&steps).await;
            let outcome = if result.is_ok() { "ok" } else { "failed" };
            self.metrics.shared_digest_calls.get_or_create(&Outcome { outcome }).inc();
            match result {
                Ok(round) => {
                    self.is_there();
                    for (waiting, reply) in waiting.into_iter().zip(round.replies) {
                        // Who waited may be gone.
                        waiting.map(|waiting| waiting.send(Some(reply)));
                    }
                    round.asked.iter().for_each(&asked);
                    if last {
                        return;
                    }
                }
                Err(error) => {
                    self.is_away(error);
                    let mut late = std::mem::take(&mut self.backlog);
                    for (step, reply) in steps.into_iter().zip(waiting) {
                        self.put_off(Job { step, reply });
                    }
                    self.backlog.append(&mut late);
                    if self.jobs.is_closed() {
                        return;
                    }
                    self.pause().await;
                }
            }
        }
    }

    fn is_there(&mut self) {
        if !self.sharing.borrow().connected {
            self.sharing.send_replace(Sharing { connected: true, last_error: None });
            info!("digests are shared with the other gateways");
        }
        self.metrics.shared_digest_connected.set(1);
    }

    fn is_away(&mut self, error: String) {
        // The log has it once.
        if self.sharing.borrow().last_error.is_none() {
            warn!(error, "digests cannot be shared now: a repeat through another gateway is stored twice");
        }
        self.sharing.send_replace(Sharing { connected: false, last_error: Some(error) });
        self.metrics.shared_digest_connected.set(0);
    }

    /// Nobody waits for it any more, and what it says is said later.
    fn put_off(&mut self, job: Job) {
        let Job { step, reply } = job;
        reply.map(|reply| reply.send(None));
        if self.backlog.len() < MAX_BACKLOG && matches!(step, Step::Say(..) | Step::Forget(_) | Step::GiveUp(_)) {
            self.backlog.push(Job { step, reply: None });
        }
    }

    async fn pause(&mut self) {
        let over = tokio::time::sleep(PAUSE);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                job = self.jobs.recv() => match job {
                    Some(job) => self.put_off(job),
                    None => return,
                },
            }
        }
    }
}
