//! Questions and orders to the running process, through its admin listener.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use otelgate::config::{Places, Secret};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A process that says nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

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
///
/// # Errors
/// An order does not go to a process of another configuration, which may well have the same admin address.
pub(super) async fn ask(config: &Places, method: &str, path: &str) -> anyhow::Result<Option<Value>> {
    let target = config.into();
    if let Some(said) = other_configuration(config, &target).await {
        match method {
            "GET" => super::say(format_args!("warning: {said}")),
            _ => bail!(
                "{said}; nothing was ordered: give its --config, or the two processes admin addresses of their own"
            ),
        }
    }
    match answer(&target, method, path).await? {
        Some((status, text)) if status.is_success() => Ok(Some(serde_json::from_str(&text)?)),
        Some((_, text)) => bail!("{}", text.trim_end()),
        None => Ok(None),
    }
}

/// What the process of this configuration says at `/status`, or why that is not known.
pub(super) async fn status(config: &Places) -> Result<Value, String> {
    let target = config.into();
    match tokio::time::timeout(PATIENCE, answer(&target, "GET", "/status")).await {
        Ok(Ok(Some((status, text)))) if status.is_success() => {
            let said = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            other_than(config, &target, &said).map_or(Ok(said), Err)
        }
        Ok(Ok(Some((_, text)))) => Err(text.trim_end().to_owned()),
        Ok(Ok(None)) => Err(format!("none runs: nothing listens at {}", target.address)),
        Ok(Err(error)) => Err(super::in_words(&error)),
        Err(_) => Err(format!("no answer at {} within {} s", target.address, PATIENCE.as_secs())),
    }
}

/// [`other_than`], of whoever answers now.
async fn other_configuration(config: &Places, target: &Target) -> Option<String> {
    if has_socket(target) {
        return None;
    }
    let (_, status) = answer(target, "GET", "/status").await.ok()??;
    other_than(config, target, &serde_json::from_str(&status).ok()?)
}

/// Whoever opens the socket has found the process itself.
fn has_socket(target: &Target) -> bool {
    target.socket.as_ref().is_some_and(|socket| socket.exists())
}

/// Says so when the process that answers with this `/status` at the admin address was started with neither this file nor one with the same spool.
fn other_than(config: &Places, target: &Target, status: &Value) -> Option<String> {
    if has_socket(target) {
        return None;
    }
    let of = |name: &str| Some(PathBuf::from(status.get("configuration")?.get(name)?.as_str()?));
    let running = of("file")?;
    let same_spool = config.spool.as_ref().zip(of("spool_dir")).is_some_and(|(own, running)| same(&own.dir, &running));
    // What is not absolute says nothing to who is elsewhere.
    (running.is_absolute() && !same(&config.file, &running) && !same_spool).then(|| {
        let (address, other, own) = (&target.address, running.display(), config.file.display());
        format!("the otelgate that answers at {address} was started with {other}, not with {own}")
    })
}

fn same(own: &Path, running: &Path) -> bool {
    std::path::absolute(own).is_ok_and(|own| own == running)
        || matches!((own.canonicalize(), running.canonicalize()), (Ok(own), Ok(running)) if own == running)
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
