//! Without a spool a client is told what the endpoint behind otelgate said of its own records.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelgate::signal::Signal;
use stack::{Certificates, Gateway};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{KEY, config};
use crate::support::client::{Call, Client, Protocol};
use crate::support::requests::numbered;

/// `partial_success { rejected = 2, error_message = "too old" }`.
const PARTIAL: [u8; 13] = *b"\x0a\x0b\x08\x02\x12\x07too old";

/// What an endpoint took: paths and bodies, in order.
pub(super) type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An OTLP/HTTP endpoint that rejects some of what a service `partial` sends, and refuses what holds one named `poison`.
pub(super) async fn endpoint() -> (u16, Taken) {
    let taken = Taken::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let taking = taken.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufReader::new(stream), taking.clone()));
        }
    });
    (port, taken)
}

async fn answer(mut stream: BufReader<TcpStream>, taken: Taken) -> std::io::Result<()> {
    loop {
        let (mut length, mut line) = (0, String::new());
        stream.read_line(&mut line).await?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let value = line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().to_owned());
            length = value.map_or(length, |value| value.parse().expect("a length"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let holds = |name: &[u8]| body.windows(name.len()).any(|window| window == name);
        let (status, said): (_, &[u8]) = match () {
            () if holds(b"poison") => ("400 Bad Request", b"because"),
            () if holds(b"partial") => ("200 OK", &PARTIAL),
            () => ("200 OK", b""),
        };
        taken.lock().expect("no panic").push((path, body));
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", said.len());
        stream.write_all(&[head.as_bytes(), said].concat()).await?;
    }
}

async fn edge(folder: &std::path::Path) -> (Gateway, Certificates) {
    let certificates = Certificates::in_folder(folder).expect("certificates");
    let config =
        config(folder, &certificates, "told").forward(&format!("http://127.0.0.1:{}", endpoint().await.0), "http");
    let gateway = config.section("batch: { max_age: 300ms }").start().await.unwrap_or_else(|error| panic!("{error:#}"));
    (gateway, certificates)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_success_reaches_the_client_whose_records_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let (edge, certificates) = edge(folder.path()).await;
    for protocol in Protocol::ALL {
        let client = Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client");
        let body = numbered(Signal::Logs, protocol, "partial", 0, 5);
        let answer = client.send(Call::export(protocol, Signal::Logs, KEY, body)).await;
        assert!(answer.accepted(protocol), "{answer:?}");
        let said = String::from_utf8_lossy(&answer.body);
        assert!(said.contains("too old"), "{protocol:?}: {answer:?}");
        if protocol == Protocol::HttpJson {
            assert!(said.contains(r#""rejectedLogRecords":"2""#), "{said}");
        }
    }
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_clients_poison_is_refused_to_that_client_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (edge, certificates) = edge(folder.path()).await;
    let client = Arc::new(Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client"));
    let sending = (0..9).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let service = if number == 4 { "poison".to_owned() } else { format!("good-{number}") };
            let body = numbered(Signal::Traces, Protocol::HttpProtobuf, &service, 0, 5);
            client.send(Call::export(Protocol::HttpProtobuf, Signal::Traces, KEY, body)).await
        })
    });
    for (number, one) in sending.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = one.await.expect("an answer");
        assert_eq!(answer.status, if number == 4 { 400 } else { 200 }, "{number}: {answer:?}");
    }
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}
