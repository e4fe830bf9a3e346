//! Questions and orders to the running process, through its admin listener.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use otelgate::config::{Places, Secret};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Waits for an answer.
pub(super) fn block_on<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(answer)
}

/// Where a running process is asked.
pub(super) struct Target {
    /// Tried first.
    pub(super) socket: Option<PathBuf>,
    /// Host and port.
    pub(super) address: String,
    /// Shown there.
    pub(super) token: Option<Secret>,
}

impl From<&Places> for Target {
    fn from(config: &Places) -> Self {
        let Places { listener, admin, .. } = config;
        Target { socket: admin.socket.clone(), address: listener.to_string(), token: admin.token.clone() }
    }
}

/// The running process's answer, over the admin socket where there is one, else over the admin address; `None` when nothing listens.
pub(super) async fn ask(config: &Places, method: &str, path: &str) -> anyhow::Result<Option<Value>> {
    match answer(&config.into(), method, path).await? {
        Some((status, text)) if status.is_success() => Ok(Some(serde_json::from_str(&text)?)),
        Some((_, text)) => bail!("{}", text.trim_end()),
        None => Ok(None),
    }
}

/// The same as text, whatever its status is.
pub(super) async fn answer(target: &Target, method: &str, path: &str) -> anyhow::Result<Option<(StatusCode, String)>> {
    let request = http::Request::builder().method(method).uri(path);
    if let Some(socket) = &target.socket
        && let Ok(stream) = UnixStream::connect(socket).await
    {
        let request = request.header(http::header::HOST, "localhost").body(Empty::new())?;
        return send(stream, request).await.map(Some);
    }
    let address = &target.address;
    let stream = match TcpStream::connect(address).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        stream => stream.with_context(|| format!("cannot reach the admin listener at {address}"))?,
    };
    let mut request = request.header(http::header::HOST, address);
    if let Some(token) = &target.token {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    send(stream, request.body(Empty::new())?).await.map(Some)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, String)> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = client.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
