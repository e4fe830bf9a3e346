//! The whole page over a fake sink: what comes in as a request goes out as rows, or is refused and leaves nothing.

mod fake;
mod of_locks;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use prost::Message;
use stack::Samples;
use tonic::Code;
use tonic_types::StatusExt;

pub(super) use fake::FakeSink;

use super::*;
use crate::admit::tests::{LIMITS, REQUEST, entry};
use crate::config::{self, KeyEntry, KeyLimits};
use crate::deliver::Deliveries;
use crate::keys::KeyRing;
use crate::sink::Sink;
use crate::spool::Spool;

/// Batches go out as soon as they are made, and nobody waits longer than two seconds for them.
const RULES: config::Batch = config::Batch {
    max_rows: 100_000,
    max_bytes: 32 << 20,
    max_uncompressed_bytes: 128 << 20,
    max_parts: 64,
    max_age: Duration::from_millis(10),
    commit_interval: Duration::from_millis(1),
    max_chunk_rows: 5000,
    deadline: Duration::from_secs(2),
};

fn lanes(rules: config::Batch, sink: &Arc<FakeSink>, metrics: &Arc<Metrics>) -> Arc<Lanes> {
    let sink: Arc<dyn Sink> = sink.clone();
    let spool = Arc::new(Spool::in_memory());
    let deliveries = Deliveries::new(sink.clone(), 4, metrics.clone());
    Arc::new(Lanes::start(&sink, &spool, &deliveries, rules, &REQUEST, metrics, crate::batch::Left::default()))
}

/// A gateway whose keys are `good`, `other`, `bomber`, `traces-only` and `small`, and the sink behind it.
pub(super) fn gateway() -> (Arc<Gateway>, Arc<FakeSink>) {
    gateway_bearing(1000)
}

/// The same, where an address may fail to authenticate so often in a minute.
pub(super) fn gateway_bearing(failures: u32) -> (Arc<Gateway>, Arc<FakeSink>) {
    gateway_ruled(failures, RULES)
}

fn gateway_ruled(failures: u32, rules: config::Batch) -> (Arc<Gateway>, Arc<FakeSink>) {
    let limits = KeyLimits { requests_per_second: 1000, bytes_per_second: 64 << 20, ..LIMITS };
    let small = KeyLimits { requests_per_second: 1, bytes_per_second: 4096, records_per_second: 5, ..LIMITS };
    let keys = [
        KeyEntry { limits, ..entry("good") },
        KeyEntry { limits, ..entry("other") },
        KeyEntry { limits: KeyLimits { bytes_per_second: 4096, ..limits }, ..entry("bomber") },
        KeyEntry { signals: [Signal::Traces].into(), limits, ..entry("traces-only") },
        KeyEntry { limits: small, ..entry("small") },
    ];
    let sink = Arc::new(FakeSink::default());
    let admission = Admission::new(Arc::new(KeyRing::new(keys.into())), failures, &REQUEST);
    let metrics = Arc::new(Metrics::default());
    let lanes = lanes(rules, &sink, &metrics);
    (Arc::new(Gateway::new(admission, lanes, REQUEST, AllowedOrigins::Any, (metrics, Arc::default()))), sink)
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

/// One request, right in every way until something of it is changed.
struct Ask {
    protocol: Protocol,
    head: http::request::Builder,
    body: Bytes,
}

impl Ask {
    fn logs(protocol: Protocol, records: usize) -> Ask {
        let request = Samples::new(7).logs(records);
        let (path, content_type, body) = match protocol {
            Protocol::Grpc => (
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                "application/grpc",
                request.encode_to_vec(),
            ),
            Protocol::HttpProtobuf => ("/v1/logs", "application/x-protobuf", request.encode_to_vec()),
            Protocol::HttpJson => ("/v1/logs", "application/json", serde_json::to_vec(&request).unwrap()),
        };
        let version = if protocol == Protocol::Grpc { Version::HTTP_2 } else { Version::HTTP_11 };
        let head = Request::post(path).version(version).header("host", "gateway").header("content-type", content_type);
        Ask { protocol, head, body: Bytes::new() }.with_body(body)
    }

    fn with_body(self, body: Vec<u8>) -> Ask {
        let mut framed = Vec::new();
        if self.protocol == Protocol::Grpc {
            framed.push(0);
            framed.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        }
        framed.extend(body);
        Ask { body: framed.into(), ..self }
    }

    fn key(self, key: &str) -> Ask {
        self.header("authorization", key)
    }

    fn header(self, name: &str, value: &str) -> Ask {
        Ask { head: self.head.header(name, value), ..self }
    }

    fn to(self, path: &str) -> Ask {
        Ask { head: self.head.uri(path), ..self }
    }

    async fn of(self, gateway: &Gateway) -> Told {
        let response = gateway.serve(self.head.body(Full::new(self.body)).unwrap()).await;
        Told::read(self.protocol, response).await
    }
}

/// What an answer says, the same for all protocols.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    code: Code,
    retry: bool,
    message: String,
}

impl Told {
    async fn read(protocol: Protocol, response: Response<ReplyBody>) -> Told {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let bytes = body.to_bytes();
        if protocol == Protocol::Grpc {
            let trailers = if trailers.is_empty() { &head.headers } else { &trailers };
            let status = tonic::Status::from_header_map(trailers).unwrap();
            let retry = status.get_details_retry_info().is_some();
            return Told { status: head.status, code: status.code(), retry, message: status.message().to_owned() };
        }
        let retry = head.headers.contains_key("retry-after");
        let status = match (head.status, head.headers["content-type"].as_bytes()) {
            (StatusCode::OK, _) => tonic_types::pb::Status::default(),
            (_, b"application/json") => {
                let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let code = i32::try_from(json["code"].as_i64().unwrap()).unwrap();
                let message = json["message"].as_str().unwrap().to_owned();
                tonic_types::pb::Status { code, message, details: Vec::new() }
            }
            _ => tonic_types::pb::Status::decode(bytes).unwrap(),
        };
        Told { status: head.status, code: Code::from(status.code), retry, message: status.message }
    }
}

#[tokio::test]
async fn what_comes_in_over_any_protocol_is_in_the_sink_when_it_is_answered() {
    let (gateway, sink) = gateway();
    for (count, protocol) in (1..).zip(PROTOCOLS) {
        let told = Ask::logs(protocol, 10).key("Bearer good").of(&gateway).await;
        assert_eq!((told.status, told.code), (StatusCode::OK, Code::Ok), "{protocol:?} {told:?}");
        assert_eq!(sink.rows(), 10 * count, "{protocol:?}");
        // An empty request is a request.
        let told = Ask::logs(protocol, 0).with_body(empty(protocol)).key("good").of(&gateway).await;
        assert_eq!((told.status, told.code), (StatusCode::OK, Code::Ok), "{protocol:?} {told:?}");
    }
    assert_eq!(gateway.admission.memory().used(), 0);
    let text = gateway.metrics.text().unwrap();
    assert!(text.contains(r#"otelgate_received_records_total{key="name of good",signal="logs"} 30"#), "{text}");
}

fn empty(protocol: Protocol) -> Vec<u8> {
    if protocol == Protocol::HttpJson { b"{}".to_vec() } else { Vec::new() }
}

#[tokio::test]
async fn every_refusal_is_answered_as_documented_and_leaves_nothing() {
    for protocol in PROTOCOLS {
        let (gateway, sink) = gateway();
        let grpc = protocol == Protocol::Grpc;
        let ask = |records| Ask::logs(protocol, records);
        let one = || ask(1);
        let garbage = || one().with_body(b"\xff{nonsense".to_vec());
        let encoding = if grpc { "grpc-encoding" } else { "content-encoding" };
        let rows = [
            ("no key", one(), 401, Code::Unauthenticated, false),
            ("wrong key", one().key("wrong"), 401, Code::Unauthenticated, false),
            ("two keys", one().key("good").header("x-api-key", "wrong"), 401, Code::Unauthenticated, false),
            ("no key, garbage", garbage(), 401, Code::Unauthenticated, false),
            ("signal", one().key("traces-only"), 403, Code::PermissionDenied, false),
            ("burst", ask(6).key("small"), 413, Code::InvalidArgument, false),
            ("requests", one().key("small"), 429, Code::ResourceExhausted, true),
            ("body", one().with_body(vec![b' '; (1 << 20) + 1]).key("good"), 413, Code::InvalidArgument, false),
            ("records", ask(1001).key("good"), 413, Code::InvalidArgument, false),
            ("malformed", garbage().key("good"), 400, Code::InvalidArgument, false),
            ("encoding", one().key("good").header(encoding, "br"), 415, Code::Unimplemented, false),
            ("path", one().key("good").to("/v1/profiles"), 404, Code::Unimplemented, false),
        ];
        for (name, ask, status, code, retry) in rows {
            let told = ask.of(&gateway).await;
            let status = if grpc { 200 } else { status };
            let found = (told.status.as_u16(), told.code, told.retry);
            assert_eq!(found, (status, code, retry), "{protocol:?} {name} {told:?}");
            assert!(!told.message.is_empty() && !told.message.contains("nonsense") && !told.message.contains("wrong"));
        }
        // The next request that is right is kept, alone.
        let told = ask(3).key("good").of(&gateway).await;
        assert_eq!(told.code, Code::Ok, "{told:?}");
        assert_eq!(sink.rows(), 3);
        assert_eq!(gateway.admission.memory().used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_is_503_and_nothing_of_it_comes_later() {
    let (gateway, sink) = gateway();
    sink.away.store(true, Ordering::Relaxed);
    for protocol in PROTOCOLS {
        let told = Ask::logs(protocol, 5).key("good").of(&gateway).await;
        assert_eq!((told.code, told.retry), (Code::Unavailable, true), "{told:?}");
    }
    sink.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(sink.rows(), 0);
    assert_eq!(gateway.admission.memory().used(), 0);
}

#[tokio::test]
async fn a_person_with_a_browser_reads_words() {
    let (gateway, _) = gateway();
    for (method, path, status, word) in [
        ("GET", "/", 200, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("HEAD", "/", 200, ""),
        ("GET", "/v1/traces", 405, "POST"),
        ("GET", "/favicon.ico", 404, "/v1/traces"),
        ("POST", "/", 404, "/v1/traces"),
        ("POST", "/v1/traces", 415, "application/x-protobuf"),
    ] {
        let request = Request::builder().method(method).uri(path).header("host", "gateway").body(Empty::new()).unwrap();
        let response = gateway.serve(request).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{method} {path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&body).unwrap().contains(word), "{method} {path}: {body:?}");
    }
}

#[tokio::test]
async fn a_browser_asks_without_a_key_and_may_read_every_answer() {
    let (gateway, _) = gateway();
    let request = Request::options("/v1/logs")
        .header("host", "gateway")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let response = gateway.serve(request.body(Empty::new()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let allowed = response.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(["authorization", "x-api-key", "content-type"].iter().all(|name| allowed.contains(name)));
    assert_eq!(response.headers()["access-control-allow-methods"], "POST");

    let ask = Ask::logs(Protocol::HttpJson, 1).header("origin", "https://page.example");
    let response = gateway.serve(ask.head.body(Full::new(ask.body)).unwrap()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["access-control-allow-origin"], HeaderValue::from_static("*"));
}

#[tokio::test(start_paused = true)]
async fn health_needs_no_key_and_follows_readiness() {
    let (gateway, _) = gateway();
    let readiness = Readiness::default();
    let check = readiness.check("test");
    tokio::spawn(gateway.follow(readiness));
    for (state, expected) in [(Err("not yet".to_owned()), 2), (Ok(()), 1)] {
        check.set(state);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let request = Request::post("/grpc.health.v1.Health/Check")
            .header("host", "gateway")
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc");
        let response = gateway.serve(request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap()).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        // HealthCheckResponse: status = 1 (1 SERVING, 2 NOT_SERVING).
        assert_eq!(&body[..], [0, 0, 0, 0, 2, 8, expected]);
        // The same over plain HTTP, and no word of why.
        let request = Request::get("/healthz").header("host", "gateway").body(Full::new(Bytes::new())).unwrap();
        let response = gateway.serve(request).await;
        assert_eq!(response.status(), if expected == 1 { 200 } else { 503 });
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, if expected == 1 { "ok\n" } else { "not ready\n" });
    }
}

/// A body that comes in pieces, as over HTTP/2, and ends with them or never.
struct Pieces {
    left: VecDeque<Bytes>,
    ends: bool,
}

/// A body of which only the beginning comes.
fn stalled(begin: Option<Bytes>) -> Pieces {
    Pieces { left: begin.into_iter().collect(), ends: false }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.left.pop_front() {
            None if !self.ends => Poll::Pending,
            piece => Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece)))),
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let (gateway, sink) = gateway();
    let mut ask = Ask::logs(Protocol::HttpProtobuf, 100).key("good");
    let half = ask.body.split_to(ask.body.len() / 2);
    let serving = gateway.serve(ask.head.body(stalled(Some(half))).unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(50), serving).await.is_err());
    assert_eq!(gateway.admission.memory().used(), 0);
    assert_eq!(sink.rows(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_keeps_nobody_elses_answer() {
    let rules = config::Batch { max_age: Duration::ZERO, commit_interval: Duration::from_secs(1), ..RULES };
    let (gateway, _sink) = gateway_ruled(1000, rules);
    let never_whole = Ask::logs(Protocol::HttpProtobuf, 1).key("other").head.body(stalled(None)).unwrap();
    let slow = gateway.clone();
    let slow = tokio::spawn(async move { slow.serve(never_whole).await.status() });
    tokio::time::sleep(2 * rules.commit_interval).await;
    let began = tokio::time::Instant::now();
    let told = Ask::logs(Protocol::Grpc, 600).key("good").of(&gateway).await;
    assert_eq!((told.code, began.elapsed()), (Code::Ok, Duration::ZERO));
    slow.abort();
}

/// What anybody may ask, and what nobody has.
#[tokio::test(start_paused = true)]
async fn what_is_answered_without_a_key_is_answered_later_beyond_a_pace() {
    let (gateway, _sink) = gateway();
    let preflight = Request::options("/v1/logs").header("origin", "https://a.example");
    let preflight = preflight.header("access-control-request-method", "POST");
    for ask in [Request::get("/healthz"), Request::get("/"), preflight, Request::get("/nothing")] {
        let ask = ask.header("host", "gateway").body(Full::<Bytes>::default()).unwrap();
        // Another connection, which the ones before did not make wait.
        let peer = Peer::unconnected(Ipv4Addr::LOCALHOST.into());
        let mut at_once = 0;
        while at_once < 10_000 {
            let mut ask = ask.clone();
            ask.extensions_mut().insert(peer.clone());
            let asked = tokio::time::Instant::now();
            gateway.serve(ask).await;
            if !asked.elapsed().is_zero() {
                break;
            }
            at_once += 1;
        }
        assert!((100..10_000).contains(&at_once), "{} {at_once}", ask.uri());
    }
}
