//! Questions and orders to the running process, through its admin listener.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use otelgate::config::Places;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Waits for an answer.
pub(super) fn block_on<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(answer)
}

/// The running process's answer; `None` when nothing listens.
pub(super) async fn ask(config: &Places, method: &str, path: &str) -> anyhow::Result<Option<Value>> {
    let Some((status, body)) = answer(config, method, path).await? else {
        return Ok(None);
    };
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

/// What it answers, whatever that is, over the admin socket where there is one, else over the admin address; `None` when nothing listens.
pub(super) async fn answer(config: &Places, method: &str, path: &str) -> anyhow::Result<Option<(StatusCode, Bytes)>> {
    let request = http::Request::builder().method(method).uri(path);
    if let Some(socket) = &config.admin.socket
        && let Ok(stream) = UnixStream::connect(socket).await
    {
        let request = request.header(http::header::HOST, "localhost").body(Empty::new())?;
        return send(stream, request).await.map(Some);
    }
    let address: SocketAddr = config.listener;
    let stream = match TcpStream::connect(address).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        stream => stream.with_context(|| format!("cannot reach the admin listener at {address}"))?,
    };
    let mut request = request.header(http::header::HOST, address.to_string());
    if let Some(token) = &config.admin.token {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    send(stream, request.body(Empty::new())?).await.map(Some)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = client.send_request(request).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}
