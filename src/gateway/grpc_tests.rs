//! What gRPC's own documents ask of a server, over real sockets, with frames as other implementations send them.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use h2::client::SendRequest;
use prost::Message;
use stack::Samples;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt;

use super::tests::gateway;
use super::wire_tests::{Serving, serving, serving_at};
use super::*;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const SOON: Duration = Duration::from_secs(30);

/// A message as it is framed, with this byte before it.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

fn logs(records: usize) -> Vec<u8> {
    Samples::new(7).logs(records).encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A connection without any client's own habits.
struct Raw {
    sender: SendRequest<Bytes>,
    pings: h2::PingPong,
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// How a call ended.
struct Ended {
    /// The answer was one block of headers, which ended the stream.
    trailers_only: bool,
    headers: http::HeaderMap,
    status: Status,
}

impl Raw {
    async fn connect(serving: &Serving) -> Raw {
        let socket = tokio::net::TcpStream::connect(serving.address).await.unwrap();
        let (sender, mut connection) = h2::client::handshake(socket).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        Raw { sender, pings, ended: tokio::spawn(connection) }
    }

    /// Calls `path` with these headers besides gRPC's own, and a body in these frames; `None` at the end: it never ends.
    async fn call(&self, path: &str, headers: &[(&str, &str)], frames: Vec<Option<Vec<u8>>>) -> Ended {
        let mut request = http::Request::post(format!("http://localhost{path}"));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        let sending = tokio::spawn(async move {
            for frame in frames {
                let Some(frame) = frame else { return std::future::pending().await };
                // What is refused before its end may be reset.
                let _ = body.send_data(frame.into(), false);
                tokio::task::yield_now().await;
            }
            let _ = body.send_data(Bytes::new(), true);
        });
        let (head, mut body) = tokio::time::timeout(SOON, response).await.unwrap().unwrap().into_parts();
        assert_eq!(
            (head.status.as_u16(), &head.headers["content-type"]),
            (200, &http::HeaderValue::from_static("application/grpc"))
        );
        let trailers_only = body.is_end_stream();
        while let Some(data) = body.data().await {
            data.unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        sending.abort();
        let status = Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers)).unwrap();
        Ended { trailers_only, headers: head.headers, status }
    }

    async fn export(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Ended {
        let headers = [&[("authorization", "good")], headers].concat();
        self.call(LOGS, &headers, vec![Some(body)]).await
    }
}

#[tokio::test]
async fn a_message_may_come_in_any_number_of_data_frames() {
    let serving = serving().await;
    let raw = Raw::connect(&serving).await;
    let mut rows = 0;
    for (records, size) in [(1, 1), (3, 7), (20, 300), (20, usize::MAX)] {
        let body = framed(0, &logs(records));
        let frames = body.chunks(size.min(body.len())).map(|frame| Some(frame.to_vec()));
        // And some with nothing in them.
        let frames: Vec<_> = [Some(Vec::new())].into_iter().chain(frames).chain([Some(Vec::new())]).collect();
        assert!(frames.len() < 2000, "h2 takes about so many small ones that wait to be read");
        let ended = raw.call(LOGS, &[("authorization", "good")], frames).await;
        rows += records as u64;
        assert_eq!((ended.status.code(), serving.sink.rows()), (Code::Ok, rows), "{size}: {:?}", ended.status);
    }
}

#[tokio::test]
async fn each_combination_of_flag_and_encoding_is_what_grpcs_document_on_compression_says() {
    let serving = serving().await;
    let raw = Raw::connect(&serving).await;
    let (plain, zipped) = (logs(1), gzip(&logs(1)));
    let mut stored = 0;
    for (flag, encoding, message, code) in [
        (0, None, &plain, Code::Ok),
        (0, Some("identity"), &plain, Code::Ok),
        (0, Some("gzip"), &plain, Code::Ok),
        (1, Some("gzip"), &zipped, Code::Ok),
        (1, Some("gzip"), &plain, Code::InvalidArgument),
        (0, Some("gzip"), &zipped, Code::InvalidArgument),
        (1, None, &zipped, Code::Internal),
        (1, Some("identity"), &zipped, Code::Internal),
        (2, None, &plain, Code::Internal),
        (1, Some("br"), &zipped, Code::Unimplemented),
        (0, Some("br"), &plain, Code::Unimplemented),
    ] {
        let headers: Vec<_> = encoding.map(|encoding| ("grpc-encoding", encoding)).into_iter().collect();
        let ended = raw.export(&headers, framed(flag, message)).await;
        assert_eq!(ended.status.code(), code, "{flag} {encoding:?}: {:?}", ended.status);
        stored += u64::from(code == Code::Ok);
        if encoding == Some("br") {
            let known = ended.headers["grpc-accept-encoding"].to_str().unwrap();
            assert!(known.split(',').any(|name| name == "gzip"), "{known}");
        }
    }
    assert_eq!(serving.sink.rows(), stored);
}

#[tokio::test]
async fn a_call_has_one_whole_message() {
    let serving = serving().await;
    let raw = Raw::connect(&serving).await;
    let one = framed(0, &logs(1));
    for (body, code) in [
        (Vec::new(), Code::Unimplemented),
        ([one.clone(), one.clone()].concat(), Code::Unimplemented),
        (one[..3].to_vec(), Code::Internal),
        (one[..one.len() - 1].to_vec(), Code::Internal),
    ] {
        let ended = raw.export(&[], body).await;
        assert_eq!(ended.status.code(), code, "{:?}", ended.status);
    }
    assert_eq!(serving.sink.rows(), 0);
}

#[tokio::test]
async fn every_refusal_is_one_block_of_headers_with_the_reason_in_grpc_message() {
    let serving = serving().await;
    let raw = Raw::connect(&serving).await;
    let import = LOGS.replace("Export", "Import");
    let key = ("authorization", "good");
    for (path, headers, code, word) in [
        (LOGS, vec![], Code::Unauthenticated, "key"),
        (LOGS, vec![("authorization", "wrong")], Code::Unauthenticated, "key"),
        (LOGS, vec![("authorization", "traces-only")], Code::PermissionDenied, "logs"),
        (&import, vec![key], Code::Unimplemented, "method"),
        ("/", vec![key], Code::Unimplemented, "method"),
        ("/grpc.health.v1.Health/List", vec![], Code::Unimplemented, "method"),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", vec![], Code::Unimplemented, "method"),
        (LOGS, vec![key, ("grpc-encoding", "br")], Code::Unimplemented, "gzip"),
        (LOGS, vec![key, ("content-type", "application/grpc+json")], Code::InvalidArgument, "application/grpc"),
        (LOGS, vec![key], Code::InvalidArgument, "malformed"),
    ] {
        let ended = raw.call(path, &headers, vec![Some(framed(0, b"\xff"))]).await;
        assert_eq!(ended.status.code(), code, "{path} {headers:?}: {:?}", ended.status);
        let message = ended.headers["grpc-message"].to_str().unwrap();
        assert!(ended.trailers_only && message.contains(word), "{path} {headers:?}: {message}");
    }
}

#[tokio::test]
async fn a_clients_own_deadline_ends_its_call_wherever_it_is() {
    let serving = serving().await;
    let raw = Raw::connect(&serving).await;
    let key = ("authorization", "good");
    let body = framed(0, &logs(1));
    // In the middle of its body, and when it is over before anything was kept.
    let half = vec![Some(body[..20].to_vec()), None];
    for (timeout, frames) in [("100m", half), ("1n", vec![Some(body.clone())])] {
        let ended = raw.call(LOGS, &[key, ("grpc-timeout", timeout)], frames).await;
        assert_eq!(ended.status.code(), Code::DeadlineExceeded, "{timeout}: {:?}", ended.status);
        assert!(ended.status.get_details_retry_info().is_some(), "{timeout}");
    }
    // While nobody knows where its records are.
    serving.sink.away.store(true, Ordering::Relaxed);
    let ended = raw.export(&[("grpc-timeout", "100m")], body.clone()).await;
    assert_eq!(ended.status.code(), Code::DeadlineExceeded, "{:?}", ended.status);
    // The gateway's own time is over first, and the client is told that as before.
    let ended = raw.export(&[("grpc-timeout", "1H")], body.clone()).await;
    assert_eq!(ended.status.code(), Code::Unavailable, "{:?}", ended.status);
    serving.sink.away.store(false, Ordering::Relaxed);
    assert_eq!(serving.sink.rows(), 0);
    let ended = raw.export(&[("grpc-timeout", "30S")], framed(0, &logs(2))).await;
    assert_eq!((ended.status.code(), serving.sink.rows()), (Code::Ok, 2));
}

/// grpc-go measures its bandwidth with a PING for each burst of data, and grpc-java and others are set to send one every few seconds, with or
/// without a call: many times as many as they send end no connection.
#[tokio::test]
async fn pings_end_no_connection() {
    let serving = serving().await;
    let mut raw = Raw::connect(&serving).await;
    for round in 1..=3 {
        for _ in 0..200 {
            tokio::time::timeout(SOON, raw.pings.ping(h2::Ping::opaque())).await.unwrap().unwrap();
        }
        let ended = raw.export(&[], framed(0, &logs(1))).await;
        assert_eq!((ended.status.code(), serving.sink.rows()), (Code::Ok, round));
    }
    assert!(!raw.ended.is_finished());
}

async fn channel(serving: &Serving) -> Channel {
    Channel::from_shared(format!("http://{}", serving.address)).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn health_is_told_of_the_process_and_of_each_service_and_watched() {
    let (gateway, sink) = gateway();
    let readiness = Readiness::default();
    let check = readiness.check("test");
    check.set(Err("not yet".to_owned()));
    tokio::spawn(gateway.follow(readiness));
    let serving = serving_at((gateway, sink)).await;
    let client = HealthClient::new(channel(&serving).await);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut watched = Vec::new();
    for service in Signal::STABLE.map(Signal::grpc_service).into_iter().chain([""]) {
        let mut client = client.clone();
        let asked = async {
            // The service follows readiness from its first look on.
            while client
                .check(of(service))
                .await
                .map_or(true, |answer| answer.into_inner().status() != ServingStatus::NotServing)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, asked).await.unwrap();
        let mut states = client.watch(of(service)).await.unwrap().into_inner();
        assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::NotServing, "{service}");
        watched.push((service, states));
    }
    check.set(Ok(()));
    for (service, mut states) in watched {
        let next = tokio::time::timeout(SOON, states.message()).await.unwrap();
        assert_eq!(next.unwrap().unwrap().status(), ServingStatus::Serving, "{service}");
    }
    let unknown = client.clone().check(of("nobody")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message().is_empty()), (Code::NotFound, false));
}

async fn reflected(serving: &Serving, ask: MessageRequest) -> Result<ServerReflectionResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = ServerReflectionClient::new(channel(serving).await);
    let mut answers = client.server_reflection_info(tonic::codegen::tokio_stream::once(request)).await?.into_inner();
    Ok(answers.message().await?.unwrap())
}

#[tokio::test]
async fn reflection_tells_the_services_where_it_is_asked_for() {
    let (gateway, sink) = gateway();
    let gateway = Arc::into_inner(gateway).unwrap().reflecting().unwrap();
    let on = serving_at((Arc::new(gateway), sink)).await;
    let all = reflected(&on, MessageRequest::ListServices(String::new())).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = all.message_response else { panic!("{all:?}") };
    let mut listed: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    listed.sort();
    let mut served: Vec<&str> = Signal::STABLE.map(Signal::grpc_service).into();
    served.push("grpc.health.v1.Health");
    served.sort_unstable();
    assert_eq!(listed, served);
    for symbol in served.into_iter().chain(["grpc.reflection.v1.ServerReflection"]) {
        let file = reflected(&on, MessageRequest::FileContainingSymbol(symbol.to_owned())).await.unwrap();
        assert!(
            matches!(file.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
            "{symbol}: {file:?}"
        );
    }
    let off = reflected(&serving().await, MessageRequest::ListServices(String::new())).await.unwrap_err();
    assert_eq!(off.code(), Code::Unimplemented);
}
