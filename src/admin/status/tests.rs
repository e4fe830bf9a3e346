//! Every accepted row is somewhere, whatever people and the sink do.

use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::admin::right::{Caller, Right};
use crate::keys::testing::entry;
use crate::signal::Signal;
use crate::sink::Outcome;
use crate::sink::fake::{Act, FakeSink};
use crate::spool::disk::faulty::FaultyDisk;
use crate::spool::{Batch, Limits, Settings};

struct World {
    sink: Arc<FakeSink>,
    behind: Behind,
    router: Router,
}

impl World {
    fn new() -> World {
        let settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };
        let spool = Spool::open(Box::new(FaultyDisk::new(1)), &settings).unwrap().0;
        let sink = FakeSink::new();
        let dyn_sink: Arc<dyn Sink> = sink.clone();
        let deliveries = Deliveries::new(dyn_sink.clone(), 2, Arc::default());
        let behind = Behind::default();
        let keys = Arc::new(KeyRing::new(vec![entry("checkout", "a", 5)]));
        let router = crate::admin::people(behind.clone(), Default::default(), Right::default());
        assert!(
            behind
                .set(Sources {
                    spool: Arc::new(spool),
                    deliveries,
                    sink: dyn_sink,
                    keys,
                    shared_digests: None,
                    configuration: ConfigurationWatch::default()
                })
                .is_ok()
        );
        World { sink, behind, router }
    }

    fn sources(&self) -> &Sources {
        self.behind.get().unwrap()
    }

    fn batch(&self, requests: &[&str]) -> Batch {
        let mut open = self.sources().spool.batch(Signal::Logs);
        open.append(&[crate::deliver::tests::frame(&self.sink, requests)]).unwrap();
        open.seal()
    }

    async fn deliver(&self, requests: &[&str]) {
        self.sources().deliveries.take(self.batch(requests), None);
        self.settle().await;
    }

    async fn settle(&self) {
        while !self.sources().deliveries.is_at_rest() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    async fn ask(&self, method: &str, path: &str) -> (StatusCode, serde_json::Value) {
        let here = Caller::Address("127.0.0.1:5".parse().unwrap());
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.extension(ConnectInfo(here)).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// stored, waiting, held, quarantined, dropped of all rows, which add up.
    async fn rows(&self) -> [u64; 5] {
        let (status, shown) = self.ask("GET", "/status").await;
        assert_eq!(status, StatusCode::OK);
        let rows = &shown["rows"];
        let numbers = ["stored", "waiting", "held", "quarantined", "dropped"].map(|name| rows[name].as_u64().unwrap());
        assert_eq!(rows["accepted"], numbers.iter().sum::<u64>());
        numbers
    }
}

#[tokio::test(start_paused = true)]
async fn every_accepted_row_is_somewhere() {
    let world = World::new();
    world.sink.always("b", Some(Act::Say(Outcome::Hold { why: "no such table".into() })));
    world.deliver(&["r1 a=3"]).await;
    assert_eq!(world.rows().await, [3, 0, 0, 0, 0]);
    world.deliver(&["r2 a=1 b=2", "poison a=4"]).await;
    // What is in `a` counts as waiting until its batch is finished.
    assert_eq!(world.rows().await, [3, 5, 2, 0, 0]);
    let (_, shown) = world.ask("GET", "/status").await;
    assert_eq!(shown["tables"]["b"]["last_error"], "no such table");
    assert_eq!(shown["tables"]["b"]["parts_held"], 1);
    assert_eq!(shown["rows_by_key_and_table"]["k"]["b"]["held"], 2);
    assert_eq!(shown["keys"]["k"]["held"], 2);
    world.sink.always("b", None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.rows().await, [6, 0, 0, 4, 0]);

    let (_, all) = world.ask("GET", "/spool").await;
    assert_eq!((&all[0]["sequence"], &all[0]["place"]), (&1.into(), &"quarantine".into()));
    let (status, _) = world.ask("POST", "/spool/1/retry").await;
    assert_eq!(status, StatusCode::OK);
    world.settle().await;
    assert_eq!(world.rows().await, [6, 0, 0, 4, 0], "it is poison still");
    let (status, _) = world.ask("POST", "/spool/1/drop").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.rows().await, [6, 0, 0, 0, 4]);
    assert_eq!(world.ask("POST", "/spool/1/drop").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_shows_what_is_left_of_it_and_never_itself() {
    let world = World::new();
    let key = world.sources().keys.find(b"a").unwrap();
    let entry = async || world.ask("GET", "/status").await.1["keys"]["checkout"]["entries"][0].clone();
    let rested = entry().await;
    assert_eq!((&rested["source"], &rested["state"]), (&"file".into(), &"valid".into()));
    assert_eq!(rested["signals"], serde_json::json!(["traces", "logs", "metrics"]), "the sink takes no profiles");
    assert_eq!((&rested["left"]["records"], &rested["last_used_ms"]), (&1000.into(), &serde_json::Value::Null));
    key.state.seen(SystemTime::now());
    key.state.limiter.charge_volume(7, 900).unwrap();
    let used = entry().await;
    assert!(used["left"]["records"].as_u64().unwrap() < 1000 && used["last_used_ms"].as_u64().is_some());
    assert_eq!((&used["used"]["bytes"], &used["used"]["records"]), (&7.into(), &900.into()));
    let digest = data_encoding::HEXLOWER.encode(&key.entry.sha256);
    assert!(!used.to_string().contains(&digest), "{used}");
}

#[tokio::test(start_paused = true)]
async fn a_person_may_drop_what_is_held() {
    let world = World::new();
    world.sink.always("b", Some(Act::Say(Outcome::Hold { why: "no such table".into() })));
    world.deliver(&["r1 a=1 b=2"]).await;
    assert_eq!(world.ask("GET", "/spool/0").await.1["parts"][0]["is_in"], true);
    assert_eq!(world.ask("POST", "/spool/0/drop").await.0, StatusCode::OK);
    world.settle().await;
    assert_eq!(world.rows().await, [1, 0, 0, 0, 2]);
    assert!(world.sink.stored("b").is_empty());
}

#[tokio::test]
async fn a_web_page_and_a_stranger_may_not_give_orders() {
    let world = World::new();
    let here = Caller::Address("127.0.0.1:5".parse().unwrap());
    let there = Caller::Address("192.0.2.1:5".parse().unwrap());
    for (caller, host, origin) in [
        (here, "localhost", Some("https://evil.example")),
        (here, "evil.example:9317", None),
        (there, "localhost", None),
    ] {
        let mut request = Request::post("/spool/0/drop").header("host", host).extension(ConnectInfo(caller));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{caller:?} {host} {origin:?}");
    }
}

/// Two orders at once: one is carried out, the other is told so, and what they are about is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_orders_about_one_batch_one_is_carried_out() {
    let world = Arc::new(World::new());
    for round in 0..20 {
        let batch = world.batch(&["poison a=4"]);
        let sequence = batch.sequence();
        world.sources().deliveries.take(batch, None);
        let is_kept = || world.sources().spool.quarantined().unwrap().iter().any(|one| one.sequence == sequence);
        while world.sources().deliveries.has(sequence) || !is_kept() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let orders = ["retry", "drop", "retry", "drop", "retry"].map(|order| {
            let (world, path) = (world.clone(), format!("/spool/{sequence}/{order}"));
            tokio::spawn(async move { (order, world.ask("POST", &path).await.0) })
        });
        let mut dropped = 0;
        for order in orders {
            let (order, status) = order.await.unwrap();
            let known = [StatusCode::OK, StatusCode::CONFLICT, StatusCode::NOT_FOUND];
            assert!(known.contains(&status), "{order} of {sequence} answered {status}");
            dropped += u32::from(order == "drop" && status == StatusCode::OK);
        }
        while world.sources().deliveries.has(sequence) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let [stored, waiting, held, quarantined, gone] = world.rows().await;
        assert_eq!([stored, waiting, held], [0, 0, 0], "round {round}");
        assert_eq!(quarantined + gone, 4 * (round + 1), "round {round}: a row was counted twice, or is nowhere");
        assert!(dropped <= 1, "round {round}: {dropped} orders to drop one batch were carried out");
    }
}
