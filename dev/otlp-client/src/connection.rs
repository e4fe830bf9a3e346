//! One connection.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use crate::{Answer, Signal, Target};

/// An open connection; closed at once, whatever is in flight, when it and all who share it are dropped.
pub struct Connection {
    sender: Sender,
    driver: Arc<Driver>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Driver(AbortHandle);

impl Driver {
    fn new<E>(driver: impl Future<Output = Result<(), E>> + Send + 'static) -> Arc<Driver> {
        // How the connection ends is seen by the requests on it.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Arc::new(Driver(driver.abort_handle()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a request has no answer.
pub(crate) enum Unanswered {
    /// The connection had ended before it: nothing of it was sent, and here it is again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// It may have arrived.
    Broken(hyper::Error),
}

impl Connection {
    pub(crate) async fn open<S>(stream: S, http2: bool) -> Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        if http2 {
            let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .handshake(stream)
                .await?;
            Ok(Connection { sender: Sender::Http2(sender), driver: Driver::new(driver) })
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            Ok(Connection { sender: Sender::Http1(sender), driver: Driver::new(driver) })
        }
    }

    /// Another handle on the same HTTP/2 connection; none for HTTP/1.1.
    pub fn share(&self) -> Option<Connection> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                Some(Connection { sender: Sender::Http2(sender.clone()), driver: self.driver.clone() })
            }
        }
    }

    /// Sends a body as the protocol has it (see [`crate::grpc_frame`]) and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke before the whole answer was there.
    pub async fn send(&mut self, target: &Target, signal: Signal, body: Bytes) -> Result<Answer> {
        match self.exchange(target.request(signal, body)).await {
            Ok(response) => Ok(read(response).await?),
            Err(Unanswered::Broken(error)) => Err(error.into()),
            Err(Unanswered::Unsent(_)) => anyhow::bail!("the connection has ended"),
        }
    }

    /// Sends a request; the answer's body may still be on its way.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Err(Unanswered::Unsent(Box::new(request))),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Err(Unanswered::Unsent(Box::new(request))),
            },
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Broken(error.into_error()),
        })
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, trailers, body: body.to_bytes() })
}
