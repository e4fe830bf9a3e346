//! The page behind real sockets, with clients that are not ours: what they make of an answer is what counts.

mod form;
mod shares;

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use stack::Samples;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use super::tests::{FakeSink, gateway, gateway_bearing};
use super::*;
use crate::{config, listen};

pub(super) struct Serving {
    pub(super) address: std::net::SocketAddr,
    pub(super) sink: Arc<FakeSink>,
    gateway: Arc<Gateway>,
    _listeners: listen::Listeners,
}

fn limits() -> config::Listen {
    let (local, long) = (std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Duration::from_secs(60));
    config::Listen {
        otlp: vec![local],
        admin: local,
        max_connections: 100,
        max_connections_per_ip: 100,
        max_handshakes_per_second: 1000,
        max_handshakes_per_second_per_ip: 1000,
        handshake_timeout: long,
        header_timeout: long,
        idle_timeout: long,
        first_key_timeout: long,
        max_connection_age: long,
        connection_age_grace: long,
        proxy_protocol: Vec::new(),
        forwarded: None,
        max_concurrent_streams: 16,
        handover: std::time::Duration::ZERO,
        grpc_reflection: false,
    }
}

pub(super) async fn serving() -> Serving {
    serving_at(gateway()).await
}

pub(super) async fn serving_at((gateway, sink): (Arc<Gateway>, Arc<FakeSink>)) -> Serving {
    let bound = listen::bind(&limits(), &mut listen::Inherited::default(), None, Arc::default()).await.unwrap();
    let address = bound.addresses().unwrap()[0];
    let serving = gateway.clone();
    let listeners = bound.serve(move |request| {
        let gateway = serving.clone();
        async move { gateway.serve(request).await }
    });
    Serving { address, sink, gateway, _listeners: listeners }
}

impl Serving {
    async fn export(&self, key: &str, records: usize) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = LogsServiceClient::new(channel.connect().await.unwrap());
        let mut request = Request::new(Samples::new(7).logs(records));
        request.metadata_mut().insert("authorization", key.parse().unwrap());
        client.export(request).await
    }
}

#[tokio::test]
async fn tonics_client_reads_every_kind_of_answer() {
    let serving = serving().await;
    let answer = serving.export("good", 10).await.unwrap();
    assert_eq!(answer.into_inner().partial_success, None);
    assert_eq!(serving.sink.rows(), 10);
    // 5,000 records are megabytes that nobody reads.
    for records in [1, 5000] {
        let refused = serving.export("wrong", records).await.unwrap_err();
        assert_eq!((refused.code(), refused.get_details_retry_info().is_some()), (Code::Unauthenticated, false));
    }
    serving.export("small", 1).await.unwrap();
    let refused = serving.export("small", 1).await.unwrap_err();
    let advice = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(advice > Duration::ZERO && advice <= Duration::from_millis(1500));
}

#[tokio::test]
async fn an_http_1_client_reads_its_refusal_however_much_it_had_to_send() {
    let serving = serving().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for (key, bytes, status) in [
        ("wrong", 1000, 401),
        ("wrong", 40_000, 401),
        ("traces-only", 900_000, 403),
        ("good", 1000, 400),
        ("good", 3_000_000, 413),
    ] {
        let request = http::Request::post(format!("http://{}/v1/logs", serving.address))
            .header("content-type", "application/x-protobuf")
            .header("x-api-key", key)
            .body(Full::from(vec![0xff; bytes]));
        let response =
            client.request(request.unwrap()).await.unwrap_or_else(|error| panic!("{key} {bytes}: {error:?}"));
        assert_eq!(response.status().as_u16(), status, "{key} {bytes}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!body.is_empty(), "{key} {bytes}");
    }
    assert_eq!(serving.sink.rows(), 0);
}

/// Behind a proxy the streams of one connection are many keys'.
#[tokio::test]
async fn a_refusal_that_is_answered_later_stops_no_other_stream_of_its_connection() {
    let serving = serving().await;
    let mut first = false;
    // It is two seconds later: a machine that stands still for as long says nothing.
    for _ in 0..5 {
        let socket = tokio::net::TcpStream::connect(serving.address).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let post = |key: &str| {
            let request = http::Request::post("http://localhost/v1/logs").header("x-api-key", key);
            request.header("content-type", "application/x-protobuf")
        };
        let mut refused = Vec::new();
        for _ in 0..8 {
            let request = post("traces-only").header("content-length", 1_u64 << 30).body(()).unwrap();
            let (response, mut body) = client.clone().ready().await.unwrap().send_request(request, false).unwrap();
            // All together more than the connection's window.
            body.send_data(Bytes::from(vec![0; 200_000]), false).unwrap();
            refused.push((tokio::spawn(response), body));
        }
        let (response, mut body) =
            client.ready().await.unwrap().send_request(post("good").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from(prost::Message::encode_to_vec(&Samples::new(7).logs(1))), true).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), 200);
        first |= refused.iter().all(|(response, _)| !response.is_finished());
        if first {
            break;
        }
    }
    assert!(first, "it had to wait");
}

#[tokio::test]
async fn an_http_2_stream_outlives_its_refusal_until_its_body_ends() {
    let serving = serving().await;
    let socket = tokio::net::TcpStream::connect(serving.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for bytes in [1, 40_000, 0] {
        let request = http::Request::post("http://localhost/v1/logs")
            .header("content-type", "application/x-protobuf")
            .header("x-api-key", "wrong");
        let mut client = client.clone().ready().await.unwrap();
        let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 401);
        while let Some(data) = response.body_mut().data().await {
            data.unwrap();
        }
        // A reset that followed the answer would be here by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reset = std::future::poll_fn(|context| std::task::Poll::Ready(body.poll_reset(context))).await;
        assert!(reset.is_pending(), "{reset:?}");
        body.send_data(Bytes::from(vec![0; bytes]), true).unwrap();
    }
}

/// The status of an answer to a request with this key over an open HTTP/2 connection.
async fn over(client: &h2::client::SendRequest<Bytes>, key: &str) -> u16 {
    let request = http::Request::post("http://localhost/v1/logs")
        .header("content-type", "application/x-protobuf")
        .header("x-api-key", key);
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    response.await.unwrap().status().as_u16()
}

#[tokio::test]
async fn after_too_many_failures_a_wrong_key_costs_the_connection_that_has_shown_no_other() {
    let serving = serving_at(gateway_bearing(1)).await;
    for (keys, ends) in [(&["wrong"][..], false), (&["wrong"], true), (&["good", "wrong", "wrong"], false)] {
        let socket = tokio::net::TcpStream::connect(serving.address).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        for key in keys {
            let status = if *key == "good" { 200 } else { 401 };
            assert_eq!(over(&client, key).await, status, "{key}");
        }
        if ends {
            tokio::time::timeout(Duration::from_secs(20), connection).await.unwrap().unwrap().unwrap();
        } else {
            assert_eq!(over(&client, "good").await, 200, "the connection is there still");
        }
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for (key, status, closes) in [("good", 200, false), ("wrong", 401, false)] {
        let request = http::Request::post(format!("http://{}/v1/logs", serving.address))
            .header("content-type", "application/x-protobuf")
            .header("x-api-key", key);
        let response = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let found = (response.status().as_u16(), response.headers().contains_key("connection"));
        assert_eq!(found, (status, closes), "{key} over a connection that has shown a valid key");
    }
    let socket = tokio::net::TcpStream::connect(serving.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("/v1/logs")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::default());
    let response = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["connection"]),
        (401, &http::HeaderValue::from_static("close"))
    );
    connection.await.unwrap().unwrap();
}
