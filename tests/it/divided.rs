//! A part that ClickHouse refuses as a whole is divided, and otelgate is killed while one of the inserts is held: nothing is stored
//! twice, nothing is lost, and `/status` says what the table holds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otelgate::signal::Signal;
use stack::Door;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, eventually};

const REQUESTS: u64 = 8;

/// In front of ClickHouse: the insert of this number is passed on, and its answer is not.
#[derive(Default)]
struct Holding {
    inserts: AtomicUsize,
    held: AtomicUsize,
    is_held: Notify,
}

impl Holding {
    async fn pass(self: Arc<Self>, server: String, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(server).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        // One request a connection: the next one's head is to be seen too.
        head.truncate(head.len() - 2);
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        server.write_all(&head).await?;
        let is_insert = head.windows(6).any(|word| word == b"INSERT");
        let hold = is_insert && self.inserts.fetch_add(1, Ordering::Relaxed) + 1 == self.held.load(Ordering::Relaxed);
        if !hold {
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
        let text = String::from_utf8_lossy(&head).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        client.read_exact(&mut body).await?;
        server.write_all(&body).await?;
        // ClickHouse has decided.
        server.read_u8().await?;
        self.is_held.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_part_is_divided_neither_doubles_nor_loses() {
    // Which insert is held: the first is the whole part, the second its left half, the third the half with the refused row.
    let cases =
        [(true, false, 3), (false, true, 3), (false, false, 2), (true, true, 2), (true, true, 4), (false, true, 4)];
    for few in cases.chunks(3) {
        let all = few.iter().map(|(window, one_frame, held)| kill_there(*window, *one_frame, *held));
        futures_join(all).await;
    }
}

async fn futures_join(all: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    for task in tasks {
        task.await.expect("a case");
    }
}

/// Where requests came to be in several frames, for the machine is busy, the part is cut otherwise and has no insert of this number.
async fn kill_there(window: bool, one_frame: bool, held: usize) {
    for attempt in 0..5 {
        if kill(window, one_frame, held, attempt).await {
            return;
        }
    }
    panic!("insert {held} does not come");
}

/// False when there was no such insert.
async fn kill(window: bool, one_frame: bool, held: usize, attempt: usize) -> bool {
    let clickhouse = clickhouse().await;
    let (folder, holding) = (tempfile::tempdir().expect("a folder"), Arc::new(Holding::default()));
    let server = clickhouse.url.trim_start_matches("http://").to_owned();
    let serving = holding.clone();
    let door = Door::open(move |client| serving.clone().pass(server.clone(), client)).await.expect("a port");
    let name = format!("divided_{window}_{one_frame}_{held}_{attempt}");
    let commit_interval = if one_frame { "500ms" } else { "1ms" };
    let sections = format!(
        "spool: {{ dir: {} }}\nbatch: {{ max_age: 3s, commit_interval: {commit_interval} }}\n",
        folder.path().display()
    );
    let clickhouse_url = Some(format!("http://127.0.0.1:{}", door.port));
    let setup = Setup { name: &name, sections: &sections, clickhouse_url, ..Setup::default() };
    let edge = Edge::start(clickhouse, setup).await;
    let table = format!("{}.otel_logs", edge.database);
    let alter = |change: &str| format!("ALTER TABLE {table} {change}");
    let constraint = alter("ADD CONSTRAINT no_poison CHECK ServiceName != 'poison'");
    clickhouse.query(&constraint, "Null").await.expect("a constraint");
    if !window {
        let reset = alter("RESET SETTING non_replicated_deduplication_window");
        clickhouse.query(&reset, "Null").await.expect("no window");
    }
    // The tables are read at the start.
    let edge = edge.start_again().await;

    holding.held.store(holding.inserts.load(Ordering::Relaxed) + held, Ordering::Relaxed);
    let client = Arc::new(edge.client(true));
    let sends = (0..REQUESTS).map(|number| {
        let client = client.clone();
        async move {
            let service = if number + 1 == REQUESTS { "poison" } else { "good" };
            let body = numbered(Signal::Logs, Protocol::HttpProtobuf, service, number, 1);
            let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Logs, KEY, body)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    if one_frame {
        futures_join(sends).await;
    } else {
        for send in sends {
            send.await;
        }
    }
    let came = tokio::time::timeout(Duration::from_secs(20), holding.is_held.notified()).await.is_ok();
    let edge = edge.start_again().await;

    let account = async || {
        let status: serde_json::Value =
            serde_json::from_str(&edge.gateway.get("/status").await.expect("status")).expect("JSON");
        ["stored", "quarantined", "waiting", "lost"].map(|place| status["rows"][place].as_u64().expect("a number"))
    };
    assert_eq!(eventually([7, 1, 0, 0], account).await, [7, 1, 0, 0], "{name}: {}", edge.logged());
    let number = async |what: &str| clickhouse.number(&format!("SELECT {what} FROM {table}")).await.expect("a number");
    assert_eq!(number("count()").await, 7, "{name}");
    assert_eq!(number("uniqExact(LogAttributes['seq'])").await, 7, "{name}");
    edge.stop().await;
    came
}
