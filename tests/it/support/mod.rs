//! What the tests of the running program share: one ClickHouse for all of them, an edge (otelgate with a database of its own)
//! for each, a raw client, and OTLP requests.

pub mod client;
pub mod compress;
pub mod edge;
pub mod requests;

use std::time::{Duration, Instant};

use local_stack::ClickHouse;
use tokio::sync::OnceCell;

/// The ClickHouse that all tests share; each uses databases of its own.
pub async fn clickhouse() -> &'static ClickHouse {
    static SHARED: OnceCell<ClickHouse> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let folder = std::env::temp_dir().join(format!("otelgate-test-{}", std::process::id()));
            ClickHouse::start(&folder, 0).await.expect("ClickHouse starts (run `make clickhouse` first)")
        })
        .await
}

/// Asks again until the answer is what is expected, or half a minute has passed; answers the last answer.
pub async fn eventually<T: PartialEq, F: Future<Output = T>>(expected: T, mut ask: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        let answer = ask().await;
        if answer == expected || started.elapsed() > Duration::from_secs(30) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// GET of a plain HTTP address; the status.
pub async fn get(base: &str, path: &str) -> u16 {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    let uri = format!("{base}{path}").parse().expect("an address");
    client.get(uri).await.map_or(0, |response| response.status().as_u16())
}
