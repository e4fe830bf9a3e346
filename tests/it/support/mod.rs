//! What the tests of the running program share: one ClickHouse for all of them, an edge (otelgate with a database of its own)
//! for each, a raw client, and OTLP requests.

pub mod client;
pub mod compress;
pub mod edge;
pub mod issuer;
pub mod requests;

use std::io::Write;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use stack::ClickHouse;
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
    get_text(base, path).await.0
}

/// GET of a plain HTTP address; the status and the body.
pub async fn get_text(base: &str, path: &str) -> (u16, String) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    let uri = format!("{base}{path}").parse().expect("an address");
    let Ok(response) = client.get(uri).await else {
        return (0, String::new());
    };
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Says aloud what was not tested, past the capture of what tests print.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Runs `otelgate` with these arguments to its end.
pub async fn otelgate(arguments: &[&str]) -> std::process::Output {
    let program = stack::binary("otelgate").expect("built");
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("CLICKHOUSE_PASSWORD", "anything").kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    ended.expect("ends").expect("starts")
}
