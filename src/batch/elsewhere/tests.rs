//! Gateways over one store and one sink: whichever of them ends, and wherever, a repeat through another one is stored once, or as often as
//! docs/decisions/0017-shared-digests.md says; and nothing is acknowledged that nobody keeps.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Waker};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stack::Redis;

use super::store::Round;
use super::*;
use crate::admit::Paid;
use crate::batch::tests::{Path, alive};
use crate::batch::{Encoded, Left, Recognised};
use crate::config::SharedServer;
use crate::listen::{Answer, Peer};
use crate::reply::{Away, Refusal};
use crate::sink::BoxFuture;
use crate::sink::fake::FakeSink;
use crate::spool::disk::Disk as _;
use crate::spool::disk::faulty::{Faults, FaultyDisk};
use crate::spool::{Digest, Limits, Settings, Spool};

/// What the server knows.
#[derive(Default)]
pub(super) struct Known {
    gateways: HashMap<Arc<str>, Instant>,
    pub(super) digests: HashMap<Id, BTreeMap<Arc<str>, Word>>,
    asks: HashMap<Arc<str>, Vec<Id>>,
    pub(super) away: bool,
    /// How much longer than a millisecond it takes.
    pub(super) slow: Duration,
}

/// One gateway's way to it.
struct FakeStore {
    known: Arc<Mutex<Known>>,
    me: Arc<str>,
    /// Calls that are still answered: none more, and the gateway has been killed as far as others can see.
    calls: Arc<AtomicU64>,
}

impl Store for FakeStore {
    fn call<'a>(&'a mut self, steps: &'a [Step]) -> BoxFuture<'a, Result<Round, String>> {
        Box::pin(async move {
            let slow = self.known.lock().slow;
            tokio::time::sleep(Duration::from_millis(1) + slow).await;
            let mut known = self.known.lock();
            if known.away || self.calls.load(Ordering::Relaxed) == 0 {
                return Err("away".to_owned());
            }
            self.calls.fetch_sub(1, Ordering::Relaxed);
            Ok(known.go(&self.me, steps))
        })
    }
}

impl Known {
    fn go(&mut self, me: &Arc<str>, steps: &[Step]) -> Round {
        self.gateways.retain(|_, seen| seen.elapsed() < ALIVE);
        self.gateways.insert(me.clone(), Instant::now());
        let asked = self.asks.remove(me).unwrap_or_default();
        Round { asked, replies: steps.iter().map(|step| self.step(me, step)).collect() }
    }

    fn of(&mut self, id: &Id) -> &mut BTreeMap<Arc<str>, Word> {
        self.digests.entry(id.clone()).or_default()
    }

    fn step(&mut self, me: &Arc<str>, step: &Step) -> Reply {
        match step {
            Step::Claim(id) => {
                let there = |gateway: &Arc<str>| self.gateways.contains_key(gateway);
                let all = self.digests.entry(id.clone()).or_default();
                let others = all.iter().filter(|(gateway, word)| *gateway != me || **word == Word::Lost);
                let other = |(gateway, word): (&Arc<str>, &Word)| Other {
                    gateway: gateway.clone(),
                    word: *word,
                    there: there(gateway),
                };
                let others: Vec<Other> = others.map(other).collect();
                if others.is_empty() {
                    all.insert(me.clone(), Word::Open);
                }
                return Reply::Others(others);
            }
            Step::Take { id, from, saying } => {
                let taken = self.of(id).get(&from.gateway) == Some(&from.word);
                if taken {
                    self.of(id).remove(&from.gateway);
                    self.of(id).insert(me.clone(), *saying);
                }
                return Reply::Taken(taken);
            }
            Step::Say(id, word) => {
                self.of(id).insert(me.clone(), *word);
            }
            Step::Forget(id) => self.of(id).retain(|gateway, word| gateway != me || *word == Word::Lost),
            Step::GiveUp(id) => {
                self.of(id).retain(|gateway, word| gateway != me || *word != Word::Open);
                self.of(id).entry(me.clone()).and_modify(|word| *word = Word::Lost);
            }
            Step::Doubt(id, gateway) => {
                self.of(id).entry(gateway.clone()).and_modify(|word| {
                    if *word == Word::Fine {
                        *word = Word::Kept;
                    }
                });
            }
            Step::Ask(id, gateway) => self.asks.entry(gateway.clone()).or_default().push(id.clone()),
            Step::Leave => {
                self.gateways.remove(me);
            }
        }
        Reply::Done
    }
}

/// Gateways of one place.
pub(super) struct Place {
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) sink: Arc<FakeSink>,
}

pub(super) struct Gateway {
    path: Path,
    disk: FaultyDisk,
    calls: Arc<AtomicU64>,
}

impl Place {
    pub(super) fn new() -> Place {
        Place { known: Arc::default(), sink: FakeSink::new() }
    }

    async fn gateway(&self, name: &str) -> Gateway {
        self.gateway_on(name, FaultyDisk::new(1)).await
    }

    /// A gateway whose spool is this disk.
    pub(super) async fn gateway_on(&self, name: &str, disk: FaultyDisk) -> Gateway {
        let digest_ttl = Duration::from_secs(600);
        let settings = Settings { limits: Limits::NONE, digest_ttl };
        let (spool, recovered) = Spool::open(Box::new(disk.clone()), &settings).expect("opens");
        let calls = Arc::new(AtomicU64::new(u64::MAX));
        let store = FakeStore { known: self.known.clone(), me: name.into(), calls: calls.clone() };
        let left = Left { digests: recovered.digests, digest_ttl, shared: Some(Box::new(store)) };
        let path = Path::open(&self.sink, spool, recovered.batches, left);
        // The first call is gone.
        tokio::time::sleep(TICK * 2).await;
        Gateway { path, disk, calls }
    }

    /// How often the request is stored, once everything is delivered.
    async fn stored(&self) -> usize {
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.sink.stored("a").get("r1").copied().unwrap_or(0)
    }

    fn words(&self) -> Vec<Word> {
        self.known.lock().digests.values().flat_map(|all| all.values().copied()).collect()
    }
}

impl Gateway {
    async fn send(&self, answer: Answer) -> Result<(), Refusal> {
        self.take("r1 a=1", answer).await
    }

    /// A request through this gateway, until it is answered.
    pub(super) async fn take(&self, request: &str, answer: Answer) -> Result<(), Refusal> {
        let (coming, received) = self.path.arrives(request)?;
        let ticket = match self.path.lanes.recognise(coming, received, answer).await? {
            Recognised::Repeat(ticket) => ticket,
            Recognised::Fresh(fresh) => {
                let (encoded, paid) = self.path.pay(fresh)?;
                self.path.lanes.keep(encoded, paid)
            }
        };
        ticket.kept().await.map(drop)
    }

    /// The request on its way to be committed, where no other gateway is at it.
    async fn encoded(&self) -> (Encoded<'_>, Paid) {
        let (coming, received) = self.path.arrives("r1 a=1").unwrap();
        match self.path.lanes.recognise(coming, received, alive().0).await.unwrap() {
            Recognised::Fresh(fresh) => self.path.pay(fresh).unwrap(),
            Recognised::Repeat(_) => panic!("a repeat"),
        }
    }

    /// The same, over a connection that lives on until somebody breaks it.
    async fn send_alive(&self) -> Peer {
        let (answer, peer) = alive();
        self.send(answer).await.expect("kept");
        peer
    }

    /// Nothing of it is heard from now on, and nothing reaches its disk.
    pub(super) fn kill(&self) -> FaultyDisk {
        self.calls.store(0, Ordering::Relaxed);
        self.disk.set(Faults { crash_in: Some(0), ..Faults::default() });
        assert!(self.disk.list("").is_err());
        self.disk.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_through_another_gateway_is_stored_once() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    one.send_alive().await.break_off();
    let began = Instant::now();
    two.send_alive().await;
    assert!(began.elapsed() < TICK * 3, "{:?}", began.elapsed());
    assert_eq!(place.stored().await, 1);
    assert!(place.words().is_empty(), "it is forgotten once the second answer arrived");
    two.send_alive().await;
    assert_eq!(place.stored().await, 2, "sent again later, it is another request");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_what_nobody_waits_for_any_more_is_stored_once() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    let (encoded, paid) = one.encoded().await;
    // Its client goes away before it is kept.
    drop(one.path.lanes.keep(encoded, paid));
    two.send_alive().await;
    assert_eq!(place.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_twice_on_purpose_is_stored_twice() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    for _ in 0..2 {
        one.send_alive().await;
        two.send_alive().await;
    }
    assert_eq!(place.stored().await, 4);
    assert!(place.words().is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_the_second_waits_for_the_first() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    let (answer, peer) = alive();
    let (first, second) = tokio::join!(
        async {
            let outcome = one.send(answer).await;
            peer.break_off();
            outcome
        },
        async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            two.send(alive().0).await
        }
    );
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(place.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_elsewhere_is_refused_for_now() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    let hangs = one.encoded().await;
    let refused = two.send(alive().0).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { away: Away::Elsewhere, .. })), "{refused:?}");
    drop(hangs);
    two.send_alive().await;
    assert_eq!(place.stored().await, 1, "what was taken back is no claim");
}

#[tokio::test(start_paused = true)]
async fn wherever_a_gateway_is_killed_its_client_loses_nothing() {
    for (at, expected) in [("claimed", 1), ("committed", 1), ("kept", 1), ("answered", 1)] {
        let place = Place::new();
        let (one, two) = (place.gateway("one").await, place.gateway("two").await);
        let (encoded, paid) = one.encoded().await;
        // From the last word on nothing waits for anything here, so that no other is heard.
        match at {
            "claimed" => drop((encoded, paid)),
            "committed" => drop(one.path.lanes.keep(encoded, paid)),
            "kept" => {
                let mut kept = pin!(one.path.lanes.keep(encoded, paid).kept());
                while place.words() != [Word::Kept] {
                    let polled = kept.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    assert!(polled.is_pending(), "answered before others can know");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            _ => drop(one.path.lanes.keep(encoded, paid).kept().await.unwrap()),
        }
        let disk = one.kill();
        drop(one);
        two.send_alive().await;
        disk.restart();
        // It comes again, with what it had on its disk.
        let _one = place.gateway_on("one, again", disk).await;
        assert_eq!(place.stored().await, expected, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_leaves_what_others_need() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    one.send_alive().await.break_off();
    one.path.lanes.stop().await;
    one.path.lanes.remembered();
    one.path.lanes.leave().await;
    assert_eq!(place.words(), [Word::Lost]);
    let began = Instant::now();
    two.send_alive().await;
    assert!(began.elapsed() < TICK, "{:?}", began.elapsed());
    assert_eq!(place.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_keeps_nobody_waiting_and_hears_it_later() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    let peer = one.send_alive().await;
    place.known.lock().away = true;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    two.send_alive().await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    peer.break_off();
    tokio::time::sleep(Duration::from_secs(5)).await;
    place.known.lock().away = false;
    tokio::time::sleep(PAUSE * 2).await;
    assert_eq!(place.words(), [Word::Lost], "what was not said is said");
    two.send_alive().await;
    assert_eq!(place.stored().await, 2, "the two of before: the last one joins");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_nobody_stands_behind_is_taken_back() {
    let place = Place::new();
    let (one, two) = (place.gateway("one").await, place.gateway("two").await);
    let id = (Digest::of(b"r1 a=1"), Arc::from("k"));
    for word in [Word::Open, Word::Kept] {
        // As a server says that went back in time.
        place.known.lock().step(&"one".into(), &Step::Say(id.clone(), word));
        two.send_alive().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    drop(one);
    assert_eq!(place.stored().await, 2);
}

#[tokio::test]
async fn the_server_does_what_these_tests_believe() {
    let Some(program) = Redis::installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(program, folder.path(), None).await.unwrap();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let config = SharedServer { url, password: None, ca_file: None, prefix: "test".into() };
    let mut stores: Vec<RedisStore> =
        (0..3).map(|_| RedisStore::new(&config, Duration::from_secs(600)).unwrap()).collect();
    let names: Vec<Arc<str>> = stores.iter().map(|store| store.id().into()).collect();
    let (mut known, mut rng) = (Known::default(), StdRng::seed_from_u64(7));
    for round in 0..600 {
        let who = rng.random_range(0..3);
        let steps: Vec<Step> = (0..rng.random_range(0..6)).map(|_| any_step(&mut rng, &names)).collect();
        let mut found = stores[who].call(&steps).await.unwrap();
        for reply in &mut found.replies {
            if let Reply::Others(others) = reply {
                others.sort_by_key(|other| other.gateway.clone());
            }
        }
        // Nobody is silent for long here but who left.
        known.gateways.values_mut().for_each(|seen| *seen = Instant::now());
        assert_eq!(found, known.go(&names[who], &steps), "round {round}: {steps:?}");
    }
}

fn any_step(rng: &mut StdRng, names: &[Arc<str>]) -> Step {
    const WORDS: [Word; 4] = [Word::Open, Word::Kept, Word::Fine, Word::Lost];
    let id = (Digest([rng.random_range(0..2); 16]), ["k", "k: \u{e4}"][rng.random_range(0..2)].into());
    let gateway = names[rng.random_range(0..names.len())].clone();
    let (word, saying) = (WORDS[rng.random_range(0..4)], WORDS[rng.random_range(0..4)]);
    match rng.random_range(0..12) {
        0..4 => Step::Claim(id),
        4 => Step::Take { id, from: Other { gateway, word, there: true }, saying },
        5 | 6 => Step::Say(id, word),
        7 => Step::Forget(id),
        8 => Step::Ask(id, gateway),
        9 => Step::GiveUp(id),
        10 => Step::Doubt(id, gateway),
        _ => Step::Leave,
    }
}
