//! Keys from ClickStack's app: what its own collectors would admit is admitted here, at every step of a key's life.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use otelgate::signal::Signal;
use parking_lot::Mutex;
use prost::Message as _;

use crate::support::client::{Call, Client, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

/// What was recorded of a real app.
const ONE_KEY: &[u8] = include_bytes!("../data/opamp/first.res");
const FIRST: &str = "bb8f1216-9ec1-497b-a822-5c343ef74214";
const TWO_TEAMS: &[u8] = include_bytes!("../data/opamp/two-teams.res");
const TEAMS: [&str; 2] = ["63a30f84-8050-497c-bf06-9b893333219d", "second-team-key"];
const NOT_ENFORCED: &[u8] = include_bytes!("../data/opamp/not-enforced.res");

/// A poll as this test reads it.
#[derive(Clone, PartialEq, prost::Message)]
struct Poll {
    #[prost(bytes = "vec", tag = "1")]
    instance_uid: Vec<u8>,
    #[prost(uint64, tag = "4")]
    capabilities: u64,
    #[prost(message, optional, tag = "7")]
    status: Option<Status>,
    #[prost(message, optional, tag = "9")]
    disconnect: Option<Disconnect>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(int32, tag = "2")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Disconnect {}

/// A stand-in for the app, which says what it is told to say.
#[derive(Clone, Default)]
struct App {
    says: Arc<Mutex<(u16, Vec<u8>)>>,
    polls: Arc<Mutex<Vec<Poll>>>,
}

impl App {
    async fn start(&self, address: &str) -> (String, tokio::task::JoinHandle<()>) {
        let app = self.clone();
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
                return (StatusCode::UNSUPPORTED_MEDIA_TYPE, Vec::new());
            }
            app.polls.lock().push(Poll::decode(body).expect("a poll"));
            let (status, answer) = app.says.lock().clone();
            (StatusCode::from_u16(status).expect("a status"), answer)
        };
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/opamp", post(answer));
        (format!("http://{address}"), tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") }))
    }

    fn say(&self, status: u16, answer: &[u8]) {
        *self.says.lock() = (status, answer.to_vec());
    }

    /// The status that otelgate reported last: 1 applied, 3 failed.
    fn reported(&self) -> Option<i32> {
        self.polls.lock().last().and_then(|poll| poll.status.as_ref()).map(|status| status.status)
    }
}

async fn status(client: &Client, key: &str) -> u16 {
    let body = numbered(Signal::Logs, Protocol::HttpProtobuf, "clickstack", 0, 1);
    client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, key, body)).await.status
}

async fn expect(client: &Client, key: &str, expected: u16) {
    assert_eq!(eventually(expected, || status(client, key)).await, expected, "{key}");
}

fn sources(url: &str, state: &std::path::Path, more: &str) -> (String, String) {
    let source = format!(
        "clickstack: {{ url: \"{url}\", poll_interval: 100ms, limits: {{ requests_per_second: 1000 }}, {more} }}"
    );
    (source, format!("state_dir: \"{}\"\nbatch: {{ max_age: 50ms }}\n", state.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_appears_rotates_and_vanishes_as_the_app_says() {
    let state = tempfile::tempdir().unwrap();
    let app = App::default();
    app.say(503, b"");
    let (url, _running) = app.start("127.0.0.1:0").await;
    let (source, sections) = sources(&url, state.path(), "grace: 2s");
    let setup = Setup { name: "clickstack_keys", key_source: &source, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);

    // No key was ever known: come again.
    expect(&client, FIRST, 503).await;
    app.say(200, ONE_KEY);
    expect(&client, FIRST, 200).await;
    assert_eq!(status(&client, "guessed").await, 401);
    assert_eq!(eventually(Some(1), async || app.reported()).await, Some(1));
    assert!(app.polls.lock().iter().all(|poll| poll.capabilities & 2 != 0 && poll.instance_uid.len() == 16));

    // What cannot be used changes nothing, and the app hears of it where it can.
    for (code, answer) in
        [(500, &b"Internal Server Error"[..]), (200, b"garbage"), (200, &ONE_KEY[..ONE_KEY.len() / 2]), (200, b"")]
    {
        let polls = app.polls.lock().len();
        app.say(code, answer);
        eventually(true, async || app.polls.lock().len() > polls + 1).await;
        assert_eq!(status(&client, FIRST).await, 200, "{code} {answer:?}");
    }

    // Rotated: the new keys at once, the old one for its grace.
    app.say(200, TWO_TEAMS);
    for key in TEAMS {
        expect(&client, key, 200).await;
    }
    assert_eq!(status(&client, FIRST).await, 200);
    let (_, metrics) = crate::support::get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_vanished_key_uses_total{key=\"clickstack-1\"} 1"), "{metrics}");
    assert!(metrics.contains("otelgate_keys{source=\"clickstack\",state=\"vanished\"} 1"), "{metrics}");
    expect(&client, FIRST, 401).await;

    // Not enforced, and not said that anybody may send: closed.
    app.say(200, NOT_ENFORCED);
    expect(&client, TEAMS[0], 401).await;
    assert_eq!(status(&client, "").await, 401);

    let (log, polls) = (edge.logged(), app.polls.clone());
    edge.stop().await;
    assert!(polls.lock().last().unwrap().disconnect.is_some(), "the app hears of a clean stop");
    let kept = state.path().join("clickstack-keys.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(kept).unwrap();
    for key in [FIRST, TEAMS[0], TEAMS[1]] {
        assert!(!log.contains(key) && !kept.contains(key) && !metrics.contains(key), "{key} is shown");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_while_the_app_is_away_admits_what_was_known() {
    let state = tempfile::tempdir().unwrap();
    let app = App::default();
    app.say(200, ONE_KEY);
    let (url, running) = app.start("127.0.0.1:0").await;
    let (source, sections) = sources(&url, state.path(), "grace: 10m");
    let setup = || Setup { name: "clickstack_away", key_source: &source, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup()).await;
    expect(&edge.client(true), FIRST, 200).await;
    let instance = app.polls.lock()[0].instance_uid.clone();
    edge.stop().await;
    running.abort();

    let edge = Edge::start(clickhouse().await, setup()).await;
    let client = edge.client(true);
    assert_eq!(status(&client, FIRST).await, 200);
    assert_eq!(status(&client, "guessed").await, 401);
    let polls = app.polls.lock().len();
    let (_, _running) = app.start(url.trim_start_matches("http://")).await;
    assert!(eventually(true, async || app.polls.lock().len() > polls).await);
    assert_eq!(app.polls.lock().last().unwrap().instance_uid, instance, "the same otelgate");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_ingestion_must_be_written() {
    let state = tempfile::tempdir().unwrap();
    let app = App::default();
    app.say(200, NOT_ENFORCED);
    let (url, _running) = app.start("127.0.0.1:0").await;
    let (source, sections) = sources(&url, state.path(), "open_ingestion: true");
    let setup = Setup { name: "clickstack_open", key_source: &source, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);
    expect(&client, "", 200).await;
    assert_eq!(status(&client, "whatever").await, 200);
    assert!(edge.logged().contains("anybody may send"), "{}", edge.logged());
    // Enforced again: whoever has no key is out.
    app.say(200, ONE_KEY);
    expect(&client, "", 401).await;
    assert_eq!(status(&client, FIRST).await, 200);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_app_counts_from_when_it_is_written() {
    let state = tempfile::tempdir().unwrap();
    let (app, another) = (App::default(), App::default());
    app.say(200, ONE_KEY);
    another.say(200, TWO_TEAMS);
    let (url, _running) = app.start("127.0.0.1:0").await;
    let (other, _other_running) = another.start("127.0.0.1:0").await;
    let (source, sections) = sources(&url, state.path(), "grace: 1s");
    let setup = Setup { name: "clickstack_moves", key_source: &source, sections: &sections, ..Setup::default() };
    let edge = Edge::start(clickhouse().await, setup).await;
    let client = edge.client(true);
    expect(&client, FIRST, 200).await;

    let text = fs::read_to_string(edge.config()).unwrap();
    let moved = text.replace(&url, &other);
    fs::write(edge.config(), &moved).unwrap();
    for key in TEAMS {
        expect(&client, key, 200).await;
    }
    expect(&client, FIRST, 401).await;
    // Its keys' limits, without a question to the app.
    fs::write(edge.config(), moved.replace("requests_per_second: 1000", "requests_per_second: 1")).unwrap();
    expect(&client, TEAMS[0], 429).await;
    // Without the source its keys are nobody's, and the app hears of it; and back.
    fs::write(edge.config(), moved.replace(&format!(", {}", source.replace(&url, &other)), "")).unwrap();
    expect(&client, TEAMS[0], 401).await;
    assert_eq!(status(&client, KEY).await, 200);
    assert!(another.polls.lock().last().unwrap().disconnect.is_some());
    fs::write(edge.config(), text).unwrap();
    expect(&client, FIRST, 200).await;
    let logged = edge.logged();
    assert!(logged.matches("\"changes\":\"keys.clickstack\"").count() >= 4, "{logged}");
    assert!(!logged.contains("wait for a restart"), "{logged}");
    edge.stop().await;
}
