//! A client that keeps its connections, and sends whatever it is told to.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::connection::{Unanswered, read};
use crate::{Answer, Call, Connection, Endpoint};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client of one address. Calls at the same time share its HTTP/2 connection, or have an HTTP/1.1 connection each.
pub struct Client {
    endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// A client of `https://HOST:PORT` that trusts `ca`, or of `http://HOST:PORT`, and speaks HTTP/2 or HTTP/1.1.
    ///
    /// # Errors
    /// The address or the file cannot be used.
    pub fn new(base: &str, ca: Option<&Path>, http2: bool) -> Result<Client> {
        let base = base.replace("127.0.0.1", "localhost").parse()?;
        Ok(Client { endpoint: Endpoint::new(&base, ca, http2)?, idle: Mutex::default() })
    }

    /// Sends a call and reads the whole answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(&self, call: Call) -> Answer {
        self.try_send(call).await.expect("an answer")
    }

    /// As [`Client::send`]; the connection may break.
    ///
    /// # Errors
    /// No whole answer within 90 s.
    pub async fn try_send(&self, call: Call) -> Result<Answer> {
        tokio::time::timeout(PATIENCE, self.exchange(call)).await.context("no answer")?
    }

    async fn exchange(&self, call: Call) -> Result<Answer> {
        let mut request = self.request(&call)?;
        // A connection that has ended since its last answer is no reason to fail: nothing was sent on it.
        for _ in 0..16 {
            let mut connection = match self.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match connection.exchange(request).await {
                Ok(response) => {
                    let answer = read(response).await?;
                    if !self.endpoint.http2 {
                        self.put(connection);
                    }
                    return Ok(answer);
                }
                Err(Unanswered::Broken(error)) if is_turned_away(&error) => {
                    request = self.request(&call)?;
                    self.idle().clear();
                }
                Err(Unanswered::Broken(error)) => return Err(error.into()),
                Err(Unanswered::Unsent(again)) => {
                    request = *again;
                    if self.endpoint.http2 {
                        self.idle().clear();
                    }
                }
            }
        }
        bail!("every connection ended before the request was sent")
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>> {
        let mut request = call.clone().request(&self.endpoint.base)?;
        if !self.endpoint.http2 && !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.endpoint.authority.parse()?);
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<Connection> {
        let connection = self.endpoint.connect().await?;
        if let Some(shared) = connection.share() {
            self.put(shared);
        }
        Ok(connection)
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        if self.endpoint.http2 { idle.last().and_then(Connection::share) } else { idle.pop() }
    }

    fn put(&self, connection: Connection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server said in peace that it serves no more on this connection while the request was on its way: it was not looked at, and clients send it again
/// (RFC 9113, 6.8 and 8.7).
fn is_turned_away(error: &hyper::Error) -> bool {
    let reason = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    reason.is_some_and(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}
