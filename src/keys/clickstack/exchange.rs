//! One message to ClickStack's app, and its answer.
//!
//! The answer holds keys in plain text, so nothing of it is ever shown: an error says what kind of answer it was.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;

use super::opamp::proto::{AgentToServer, ServerToAgent};
use crate::causes::causes;
use crate::https::{self, Connector};

/// The app answers within milliseconds, or hangs while its database is away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A collector's configuration is a few KiB, and 40 bytes a team.
const MAX_ANSWER: usize = 4 << 20;
/// The app's own advice is followed up to this.
const MAX_ADVICE: Duration = Duration::from_secs(600);
/// Exactly this, without parameters: the app refuses any other with 415.
const PROTOBUF: &str = "application/x-protobuf";

/// Why a message has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("{0}")]
    Unreachable(String),
    #[error("it answers {status}{}", hint(*status))]
    Status {
        status: StatusCode,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    #[error("its answer is larger than {} MiB", MAX_ANSWER >> 20)]
    TooLarge,
    #[error("its answer is not an OpAMP message; is this the app's OpAMP port (4320)?")]
    NotOpamp,
}

impl ExchangeError {
    /// When the app wants to be asked again, if it said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            ExchangeError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; is this the app's OpAMP port (4320)?",
        _ => "",
    }
}

/// The way to the app.
#[derive(Debug)]
pub(super) struct App {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
}

impl App {
    /// `url` names the app's OpAMP endpoint; its certificate is checked against `ca_file`, or the public CAs.
    pub(super) fn new(url: Uri, ca_file: Option<&Path>) -> Result<App, https::SetupError> {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https::connector(ca_file)?);
        Ok(App { client, url })
    }

    /// Sends a message and reads the answer.
    pub(super) async fn exchange(&self, message: &AgentToServer) -> Result<ServerToAgent, ExchangeError> {
        tokio::time::timeout(TIMEOUT, self.answer(message)).await.map_err(|_| ExchangeError::TimedOut)?
    }

    async fn answer(&self, message: &AgentToServer) -> Result<ServerToAgent, ExchangeError> {
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, PROTOBUF)
            .header(USER_AGENT, concat!("otelgate/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(message.encode_to_vec()));
        let request = request.map_err(|error| ExchangeError::Unreachable(causes(&error)))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| ExchangeError::Unreachable(causes(&error)))?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(ExchangeError::Status { status, retry_after: retry_after(answer.headers()) });
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => ExchangeError::TooLarge,
            false => ExchangeError::Unreachable(causes(error.as_ref())),
        })?;
        // What a decoder says of bytes may quote them.
        ServerToAgent::decode(body.to_bytes()).map_err(|_| ExchangeError::NotOpamp)
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3); a date is not worth a clock here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_ADVICE))
}
