//! How often a request takes a lock that others wait for: what bounds a gateway with many cores (benches/README.md).

use super::*;

/// A lane whose chunks are never full, and that has been at work before.
async fn path() -> Path {
    let path = Path::with(config::Batch { max_chunk_rows: 1_000_000, ..RULES }, super::durable());
    path.send("r0 a=500").await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    path.lanes.visits();
    path
}

#[tokio::test(start_paused = true)]
async fn a_request_alone_takes_its_lanes_lock_twice() {
    let path = path().await;
    for request in ["r1 a=500", "r2 a=500", "r3 a=500"] {
        path.send(request).await.unwrap();
        assert_eq!(path.lanes.visits(), (2, 2), "{request}");
    }
    drop(path.charge("refused a=5").unwrap());
    assert!(path.charge("bad").is_err());
    assert_eq!(path.lanes.visits().0, 2 * 2);
}

/// Each chunk costs some visits more, however many requests it holds: its clock's, and of who is gone last.
#[tokio::test(start_paused = true)]
async fn requests_together_take_it_twice_each_and_a_few_times_a_chunk() {
    const REQUESTS: usize = 50;
    let path = path().await;
    for round in 0..3 {
        let coming = path.lanes.expect(Signal::Logs);
        let waiting: Vec<_> = (0..REQUESTS).map(|request| path.send(&format!("r{round}.{request} a=1"))).collect();
        drop(coming);
        for kept in waiting {
            kept.await.unwrap();
        }
        let (lane, _) = path.lanes.visits();
        assert!(lane <= 2 * REQUESTS + 4, "{lane}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_meet_seldom_where_they_are_followed() {
    const REQUESTS: usize = 500;
    let path = path().await;
    for request in 0..REQUESTS {
        path.send(&format!("r2.{request} a=500")).await.unwrap();
    }
    let most = path.lanes.visits().1;
    assert!(most <= REQUESTS / 10, "of {REQUESTS} requests {most} visits fell on one lock");
}
