//! What is sent arrives: every signal, over gRPC and both HTTP encodings, HTTP/1.1 and 2, with every compression.

use std::collections::BTreeSet;

use otelgate::signal::Signal;

use crate::support::clickhouse;
use crate::support::client::{Call, Client, Protocol};
use crate::support::compress::{compress, encoding};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::{numbered, table};

const HTTP_FORMS: [&str; 8] = ["gzip", "zstd", "deflate", "deflate-raw", "zlib", "snappy", "snappy-framed", "lz4"];
const GRPC_FORMS: [&str; 3] = ["gzip", "zstd", "snappy-framed"];

#[tokio::test]
async fn every_signal_protocol_and_compression() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "arrives", ..Setup::default() }).await;
    let (one, two) = (edge.client(false), edge.client(true));
    let mut sent = BTreeSet::new();
    let mut calls = Vec::new();
    for signal in Signal::STABLE {
        for protocol in Protocol::ALL {
            let forms = if protocol == Protocol::Grpc { &GRPC_FORMS[..] } else { &HTTP_FORMS[..] };
            for form in std::iter::once(&"none").chain(forms) {
                for client in if protocol == Protocol::Grpc { vec![&two] } else { vec![&one, &two] } {
                    let service = format!("{signal}-{}", sent.len());
                    let body = numbered(signal, protocol, &service, 0, 3);
                    calls.push(send(client, signal, protocol, form, body));
                    sent.insert(service);
                }
            }
        }
    }
    futures_join(calls).await;
    for signal in Signal::STABLE {
        let attributes = match signal {
            Signal::Traces => "SpanAttributes",
            Signal::Logs => "LogAttributes",
            Signal::Metrics | Signal::Profiles => "Attributes",
        };
        let question = format!(
            "SELECT ServiceName FROM {}.{} GROUP BY ServiceName HAVING \
             arraySort(groupArray({attributes}['seq'])) = ['0', '1', '2']",
            edge.database,
            table(signal)
        );
        let stored: BTreeSet<String> =
            clickhouse.query(&question, "TabSeparated").await.expect("an answer").lines().map(str::to_owned).collect();
        let expected: BTreeSet<String> =
            sent.iter().filter(|service| service.starts_with(signal.name())).cloned().collect();
        assert_eq!(stored, expected, "{signal}");
    }
    edge.stop().await;
}

async fn send(client: &Client, signal: Signal, protocol: Protocol, form: &str, body: Vec<u8>) {
    let call = if form == "none" {
        Call::export(protocol, signal, KEY, body)
    } else {
        Call::export(protocol, signal, KEY, compress(form, &body)).encoding(encoding(form))
    };
    let answer = client.send(call).await;
    assert!(answer.accepted(protocol), "{signal} {protocol:?} {form}: {answer:?}");
}

/// All at once: without a spool an answer waits for its batch, and a batch takes them all.
async fn futures_join<F: Future<Output = ()>>(calls: Vec<F>) {
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| call.as_mut().poll(context).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
