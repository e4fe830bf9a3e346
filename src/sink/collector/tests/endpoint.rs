//! An OTLP endpoint that does what it is told to do, and remembers what it saw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// What the endpoint does with an export.
#[derive(Clone)]
pub(crate) enum Act {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        trailers: Option<HeaderMap>,
    },
    /// Reads everything, then breaks the connection.
    Break,
    Wait(Duration),
}

pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Default)]
pub(crate) struct State {
    script: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    /// An export that holds these bytes is refused for good.
    pub(crate) poison: Mutex<Option<Vec<u8>>>,
}

/// An OTLP endpoint; a yes unless its script says otherwise.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
}

impl Endpoint {
    pub(crate) async fn start(script: impl IntoIterator<Item = Act>) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { script: Mutex::new(script.into_iter().collect()), ..State::default() });
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = serving.clone();
                let broken = Arc::new(tokio::sync::Notify::new());
                let service_broken = broken.clone();
                let service =
                    hyper::service::service_fn(move |request| answer(state.clone(), service_broken.clone(), request));
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    tokio::select! { _ = connection => {}, () = broken.notified() => {} }
                });
            }
        });
        Endpoint { address, state }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock())
    }
}

async fn answer(
    state: Arc<State>,
    broken: Arc<tokio::sync::Notify>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let grpc = head.headers["content-type"] == "application/grpc";
    let body = body.collect().await.unwrap().to_bytes();
    let poisoned = state.poison.lock().as_ref().is_some_and(|poison| memchr::memmem::find(&body, poison).is_some());
    if poisoned {
        state.script.lock().push_front(if grpc { grpc_no(3) } else { no(400, &[]) });
    } else {
        state.seen.lock().push(Seen { path: head.uri.path().to_owned(), headers: head.headers, body });
    }
    let act = state.script.lock().pop_front().unwrap_or_else(|| yes(grpc, &[]));
    let act = match act {
        Act::Wait(time) => {
            tokio::time::sleep(time).await;
            yes(grpc, &[])
        }
        act => act,
    };
    let Act::Answer { status, headers, body, trailers } = act else {
        broken.notify_one();
        return std::future::pending().await;
    };
    let trailers = async move { trailers.map(Ok) };
    let mut response = Response::new(Full::new(Bytes::from(body)).with_trailers(trailers).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    Ok(response)
}

/// `Export…ServiceResponse`, as each protocol says yes.
pub(crate) fn yes(grpc: bool, response: &[u8]) -> Act {
    let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let prefix = [0, 0, 0, 0, u8::try_from(response.len()).unwrap()];
    let body = if grpc { [&prefix, response].concat() } else { response.to_vec() };
    Act::Answer { status: 200, headers: Vec::new(), body, trailers: grpc.then_some(ok) }
}

pub(crate) fn no(status: u16, headers: &[(&'static str, &str)]) -> Act {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Act::Answer { status, headers, body: b"because".to_vec(), trailers: None }
}

pub(crate) fn grpc_no(code: i32) -> Act {
    no(200, &[("grpc-status", &code.to_string()), ("grpc-message", "because")])
}
