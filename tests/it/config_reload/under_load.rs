//! Keys, certificates, limits and origins change in every way in which files change, while requests flow: none fails but for its own key's state.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use otelgate::signal::Signal;
use rustix::process::Signal as ProcessSignal;
use stack::Certificates;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{call, may_ask, put, status};
use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup, keys_yaml};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

/// How much happens.
struct Plan {
    name: &'static str,
    /// Requests a second of the key that is good all the time.
    rate: u32,
    changes: usize,
    /// One in so many changes the certificate too.
    certificates: usize,
    /// One in so many is followed by no signal: it is seen by who looks every two seconds.
    unsaid: usize,
}

/// Answers by status.
type Seen = BTreeMap<u16, u64>;

/// Sends `call` so often until it is told to stop; each answer must be one of `may`.
async fn flow(client: Arc<Client>, call: Call, every: Duration, may: &'static [u16], stop: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut ticks) = (Seen::new(), tokio::time::interval(every));
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let answer = client.send(call.clone()).await;
        assert!(may.contains(&answer.status), "{may:?}: {answer:?}");
        *seen.entry(answer.status).or_default() += 1;
    }
    seen
}

/// The same with a connection for each request: 200.
async fn newcomers(base: String, ca: PathBuf, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::new();
    while !stop.load(Ordering::Relaxed) {
        let client = Client::new(&base, Some(&ca), true).expect("a client");
        let answer = client.send(call(KEY)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        *seen.entry(answer.status).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    seen
}

/// Requests that flow beside the changes.
struct Flows {
    stop: Arc<AtomicBool>,
    began: Instant,
    steady: Vec<JoinHandle<Seen>>,
    /// Of keys whose state changes, and what must have been seen of each.
    others: Vec<(&'static [u16], JoinHandle<Seen>)>,
}

impl Flows {
    async fn start(edge: &Edge, ca: &Path, rate: u32) -> Flows {
        let stop = Arc::new(AtomicBool::new(false));
        let base = &edge.gateway.otlp[0];
        let client = |http2| Arc::new(Client::new(base, Some(ca), http2).expect("a client"));
        // Each lane waits for its answers; a connection holds 128 of HTTP/2, whose first request opens it, or one of HTTP/1.1.
        let lanes = (rate / 20).max(8);
        let (every, old) = (Duration::from_secs(1) * lanes / rate, [client(false), client(false), client(false)]);
        let mut clients: Vec<_> = (0..=lanes / 64).map(|_| client(true)).collect();
        for client in &clients {
            assert_eq!(status(client, KEY).await, 200);
        }
        clients = clients.iter().cycle().take(lanes as usize - old.len()).chain(&old).cloned().collect();
        let lane = |client| tokio::spawn(flow(client, call(KEY), every, &[200], stop.clone()));
        let steady = clients.into_iter().map(lane).collect();
        let page = call("page").header("origin", "https://shop.example");
        let of_others: [(Call, &'static [u16]); 3] =
            [(call("toggled"), &[200, 401]), (call("small"), &[200, 429]), (page, &[200, 403])];
        let other = |(call, may): (Call, &'static [u16])| {
            (may, tokio::spawn(flow(client(true), call, Duration::from_millis(50), may, stop.clone())))
        };
        let mut others: Vec<_> = of_others.into_iter().map(other).collect();
        others.push((&[200], tokio::spawn(newcomers(base.clone(), ca.to_owned(), stop.clone()))));
        Flows { stop, began: Instant::now(), steady, others }
    }

    /// Ends them: no request failed. Says how many requests there were in a second.
    async fn end(self, name: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for lane in self.steady {
            sent += lane.await.expect("no request failed").values().sum::<u64>();
        }
        let lasted = self.began.elapsed();
        for (expected, other) in self.others {
            let seen = other.await.expect("no request failed for another reason");
            assert!(seen.keys().eq(expected), "{expected:?}: {seen:?}");
            sent += seen.values().sum::<u64>();
        }
        let rate = sent as f64 / lasted.as_secs_f64();
        let _ = writeln!(std::io::stderr(), "{name}: {sent} requests in {lasted:.1?}, {rate:.0} a second");
        assert!(sent > 100, "{sent}");
    }
}

/// keys.yaml at a change: `saver` stays as it is, the others come, go and become others.
fn keys_at(number: usize) -> String {
    let odd = number % 2;
    let (new, small) = (format!("key-{number}"), format!("limits: {{ requests_per_second: {}, burst: 1s }}", 1 + odd));
    let page = format!("origins: [\"https://{}.example\"]", ["shop", "other"][odd]);
    let mut keys = vec![("saver", SAVER), (&new, ""), ("small", &small), ("page", &page)];
    keys.extend((odd == 0).then_some(("toggled", "")));
    keys_yaml(&keys)
}

/// What is used of it comes back in 400 s.
const SAVER: &str = "limits: { records_per_second: 1, burst: 400s }";

/// An edge whose files change.
struct Changing {
    plan: Plan,
    edge: Edge,
    /// Its configuration as it began.
    text: String,
    /// Certificates to come.
    next: Vec<(TempDir, Certificates)>,
    /// The authorities of all of them: who connects anew trusts whichever is there by then.
    all: PathBuf,
    _spool: TempDir,
}

impl Changing {
    async fn start(plan: Plan) -> Changing {
        let spool = tempfile::tempdir().expect("a folder");
        let sections = format!("spool: {{ dir: {} }}\n", spool.path().display());
        let setup = Setup { name: plan.name, sections: &sections, max_failures: 1_000_000, ..Setup::default() };
        let edge = Edge::start(clickhouse().await, setup).await;
        let text = fs::read_to_string(edge.config()).expect("there");
        let certificates = || {
            let folder = tempfile::tempdir().expect("a folder");
            let certificates = Certificates::in_folder(folder.path()).expect("certificates");
            (folder, certificates)
        };
        let next: Vec<_> = (0..=plan.changes / plan.certificates).map(|_| certificates()).collect();
        let all = next[0].0.path().join("all.crt");
        let authorities = next.iter().map(|(_, next)| next).chain([&edge.certificates]);
        let authorities = authorities.map(|next| fs::read_to_string(&next.ca).expect("there"));
        fs::write(&all, authorities.collect::<String>()).expect("written");
        Changing { plan, edge, text, next, all, _spool: spool }
    }

    fn client(&self, ca: &Path) -> Client {
        Client::new(&self.edge.gateway.otlp[0], Some(ca), true).expect("a client")
    }

    fn change(&self, number: usize) {
        let Changing { plan, edge, text, next, .. } = self;
        put(&edge.keys_file(), &keys_at(number), number);
        let origins = format!("[\"{}\", \"https://shop.example\"]", origin(number));
        let limits = format!("requests_per_second: {}", 1_000_000 + number);
        let changed = format!("{text}cors: {{ allowed_origins: {origins} }}\nlimits: {{ {limits} }}\n");
        put(&edge.config(), &changed, number);
        if number.is_multiple_of(plan.certificates) {
            let (now, (_, next)) = (&edge.certificates, &next[number / plan.certificates]);
            for (from, to) in [(&next.certificate, &now.certificate), (&next.key, &now.key)] {
                put(to, &fs::read_to_string(from).expect("there"), number / plan.certificates);
            }
        }
        if number % plan.unsaid != plan.unsaid - 1 {
            edge.gateway.process.signal(ProcessSignal::HUP).expect("running");
        }
    }
}

fn origin(number: usize) -> String {
    format!("https://n{number}.example")
}

async fn everything_changes(plan: Plan) {
    let world = Changing::start(plan).await;
    let (edge, client) = (&world.edge, world.client(&world.all));
    world.change(0);
    assert_eq!(eventually(200, || status(&client, "key-0")).await, 200, "{}", edge.logged());
    let flows = Flows::start(edge, &world.all, world.plan.rate).await;
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "config_reload", 0, 400);
    let spent = Instant::now();
    let used = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, "saver", body)).await;
    assert_eq!((used.status, eventually(429, || status(&client, "saver")).await), (200, 429));
    for number in 1..=world.plan.changes {
        world.change(number);
        let taken = eventually(204, async || may_ask(&client, &origin(number)).await).await;
        assert_eq!(taken, 204, "{number}: {}", edge.logged());
        let new = format!("key-{number}");
        assert_eq!(eventually(200, || status(&client, &new)).await, 200, "{number}: {}", edge.logged());
        assert_eq!(may_ask(&client, &origin(number - 1)).await, 403);
        let old = format!("key-{}", number - 1);
        assert_eq!(eventually(401, || status(&client, &old)).await, 401);
    }
    // What was used is used: the key got one record a second back since, and not a burst.
    let mut passed = 0;
    while status(&client, "saver").await == 200 {
        passed += 1;
    }
    let earned = spent.elapsed().as_secs() + 1;
    assert!(passed <= earned.min(350), "{passed} passed, {earned} were earned");
    let last = world.client(&world.next.last().expect("one").1.ca);
    let shown = eventually(200, async || last.try_send(call(KEY)).await.map_or(0, |answer| answer.status)).await;
    assert_eq!(shown, 200, "{}", edge.logged());
    flows.end(world.plan.name).await;
    world.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_everything_changes() {
    let plan = Plan { name: "config_reload", rate: 200, changes: 13, certificates: 5, unsaid: 7 };
    everything_changes(plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`make test-changes`: it takes all of the machine"]
async fn no_request_of_ten_thousand_a_second_fails_while_everything_changes() {
    let rate = std::env::var("RATE").map_or(10_000, |rate| rate.parse().expect("a number"));
    let plan = Plan { name: "config_reload_fast", rate, changes: 50, certificates: 5, unsaid: 10 };
    everything_changes(plan).await;
}
