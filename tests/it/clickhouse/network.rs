//! What is known after a broken connection, and how several servers are used.

use std::time::Duration;

use http::Uri;
use otelgate::sink::clickhouse::ClickHouse;
use otelgate::sink::{Condition, Look, Outcome, Sink as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Database, logs};

/// What a relay does with a connection that carries an insert; everything else it passes on.
#[derive(Clone, Copy)]
enum Insert {
    /// The server gets all of it, the client no answer.
    DropAnswer,
    /// The server gets the head and this much of the body.
    CutBody(usize),
}

/// An address in front of the server that fails inserts.
async fn relay(server: &str, insert: Insert) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move { pass(client, TcpStream::connect(server).await.unwrap(), insert).await });
        }
    });
    format!("http://{address}").parse().unwrap()
}

async fn pass(mut client: TcpStream, mut server: TcpStream, insert: Insert) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    // One request a connection: the next one's head is to be seen too.
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    server.write_all(&head).await.unwrap();
    if !head.windows(6).any(|word| word == b"INSERT") {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    let length: usize = String::from_utf8_lossy(&head)
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap();
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    match insert {
        Insert::DropAnswer => {
            server.write_all(&body).await.unwrap();
            let _ = server.read(&mut [0; 1024]).await;
        }
        Insert::CutBody(at) => server.write_all(&body[..at]).await.unwrap(),
    }
}

#[tokio::test]
async fn nothing_sent_is_a_retry() {
    let database = Database::new("refused").await;
    let known = (**database.sink().await.schema().borrow()).clone();
    let mut config = database.config();
    config.urls = vec!["http://127.0.0.1:1".parse().unwrap()];
    let sink = ClickHouse::connect(config, Some(known)).await.unwrap();
    let outcome = sink.deliver(&logs(&sink, "t", 1, 5)).await;
    assert!(matches!(&outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert!(matches!(sink.ready().await, Condition::Out(_)));
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_look_finds_the_part() {
    let database = Database::new("lost").await;
    let mut config = database.config();
    config.urls = vec![relay(&database.server.url, Insert::DropAnswer).await];
    let sink = ClickHouse::connect(config, None).await.unwrap();
    let part = logs(&sink, "lost", 2, 20);
    let outcome = sink.deliver(&part).await;
    assert!(matches!(&outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(sink.look(&part).await, Look::Present);
    assert_eq!(database.rows("otel_logs").await, part.rows);
}

#[tokio::test]
async fn a_body_cut_between_two_blocks_leaves_nothing() {
    let database = Database::new("cut").await;
    let direct = database.sink().await;
    let part = logs(&direct, "cut", 3, 20);
    let mut config = database.config();
    config.urls = vec![relay(&database.server.url, Insert::CutBody(part.body[0].len())).await];
    let sink = ClickHouse::connect(config, None).await.unwrap();
    let outcome = sink.deliver(&part).await;
    assert!(matches!(&outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(sink.look(&part).await, Look::Absent);
    assert_eq!(database.rows("otel_logs").await, 0);
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let database = Database::new("silent").await;
    let known = (**database.sink().await.schema().borrow()).clone();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = database.config();
    config.urls = vec![format!("http://{}", silent.local_addr().unwrap()).parse().unwrap()];
    config.insert_timeout = Duration::from_millis(300);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = silent.accept().await {
            open.push(tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await }));
        }
    });
    // Settling fails first, for as long as a statement may take: it is not waited for here.
    let connect = ClickHouse::connect(config, Some(known));
    let sink = tokio::time::timeout(Duration::from_secs(60), connect).await.unwrap().unwrap();
    let outcome = sink.deliver(&logs(&sink, "t", 1, 5)).await;
    assert!(matches!(&outcome, Outcome::Doubtful { .. }) && outcome.is_too_much(), "{outcome:?}");
}

#[tokio::test]
async fn the_next_server_takes_over_and_doubt_stays_where_it_is() {
    let database = Database::new("failover").await;
    let mut config = database.config();
    config.urls = vec![
        "http://127.0.0.1:1".parse().unwrap(),
        relay(&database.server.url, Insert::DropAnswer).await,
        database.server.url.parse().unwrap(),
    ];
    let sink = ClickHouse::connect(config, None).await.unwrap();
    assert_eq!(sink.ready().await, Condition::Well);
    let doubtful = logs(&sink, "doubtful", 1, 20);
    let outcome = sink.deliver(&doubtful).await;
    assert!(matches!(&outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(sink.deliver(&logs(&sink, "other", 1, 20)).await, Outcome::Delivered, "the third server");
    let outcome = sink.deliver(&doubtful).await;
    assert!(matches!(&outcome, Outcome::Unknown { .. }), "the same server is asked again: {outcome:?}");
    assert_eq!(sink.look(&doubtful).await, Look::Present);
}
