//! A client's way to otelgate, and what it makes of the answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use otlp_client::{Answer, Connection, Protocol, Target};
use stack::Certificates;
use tonic_types::StatusExt;

use crate::requests::Request;

/// How long a client waits for an answer before it takes the connection for broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// When a refusal says nothing about when to come again.
const UNADVISED: Duration = Duration::from_millis(500);

/// What otelgate said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Every record is kept.
    Accepted,
    /// Nothing is kept; send it again, not before so long.
    Later(Duration),
    /// Never send it again.
    Never(String),
}

/// otelgate on this machine; a client that trusts `certificates`, or speaks plain text without.
///
/// # Errors
/// The CA's file cannot be read.
pub fn target(
    port: u16,
    key: &str,
    protocol: Protocol,
    http2: bool,
    certificates: Option<&Certificates>,
) -> Result<Target> {
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let endpoint = format!("{scheme}://127.0.0.1:{port}").parse()?;
    let ca = certificates.map(|certificates| certificates.ca.as_path());
    // A client that closes in order has had its answers: what a fault makes it forget, it could not have read.
    Ok(Target::new(&endpoint, ca, protocol, http2, Some(key))?.abrupt())
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// The connection broke before the whole answer was there.
pub async fn send(connection: &mut Connection, target: &Target, request: &Request) -> Result<Said> {
    let exchange = connection.send(target, request.signal, request.body.clone());
    let answer = tokio::time::timeout(PATIENCE, exchange).await.context("no answer")??;
    match target.protocol() {
        Protocol::Grpc => said_by_grpc(&answer),
        protocol => Ok(said_by_http(&answer, protocol)),
    }
}

fn said_by_grpc(answer: &Answer) -> Result<Said> {
    let status = tonic::Status::from_header_map(&answer.trailers);
    let Some(status) = status.or_else(|| tonic::Status::from_header_map(&answer.headers)) else {
        bail!("an answer without grpc-status")
    };
    let advice = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Ok(match status.code() {
        tonic::Code::Ok => accepted(answer, Protocol::Grpc),
        tonic::Code::Unavailable => Said::Later(advice.unwrap_or(UNADVISED)),
        tonic::Code::ResourceExhausted if advice.is_some() => Said::Later(advice.unwrap_or_default()),
        code => Said::Never(format!("{code:?}: {}", status.message())),
    })
}

fn said_by_http(answer: &Answer, protocol: Protocol) -> Said {
    let advice = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    match answer.status {
        200 => accepted(answer, protocol),
        429 | 502 | 503 | 504 => Said::Later(advice.map_or(UNADVISED, Duration::from_secs)),
        status => Said::Never(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
    }
}

fn accepted(answer: &Answer, protocol: Protocol) -> Said {
    match answer.rejected(protocol) {
        Ok(0) => Said::Accepted,
        Ok(rejected) => Said::Never(format!("{rejected} records rejected")),
        Err(error) => Said::Never(format!("{error:#}")),
    }
}
