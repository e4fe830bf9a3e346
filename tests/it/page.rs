//! The status page in a real browser: what stands on it while data flows, and while ClickHouse is away, is what `/status` and `/metrics` say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otelgate::signal::Signal;
use serde_json::Value;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually, get_text, otelgate, skipped};

/// Chromium, where there is one.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.exists())
}

/// The page as the browser has it after its scripts have run for some seconds.
async fn seen(browser: &Path, url: &str) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let mut command = tokio::process::Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("ends").expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a tile says: its kind, its word, its text.
fn tile<'a>(page: &'a str, id: &str) -> [&'a str; 3] {
    let (before, after) = page.split_once(&format!("\" id=\"{id}\">")).unwrap_or_else(|| panic!("no {id} in {page}"));
    let kind = before.rsplit(' ').next().expect("a class");
    let inside = |tag: &str| {
        let rest = after.split_once(&format!("<{tag}>")).expect("begins").1;
        rest.split_once(&format!("</{tag}>")).expect("ends").0
    };
    [kind, inside("b"), inside("p")]
}

async fn send(client: &Client, key: &str, from: u64, records: u64) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "page", from, records);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await.status
}

async fn status(admin: &str) -> Value {
    serde_json::from_str(&get_text(admin, "/status").await.1).expect("JSON")
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn the_page_shows_what_status_says() {
    let clickhouse = clickhouse().await;
    let spool = tempfile::tempdir().expect("a folder");
    let sections = format!(
        "spool: {{ dir: '{}', min_free_bytes: 0MiB, max_bytes: 256MiB }}\nbatch: {{ max_age: 100ms }}\n",
        spool.path().display()
    );
    let keys = [("shop-0815-4711-0001", "expires: 2099-01-01T00:00:00Z")];
    let setup = Setup { name: "page", sections: &sections, keys: &keys, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let (client, admin) = (edge.client(true), edge.gateway.admin.clone());
    assert_eq!(send(&client, KEY, 0, 1234).await, 200);
    assert_eq!(send(&client, "wrong-key-0815", 0, 1).await, 401);
    let stored = eventually(1234, async || status(&admin).await["rows"]["stored"].as_u64().unwrap_or(0)).await;
    assert_eq!(stored, 1234, "{}", edge.logged());

    let (code, page) = get_text(&admin, "/").await;
    assert_eq!((code, page.len() < 60_000), (200, true));
    // What the page reads is there, under these names.
    let shown = status(&admin).await;
    for pointer in [
        "/rows/stored",
        "/rows/waiting",
        "/rows/held",
        "/rows/quarantined",
        "/rows/lost",
        "/rows/dropped",
        "/requests/accepted",
        "/spool/bytes",
        "/spool/max_bytes",
        "/spool/batches",
        "/keys/all/accepted",
        "/keys/all/entries/0/left/records",
        "/keys/all/entries/0/limits/records_per_second",
        "/tables/otel_logs/rows/stored",
        "/tables/otel_logs/last_stored_ms",
    ] {
        assert!(shown.pointer(pointer).is_some_and(Value::is_u64), "{pointer} in {shown}");
    }
    assert_eq!(shown["sink"]["state"], "well", "{shown}");
    assert_eq!(shown["spool"]["max_bytes"], 256 << 20, "{shown}");
    let there = admin.trim_start_matches("http://");
    let top = otelgate(&["top", "--once", "--admin", there]).await;
    let top = String::from_utf8_lossy(&top.stdout).into_owned();
    for line in
        ["Taking data?  yes         1 requests, 1,234 rows so far", "1,234 rows stored, 0 waiting", "tls.cert_file"]
    {
        assert!(top.contains(line), "no {line} in {top}");
    }
    let Some(browser) = browser() else {
        skipped("no Chromium, so the page was not looked at in a browser");
        return edge.stop().await;
    };
    let page = seen(&browser, &admin).await;
    assert_eq!(tile(&page, "taking"), ["good", "yes", "1 requests, 1,234 rows so far"]);
    assert_eq!(tile(&page, "storing"), ["good", "yes", "1,234 rows stored, 0 waiting"]);
    assert_eq!(tile(&page, "late")[..2], ["good", "not at all"]);
    for text in [
        "<td>all</td><td>logs</td>",
        "<td>unauthenticated</td><td>all</td>",
        "<td>otel_logs</td><td class=\"n\">1,234</td>",
        "<polyline",
        "shop-0815-4711-0001",
        "<td>tls.cert_file</td>",
    ] {
        assert!(page.contains(text), "no {text} in {page}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_page_says_what_stands_in_the_way() {
    let clickhouse = clickhouse().await;
    let spool = tempfile::tempdir().expect("a folder");
    let sections =
        format!("spool: {{ dir: '{}', min_free_bytes: 0MiB }}\nbatch: {{ max_age: 100ms }}\n", spool.path().display());
    let edge = Edge::start(clickhouse, Setup { name: "page_away", sections: &sections, ..Setup::default() }).await;
    let admin = edge.gateway.admin.clone();
    let rename = |from: &str, to: &str| format!("RENAME TABLE {0}.{from} TO {0}.{to}", edge.database);
    clickhouse.query(&rename("otel_logs", "elsewhere"), "TabSeparated").await.expect("renamed");
    assert_eq!(send(&edge.client(true), KEY, 0, 55).await, 200);
    let held = async || status(&admin).await["rows"]["held"].as_u64().unwrap_or(0);
    assert_eq!(eventually(55, held).await, 55, "{}", edge.logged());
    let shown = status(&admin).await;
    assert_ne!(shown["sink"]["state"], "well", "{shown}");
    if let Some(browser) = browser() {
        let page = seen(&browser, &admin).await;
        let [kind, word, text] = tile(&page, "storing");
        assert_ne!((kind, word), ("good", "yes"), "{text}");
        assert!(text.contains("55 held") && text.contains("0 rows stored"), "{text}");
        assert!(page.contains("schema apply"), "no remedy in {page}");
    } else {
        skipped("no Chromium, so the page was not looked at in a browser");
    }
    clickhouse.query(&rename("elsewhere", "otel_logs"), "TabSeparated").await.expect("renamed");
    edge.stop().await;
}
