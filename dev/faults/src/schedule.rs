//! Which faults come, in which order and after which pauses: decided by the seed, before anything runs.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::proxy::InsertFault;
use crate::rig::Tables;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// To the next insert.
    Insert(InsertFault),
    /// Every connection between otelgate and ClickHouse is cut.
    CutAll,
    /// ClickHouse cannot be reached for so long.
    Away(Duration),
    /// A client's connection is cut before its answer.
    CutClient(usize),
    /// A client's connection breaks when the answer has arrived, before the client saw it.
    LoseAnswer(usize),
    /// SIGKILL of otelgate, and what its newest spool file looks like afterwards.
    KillGateway(Tail),
    /// SIGKILL of otelgate while it cannot reach ClickHouse, which stays so for so long.
    KillGatewayAway(Duration, Tail),
    /// SIGKILL of ClickHouse; it is away for so long.
    KillClickHouse(Duration),
    /// SIGKILL of both at once.
    KillBoth(Tail),
    /// The spool's disk is full for so long.
    FullDisk(Duration),
    /// SIGTERM of otelgate, with a backlog.
    Restart,
    /// SIGKILL of otelgate while a refused part is being divided: so many inserts after a refusal.
    KillDividing(usize, Tail),
    /// A backlog grows, and ClickHouse has so little memory for an insert and for so long.
    Tight(u64, Duration),
    /// Two orders at the same time about each batch in quarantine.
    Orders(Order, Order),
    /// SIGTERM and a start whose log nobody reads, until the next start.
    Unheard,
}

/// What an operator orders of a batch in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// To deliver it again.
    Retry,
    /// To forget it.
    Drop,
}

/// What happens to ClickHouse in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// It lives.
    Alive,
    /// It is killed.
    Killed,
    /// It lives and takes much amiss: constraints refuse rows, a view of the user's own fails, its memory is short.
    Refusing,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 3] = [Scene::Alive, Scene::Killed, Scene::Refusing];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scene::Alive => "alive",
            Scene::Killed => "killed",
            Scene::Refusing => "refusing",
        }
    }
}

/// What a crash leaves at the end of the newest spool file, after everything that was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// So many bytes that were never written by anybody.
    Garbage(usize),
    /// The first bytes, so many, of a frame: a copy of the file's own.
    HalfFrame(usize),
    /// So many zeros, as file systems leave them.
    Zeros(usize),
}

/// Which faults a schedule has.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How many.
    pub count: usize,
    /// The tables decide whether a token can be spoiled.
    pub tables: Tables,
    /// Which faults of ClickHouse.
    pub scene: Scene,
    /// The disk can be filled.
    pub full_disk: bool,
    /// How many clients there are.
    pub clients: usize,
}

/// The pauses before the faults, and the faults.
pub fn schedule(seed: u64, wanted: Wanted) -> Vec<(Duration, Fault)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let deck = deck(wanted);
    let mut cards: Vec<usize> = Vec::new();
    (0..wanted.count)
        .map(|_| {
            // Dealt from a shuffled deck, so that a short run has every kind too.
            if cards.is_empty() {
                cards = (0..deck.len()).collect();
            }
            let card = cards.swap_remove(rng.random_range(0..cards.len()));
            let pause = Duration::from_millis(rng.random_range(50..500));
            (pause, deck[card](&mut rng, wanted.clients))
        })
        .collect()
}

type Card = fn(&mut StdRng, usize) -> Fault;

fn deck(wanted: Wanted) -> Vec<Card> {
    let mut deck = if wanted.scene == Scene::Refusing { refusing() } else { usual() };
    if wanted.tables == Tables::Window {
        deck.push(|_, _| Fault::Insert(InsertFault::Spoil));
    }
    if wanted.full_disk {
        deck.push(|rng, _| Fault::FullDisk(time(rng, 300..1500)));
    }
    if wanted.scene == Scene::Killed {
        deck.extend([kill_clickhouse as Card, kill_clickhouse, |rng, _| Fault::KillBoth(tail(rng))]);
    }
    deck
}

fn refusing() -> Vec<Card> {
    use InsertFault::*;
    vec![
        |rng, _| Fault::KillDividing(rng.random_range(0..5), tail(rng)),
        |rng, _| Fault::Tight(rng.random_range(TIGHT), time(rng, 1500..4000)),
        |rng, _| Fault::Orders(Order::Retry, order(rng)),
        |rng, _| Fault::KillDividing(rng.random_range(0..5), Tail::Clean),
        |_, _| Fault::Insert(LoseReply),
        |rng, _| Fault::KillGateway(tail(rng)),
        |_, _| Fault::Unheard,
        |rng, _| Fault::KillDividing(rng.random_range(0..5), Tail::Clean),
        |_, _| Fault::Insert(CutAfterBody),
        |rng, _| Fault::Orders(Order::Retry, order(rng)),
        |rng, _| Fault::KillGatewayAway(time(rng, 100..1000), tail(rng)),
        |_, _| Fault::Insert(LateException),
        |rng, _| Fault::Tight(rng.random_range(TIGHT), time(rng, 1500..4000)),
        |rng, _| Fault::Insert(Stall(time(rng, 500..3000))),
        |rng, _| Fault::Orders(order(rng), Order::Drop),
        |rng, clients| Fault::LoseAnswer(rng.random_range(0..clients)),
    ]
}

/// Bytes of memory that let some of a backlog's inserts through and refuse others.
const TIGHT: std::ops::Range<u64> = 2 << 20..10 << 20;

fn order(rng: &mut StdRng) -> Order {
    if rng.random_bool(0.3) { Order::Drop } else { Order::Retry }
}

fn usual() -> Vec<Card> {
    use InsertFault::*;
    vec![
        |_, _| Fault::Insert(LoseReply),
        |rng, _| Fault::KillGateway(tail(rng)),
        |rng, clients| Fault::LoseAnswer(rng.random_range(0..clients)),
        |_, _| Fault::Insert(CutAfterBody),
        |rng, clients| Fault::CutClient(rng.random_range(0..clients)),
        |_, _| Fault::Insert(LateException),
        |_, _| Fault::Insert(CutInBody),
        |_, _| Fault::CutAll,
        |rng, _| Fault::KillGateway(tail(rng)),
        |_, _| Fault::Insert(LoseReply),
        |_, _| Fault::Insert(LateExceptionAndNothingStored),
        |rng, clients| Fault::LoseAnswer(rng.random_range(0..clients)),
        |rng, _| Fault::Away(time(rng, 300..2000)),
        |rng, _| Fault::KillGatewayAway(time(rng, 100..1000), tail(rng)),
        |_, _| Fault::Insert(CutBeforeBody),
        |_, _| Fault::Insert(TooManyParts),
        |rng, clients| Fault::CutClient(rng.random_range(0..clients)),
        |rng, _| Fault::Insert(Stall(time(rng, 500..3000))),
        |_, _| Fault::Restart,
    ]
}

fn kill_clickhouse(rng: &mut StdRng, _: usize) -> Fault {
    Fault::KillClickHouse(time(rng, 0..500))
}

fn time(rng: &mut StdRng, milliseconds: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(milliseconds))
}

fn tail(rng: &mut StdRng) -> Tail {
    let bytes = rng.random_range(1..3000);
    match rng.random_range(0..5) {
        0 => Tail::Garbage(bytes),
        1 => Tail::HalfFrame(bytes),
        2 => Tail::Zeros(bytes),
        _ => Tail::Clean,
    }
}

impl Fault {
    /// Whether it leaves nothing in flight by its nature, so that a fault soon after it may meet nothing.
    pub fn kills_clickhouse(self) -> bool {
        matches!(self, Fault::KillClickHouse(_) | Fault::KillBoth(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Insert(fault) => write!(f, "insert: {fault:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule() {
        let wanted = Wanted { count: 100, tables: Tables::Window, scene: Scene::Killed, full_disk: true, clients: 8 };
        assert_eq!(schedule(7, wanted), schedule(7, wanted));
        assert_ne!(schedule(7, wanted), schedule(8, wanted));
        assert!(schedule(7, wanted).iter().take(25).any(|(_, fault)| fault.kills_clickhouse()));
    }
}
