//! For tests: a sink in memory that keeps tokens as a table with a deduplication window does, and fails as it is told.
//!
//! A request is text: its name, then `table=rows` for each table, for example `r1 otel_logs=2 hyperdx_sessions=1`. A request whose
//! name begins with `bad` is malformed, one with `panic` makes the encoder panic; rows of one whose name begins with `poison` are refused by the table.

mod encoder;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use encoder::FakeEncoder;

use super::{AfterUnknown, BoxFuture, Look, Outcome, PartDelivery, Shards, Sink};
use crate::chunk::ChunkEncoder;
use crate::signal::Signal;

/// What the sink does with an attempt, instead of taking it.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Nothing is stored.
    Say(Outcome),
    /// It is stored, and this is said.
    StoreAndSay(Outcome),
    /// It is stored, and the sink panics.
    StoreAndPanic,
    /// The token is remembered and nothing is stored.
    SpoilAndSay(Outcome),
    /// Waits before it takes it.
    Wait(Duration),
    /// Takes it or not, and says nothing for so long.
    Silence(bool, Duration),
    /// Says nothing for so long, and takes it at [`FakeSink::land`] or before it is looked for, whoever sent it.
    Late(Duration),
}

/// An exception that may have come when the rows were in.
pub(crate) fn too_much() -> Outcome {
    Outcome::Doubtful { or_else: Box::new(Outcome::TooMuch { why: "out of memory".into(), sure: true }) }
}

/// The same, and nobody understands it.
pub(crate) fn odd() -> Outcome {
    Outcome::Doubtful { or_else: Box::new(Outcome::TooMuch { why: "std::exception".into(), sure: false }) }
}

impl Act {
    fn is_doubtful(&self) -> bool {
        matches!(self, Act::Say(Outcome::Doubtful { .. }) | Act::StoreAndSay(Outcome::Doubtful { .. }))
    }

    /// Any of them but a refusal.
    fn random(rng: &mut StdRng) -> Act {
        let unknown = || Outcome::Unknown { why: "cut".into() };
        match rng.random_range(0..15) {
            0 => Act::Say(Outcome::Retry { why: "busy".into(), after: None }),
            1 => Act::Say(unknown()),
            2 => Act::StoreAndSay(unknown()),
            3 => Act::SpoilAndSay(unknown()),
            4 => Act::Silence(rng.random(), Duration::from_secs(30)),
            5 => Act::Late(Duration::from_secs(30)),
            6 => Act::Say(too_much()),
            7 => Act::StoreAndSay(too_much()),
            8 => Act::Say(odd()),
            9 => Act::StoreAndSay(odd()),
            _ => Act::Wait(Duration::from_millis(rng.random_range(0..2000))),
        }
    }
}

#[derive(Default)]
pub(crate) struct State {
    /// Acts by table, used up one an attempt.
    pub(crate) script: BTreeMap<String, VecDeque<Act>>,
    /// Acts that are never used up.
    pub(crate) always: BTreeMap<String, Act>,
    /// Every attempt: table and token.
    pub(crate) attempts: Vec<(String, String)>,
    /// Rows of every attempt, and of all that were under way with it.
    pub(crate) sizes: Vec<(u64, u64)>,
    /// More rows than this at once are too much.
    pub(crate) capacity: Option<u64>,
    under_way: u64,
    /// What is said to rows of this request.
    bewildering: Option<(String, Outcome)>,
    /// Tables that were looked at.
    pub(crate) looks: Vec<String>,
    /// Stored rows: table and the name of their request.
    pub(crate) rows: Vec<(String, String)>,
    /// Stored inserts: token and the names of their requests.
    pub(crate) inserts: Vec<(String, BTreeSet<String>)>,
    /// Draws acts where nothing else says what to do.
    pub(crate) chaos: Option<StdRng>,
    /// Where each of `rows` is, with shards.
    pub(crate) at: Vec<Option<Arc<str>>>,
    /// With shards: those that do not answer.
    pub(crate) away: HashSet<Arc<str>>,
    /// With shards: where each part was sent first.
    homes: HashMap<String, Arc<str>>,
    /// Parts that were sent to one shard and then to another, or to none.
    pub(crate) strays: Vec<String>,
    tokens: HashSet<(Option<Arc<str>>, String)>,
    late: Vec<PartDelivery>,
}

pub(crate) struct FakeSink {
    pub(crate) state: Mutex<State>,
    pub(crate) rule: Mutex<AfterUnknown>,
    /// What held parts are told.
    pub(crate) changes: watch::Sender<u64>,
    /// Replicas that share their tokens: a token counts for ten minutes.
    pub(crate) replicas: AtomicBool,
    pub(crate) shards: Mutex<Shards>,
}

impl FakeSink {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(FakeSink {
            state: Mutex::default(),
            rule: Mutex::new(AfterUnknown::RepeatThenLook),
            changes: watch::Sender::new(0),
            replicas: AtomicBool::new(false),
            shards: Mutex::default(),
        })
    }

    pub(crate) fn script(&self, table: &str, acts: impl IntoIterator<Item = Act>) {
        self.state.lock().script.insert(table.to_owned(), acts.into_iter().collect());
    }

    pub(crate) fn always(&self, table: &str, act: Option<Act>) {
        let always = &mut self.state.lock().always;
        match act {
            Some(act) => always.insert(table.to_owned(), act),
            None => always.remove(table),
        };
    }

    /// From now on it does anything; `None`: what it should.
    pub(crate) fn chaos(&self, seed: Option<u64>) {
        self.state.lock().chaos = seed.map(StdRng::seed_from_u64);
    }

    /// Rows stored in a table by the name of their request.
    pub(crate) fn stored(&self, table: &str) -> BTreeMap<String, usize> {
        let mut stored = BTreeMap::new();
        for (_, name) in self.state.lock().rows.iter().filter(|(of, _)| of == table) {
            *stored.entry(name.clone()).or_default() += 1;
        }
        stored
    }

    /// The tokens of all attempts at a table, in order.
    pub(crate) fn tokens(&self, table: &str) -> Vec<String> {
        let state = self.state.lock();
        state.attempts.iter().filter(|(of, _)| of == table).map(|(_, token)| token.clone()).collect()
    }

    /// Inserts with rows of a request whose name begins so get this answer, and nothing of them is stored.
    pub(crate) fn bewilders(&self, request: &str, outcome: Outcome) {
        self.state.lock().bewildering = Some((request.to_owned(), outcome));
    }

    /// From now on more rows at once are too much.
    pub(crate) fn takes_at_once(&self, rows: Option<u64>) {
        self.state.lock().capacity = rows;
    }

    /// What was sent and is still under way arrives.
    pub(crate) fn land(&self) {
        let late = std::mem::take(&mut self.state.lock().late);
        for part in &late {
            self.take(part);
        }
    }

    /// From now on it has these shards.
    pub(crate) fn divide(&self, shards: &[&str]) {
        *self.shards.lock() = shards.iter().map(|name| Arc::from(*name)).collect();
    }

    /// Whether the shard that a part is sent to answers.
    fn comes_home(&self, part: &PartDelivery) -> bool {
        if self.shards.lock().is_empty() {
            return true;
        }
        let mut state = self.state.lock();
        let name: Vec<&str> = part.token.split('-').take(2).collect();
        let home = part.shard.as_ref().map(|shard| state.homes.entry(name.join("-")).or_insert(shard.clone()).clone());
        if home.is_none() || home != part.shard {
            state.strays.push(part.token.clone());
        }
        part.shard.as_ref().is_some_and(|shard| !state.away.contains(shard))
    }

    fn take(&self, part: &PartDelivery) -> Outcome {
        let rows: Vec<String> = rows(part);
        if rows.iter().any(|name| name.starts_with("poison")) {
            return Outcome::Refused { why: "poison".into() };
        }
        let mut state = self.state.lock();
        let has_window = *self.rule.lock() != AfterUnknown::Look;
        if state.tokens.insert((part.shard.clone(), part.token.clone())) || !has_window {
            let table = part.name.table.to_string();
            state.inserts.push((part.token.clone(), rows.iter().cloned().collect()));
            state.at.extend(rows.iter().map(|_| part.shard.clone()));
            state.rows.extend(rows.into_iter().map(|name| (table.clone(), name)));
        }
        Outcome::Delivered
    }
}

/// An attempt, for as long as it lasts.
struct UnderWay<'a> {
    sink: &'a FakeSink,
    rows: u64,
}

impl<'a> UnderWay<'a> {
    fn new(sink: &'a FakeSink, rows: u64) -> Self {
        let mut state = sink.state.lock();
        state.under_way += rows;
        let all = state.under_way;
        state.sizes.push((rows, all));
        UnderWay { sink, rows }
    }

    fn is_too_much(&self) -> bool {
        let state = self.sink.state.lock();
        state.capacity.is_some_and(|capacity| state.under_way > capacity)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.sink.state.lock().under_way -= self.rows;
    }
}

/// One entry a row: the name of its request.
fn rows(part: &PartDelivery) -> Vec<String> {
    let text = String::from_utf8(part.body.concat()).expect("only the fake encoder writes here");
    let all = text.lines().map(str::to_owned);
    match part.only_rows {
        None => all.collect(),
        Some((start, rows)) => all.skip(start as usize).take(rows as usize).collect(),
    }
}

impl Sink for FakeSink {
    fn encoder(&self, _signal: Signal) -> Box<dyn ChunkEncoder> {
        Box::new(FakeEncoder::default())
    }

    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let table = part.name.table.to_string();
            let under_way = UnderWay::new(self, part.rows_sent());
            if !self.comes_home(part) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                return Outcome::Retry { why: "away".into(), after: None };
            }
            let act = {
                let mut state = self.state.lock();
                state.attempts.push((table.clone(), part.token.clone()));
                let scripted = state.script.get_mut(&table).and_then(VecDeque::pop_front);
                let always = scripted.or_else(|| state.always.get(&table).cloned());
                let any = always.or_else(|| state.chaos.as_mut().map(Act::random));
                // Where no look can be believed nobody may ask for one.
                any.filter(|act| !(act.is_doubtful() && self.replicas.load(Ordering::Relaxed)))
            };
            let bewildering = self.state.lock().bewildering.clone();
            if let Some((name, outcome)) = bewildering
                && rows(part).iter().any(|request| request.starts_with(&name))
            {
                return outcome;
            }
            if under_way.is_too_much() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                return too_much();
            }
            match act {
                None => self.take(part),
                Some(Act::Say(outcome)) => outcome,
                Some(Act::StoreAndSay(outcome)) => {
                    self.take(part);
                    outcome
                }
                // Replicas keep a token together with its rows, or neither.
                Some(Act::SpoilAndSay(outcome)) if self.replicas.load(Ordering::Relaxed) => outcome,
                Some(Act::StoreAndPanic) => {
                    self.take(part);
                    panic!("on purpose");
                }
                Some(Act::SpoilAndSay(outcome)) => {
                    self.state.lock().tokens.insert((part.shard.clone(), part.token.clone()));
                    outcome
                }
                Some(Act::Wait(time)) => {
                    tokio::time::sleep(time).await;
                    self.take(part)
                }
                Some(Act::Late(time)) => {
                    self.state.lock().late.push(part.clone());
                    tokio::time::sleep(time).await;
                    Outcome::Unknown { why: "silence".into() }
                }
                Some(Act::Silence(stored, time)) => {
                    if stored {
                        self.take(part);
                    }
                    tokio::time::sleep(time).await;
                    Outcome::Unknown { why: "silence".into() }
                }
            }
        })
    }

    fn look<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Look> {
        Box::pin(async move {
            let table = part.name.table.to_string();
            self.state.lock().looks.push(table.clone());
            // A look begins when the old attempts are over.
            self.land();
            let state = self.state.lock();
            if part.shard.as_ref().map_or(!state.away.is_empty(), |shard| state.away.contains(shard)) {
                return Look::Unclear { why: "away".into() };
            }
            let here = |place: usize| part.shard.is_none() || state.at.get(place) == Some(&part.shard);
            let there = state.rows.iter().enumerate().filter(|(place, (of, _))| *of == table && here(*place));
            let stored: BTreeSet<&String> = there.map(|(_, (_, name))| name).collect();
            let there = |witness: &[u8]| stored.iter().any(|name| name.as_bytes() == witness);
            let present = match part.only_rows {
                Some(_) => rows(part).iter().all(|name| there(name.as_bytes())),
                None => part.witnesses.iter().all(|witness| there(&witness.0)),
            };
            if present { Look::Present } else { Look::Absent }
        })
    }

    fn after_unknown(&self, _table: &str, shard: Option<&str>, since: Duration) -> AfterUnknown {
        if shard.is_none() && !self.shards.lock().is_empty() {
            return AfterUnknown::Look;
        }
        match self.replicas.load(Ordering::Relaxed) {
            true if since < Duration::from_secs(600) => AfterUnknown::Repeat,
            true => AfterUnknown::Look,
            false => *self.rule.lock(),
        }
    }

    fn shards(&self) -> Shards {
        self.shards.lock().clone()
    }

    fn shard(&self, noted: &str) -> Result<Option<Arc<str>>, String> {
        let shards = self.shards.lock();
        let found = shards.iter().find(|shard| ***shard == *noted).cloned();
        found.map(Some).ok_or_else(|| format!("{noted} is not there any more"))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
