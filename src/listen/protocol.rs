//! HTTP/1.1 and HTTP/2 with their limits, and the service that counts what is in flight.
//!
//! `docs/limits.md` adds up what these constants let all connections together hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use super::activity::Waiting;
use super::peer::{Connection, Peer};
use crate::proxied::Forwarders;

/// The largest header of an HTTP/1.1 request, and the most that one read of a body takes from its socket.
const HTTP1_BUFFER: usize = 32 * 1024;
/// Header lines of an HTTP/1.1 request.
const HTTP1_HEADERS: usize = 100;
/// The largest header of an HTTP/2 request, as RFC 9113 section 6.5.2 counts it.
const HTTP2_HEADER: u32 = 16 * 1024;
/// Bytes that a connection, and each of its streams, may have sent that no request has read. A client 50 ms away
/// sends 20 MB/s through it. Fixed: hyper's adaptive window grows to 16 MiB a connection, and a client that answers PING
/// late makes it grow.
const HTTP2_WINDOW: u32 = 1024 * 1024;
/// A frame is read whole before any of it is counted, and costs much the same whatever its size: four times HTTP/2's default.
const HTTP2_FRAME: u32 = 64 * 1024;
/// Bytes of answers waiting in one stream.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client opened and reset before they were looked at; over it the connection is closed (CVE-2023-44487).
const HTTP2_RESET_UNSEEN: usize = 20;
/// Streams reset here because the client broke the protocol; over it the connection is closed (CVE-2025-8671).
const HTTP2_RESET_HERE: usize = 128;
/// A connection on which nothing came for this long is asked whether its client is still there, and closed when it does not answer.
const HTTP2_PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// What serves every connection.
#[derive(Debug)]
pub(super) struct Builders {
    either: Builder<TokioExecutor>,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
}

impl Builders {
    pub(super) fn new(max_streams: u32) -> Self {
        let builder = || builder(max_streams);
        Builders { either: builder(), http1: builder().http1_only(), http2: builder().http2_only() }
    }

    /// What ALPN chose is what is spoken, and nothing else (RFC 7301 section 3.2); without it the first bytes choose.
    pub(super) fn of(&self, alpn: Option<&[u8]>) -> &Builder<TokioExecutor> {
        match alpn {
            Some(b"h2") => &self.http2,
            Some(_) => &self.http1,
            None => &self.either,
        }
    }
}

fn builder(max_streams: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `activity` watches the header; hyper's timer would end idle connections too.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER)
        .max_headers(HTTP1_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .max_pending_accept_reset_streams(HTTP2_RESET_UNSEEN)
        .max_local_error_reset_streams(HTTP2_RESET_HERE)
        .initial_connection_window_size(HTTP2_WINDOW)
        .initial_stream_window_size(HTTP2_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .max_header_list_size(HTTP2_HEADER)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .keep_alive_interval(HTTP2_PING.0)
        .keep_alive_timeout(HTTP2_PING.1);
    builder
}

/// Serves one request: the handler finds a [`Peer`] in its extensions, and the request is in flight until the handler has answered. Writing
/// the answer is not counted: who watches the health service is answered for as long as it listens, and must not keep a stop waiting.
pub(super) async fn serve<F, B>(
    connection: Arc<Connection>,
    forwarders: Option<&Forwarders>,
    mut request: Request<Incoming>,
    handler: impl FnOnce(Request<Incoming>) -> F,
) -> Response<Answering<B>>
where
    F: Future<Output = Response<B>>,
    B: Body,
{
    let peer = Peer::new(&connection).forwarded(forwarders, request.headers());
    connection.activity.request_begins(request.version());
    let http1 = request.version() < Version::HTTP_2;
    let in_flight = InFlight(connection);
    request.extensions_mut().insert(peer.clone());
    let mut answer = handler(request).await;
    if http1 && in_flight.0.is_last_answer() {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    peer.answer_ends();
    answer.map(|body| {
        let waiting = (!http1).then(|| Waiting::new(in_flight.0.clone()));
        Answering { body, complete: false, peer, waiting, rest: None }
    })
}

/// A request that is being served.
struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// An answer's body, which notices that it was written whole.
///
/// Over HTTP/2 its last byte is a frame of its own: hyper takes what it is given as soon as the client's window holds one byte, and `h2` keeps the rest. Only
/// the frame after it waits for all that was before.
pub(super) struct Answering<B: Body> {
    body: B,
    complete: bool,
    peer: Peer,
    waiting: Option<Waiting>,
    rest: Option<Bytes>,
}

impl<B: Body<Data = Bytes> + Unpin> Answering<B> {
    /// The next frame, and over HTTP/2 all but the last byte of it first.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match (frame, &self.waiting) {
            (Poll::Ready(Some(Ok(frame))), Some(_)) if frame.data_ref().is_some_and(|data| data.len() > 1) => {
                Poll::Ready(Some(Ok(frame.map_data(|mut data| {
                    self.rest = Some(data.split_off(data.len() - 1));
                    data
                }))))
            }
            (frame, _) => frame,
        }
    }

    fn is_over(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let ended = self.complete || self.is_over();
        if let Some(waiting) = &mut self.waiting {
            waiting.taken();
        }
        let frame = self.next(context);
        // Trailers are the last frame, after which hyper asks for no more.
        self.complete |= match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if let (Poll::Ready(Some(Ok(_))), Some(waiting)) = (&frame, &mut self.waiting) {
            waiting.given();
        }
        if !ended && (self.complete || self.is_over()) {
            self.peer.answer_ends();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |rest| u64::try_from(rest.len()).unwrap_or(0));
        let hint = self.body.size_hint();
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

impl<B: Body> Drop for Answering<B> {
    fn drop(&mut self) {
        if self.rest.is_none() && (self.complete || self.body.is_end_stream()) {
            self.peer.answer_written();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// HTTP/2's preface and empty settings.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// The client's end of a connection, and how many seconds it lasted.
    fn served() -> (DuplexStream, JoinHandle<u64>) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(async move {
            let (began, builders) = (Instant::now(), Builders::new(1));
            let service =
                hyper::service::service_fn(async |_| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
            let _ = builders.of(Some(b"h2")).serve_connection(TokioIo::new(server), service).await;
            began.elapsed().as_secs()
        });
        (client, serving)
    }

    /// Seconds until a PING came.
    async fn ping(client: &mut DuplexStream) -> u64 {
        let began = Instant::now();
        loop {
            let mut header = [0; 9];
            client.read_exact(&mut header).await.unwrap();
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            client.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
            if header[3..5] == [6, 0] {
                return began.elapsed().as_secs();
            }
        }
    }

    /// The times of docs/limits.md.
    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_asked_after_60_s_and_gone_20_s_later() {
        let (mut silent, serving) = served();
        silent.write_all(PREFACE).await.unwrap();
        assert_eq!(ping(&mut silent).await, 60);
        assert_eq!(serving.await.unwrap(), 80);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_stays() {
        let (idle, serving) = served();
        let client =
            hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(idle));
        let (sender, connection) = client.await.unwrap();
        tokio::spawn(connection);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!serving.is_finished() && sender.is_ready());
    }
}
