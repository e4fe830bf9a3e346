//! Replicas that share a key's limits through a real server, which is killed on the way.

use stack::Redis;
use tokio::time::MissedTickBehavior;

use super::*;
use crate::config::{KeyLimits, SharedServer};
use crate::keys::limiter::KeyLimiter;

const REPLICAS: u64 = 3;

fn config(url: String) -> SharedLimits {
    let server = SharedServer { url, password: None, ca_file: None, prefix: "test".into() };
    SharedLimits { server, flush: Duration::from_millis(100) }
}

/// A replica: its keys' limiters, and what follows them.
struct Replica {
    shared: Arc<Shared>,
    busy: KeyLimiter,
    calm: KeyLimiter,
    _following: tokio::task::JoinHandle<()>,
}

impl Replica {
    fn start(url: &str, limits: &KeyLimits) -> Replica {
        let (shared, server) = Shared::open(&config(url.to_owned())).unwrap();
        let of = |id: &str| KeyLimiter::new(limits, id.to_owned(), Some(shared.clone()));
        let (busy, calm) = (of("file:busy"), of("file:calm"));
        let following = tokio::spawn(shared.clone().follow(server, Arc::default()));
        Replica { shared, busy, calm, _following: following }
    }
}

/// Requests that are due by now at so many a second and replica; how many were admitted and refused.
fn send(limiter: &KeyLimiter, due: u64, sent: &mut u64) -> (u64, u64) {
    let (mut admitted, mut refused) = (0, 0);
    while *sent < due {
        *sent += 1;
        if limiter.charge_request().is_ok() { admitted += 1 } else { refused += 1 }
    }
    (admitted, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_they_admit_what_one_would_though_the_server_is_killed() {
    let Some(program) = Redis::installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(program, folder.path(), None).await.unwrap();
    let limits = KeyLimits {
        requests_per_second: 1000,
        bytes_per_second: 1 << 30,
        records_per_second: 1 << 30,
        burst: Duration::from_secs(1),
    };
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::start(&url, &limits)).collect();
    wait_until(|| replicas.iter().all(|replica| replica.shared.state().replicas == 3)).await;

    let began = Instant::now();
    let driving: Vec<_> = replicas.into_iter().map(|replica| tokio::spawn(drive(replica, began))).collect();
    tokio::time::sleep_until(began + Duration::from_secs(4)).await;
    redis.kill().await.unwrap();
    tokio::time::sleep_until(began + Duration::from_secs(6)).await;
    redis.again().await.unwrap();
    let (mut busy, mut calm_refused, mut seconds, mut was_away) = (0, 0, 0.0f64, true);
    for replica in driving {
        let (admitted, refused, lasted, away) = replica.await.unwrap();
        (busy, calm_refused, seconds, was_away) =
            (busy + admitted, calm_refused + refused, seconds.max(lasted), was_away && away);
    }
    assert!(was_away, "every replica took its part while the server was away");
    assert_eq!(calm_refused, 0, "another key is never slowed");
    #[allow(clippy::cast_precision_loss)]
    let share = busy as f64 / (1000.0 * (seconds + 1.0));
    assert!((0.95..=1.05).contains(&share), "{busy} admitted in {seconds} s: {share} of what one would");
}

/// Ten seconds at five times the limit of one key, and half of another's, both over all replicas.
async fn drive(replica: Replica, began: Instant) -> (u64, u64, f64, bool) {
    let (mut sent, mut admitted, mut refused, mut away) = ([0, 0], 0, 0, false);
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let elapsed = began.elapsed();
        let due = |per_second: u64| u64::try_from(elapsed.as_millis()).unwrap() * per_second / 1000;
        admitted += send(&replica.busy, due(5000 / REPLICAS), &mut sent[0]).0;
        refused += send(&replica.calm, due(500 / REPLICAS), &mut sent[1]).1;
        away |= replica.shared.state().limits_divided_by == 3;
        if elapsed >= Duration::from_secs(10) {
            return (admitted, refused, elapsed.as_secs_f64(), away);
        }
    }
}

async fn wait_until(mut is: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not in time");
}

/// Ten seconds at 500 times the limit, by four.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_five_hundred_times_the_limit_is_held() {
    const LIMIT: u64 = 100;
    let Some(program) = Redis::installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(program, folder.path(), None).await.unwrap();
    let limits = KeyLimits {
        requests_per_second: u32::try_from(LIMIT).unwrap(),
        bytes_per_second: 1 << 30,
        records_per_second: 1 << 30,
        burst: Duration::from_secs(1),
    };
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let replicas: Vec<Replica> = (0..4).map(|_| Replica::start(&url, &limits)).collect();
    wait_until(|| replicas.iter().all(|replica| replica.shared.state().replicas == 4)).await;
    let began = Instant::now();
    let flood = |replica: Replica| async move {
        let (mut sent, mut admitted) = (0, 0);
        while began.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let due = u64::try_from(began.elapsed().as_millis()).unwrap() * LIMIT * 500 / 4 / 1000;
            admitted += send(&replica.busy, due, &mut sent).0;
        }
        (admitted, sent, began.elapsed().as_secs_f64())
    };
    let flooding: Vec<_> = replicas.into_iter().map(|replica| tokio::spawn(flood(replica))).collect();
    let (mut admitted, mut sent, mut seconds) = (0, 0, 0.0f64);
    for replica in flooding {
        let (of_it, its, lasted) = replica.await.unwrap();
        (admitted, sent, seconds) = (admitted + of_it, sent + its, seconds.max(lasted));
    }
    let alone = LIMIT as f64 * (seconds + 1.0);
    assert!(sent as f64 > alone * 400.0, "{sent} were sent");
    let share = admitted as f64 / alone;
    assert!((0.95..=1.05).contains(&share), "{admitted} admitted in {seconds} s: {share} of what one would");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_used_the_next_one_lacks_and_state_expires() {
    let Some(program) = Redis::installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(program, folder.path(), None).await.unwrap();
    let limits = KeyLimits {
        requests_per_second: 1,
        bytes_per_second: 1000,
        records_per_second: 1 << 30,
        burst: Duration::from_secs(10),
    };
    let url = format!("redis://127.0.0.1:{}/0", redis.port);
    let [one, two] = [(); 2].map(|()| Replica::start(&url, &limits));
    wait_until(|| two.shared.state().replicas == 2 && one.shared.state().replicas == 2).await;
    one.busy.charge_volume(9000, 1).unwrap();
    // The other hears of it with its own next report.
    wait_until(|| {
        let _ = two.busy.charge_volume(1, 1);
        two.busy.left().bytes < 8000
    })
    .await;
    assert!(two.busy.charge_volume(9000, 1).is_err());
    assert_eq!(two.calm.left().bytes, 10_000);
    // All times are short, and nothing stays of a key that rests.
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let ttl: i64 = redis::cmd("PTTL").arg("{test}:limit:file:busy").query_async(&mut connection).await.unwrap();
    assert!((1..=20_001).contains(&ttl), "{ttl}");
}
