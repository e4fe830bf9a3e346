//! What a stranger reaches at an address: the ports of the whole stack, and whether they let in who shows nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Finding;

/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ports of the stack, what listens there, and what is to be done about it.
const PORTS: [(u16, &str, &str); 14] = [
    (4317, "the collector's OTLP over gRPC", "stop publishing it; otelgate takes OTLP"),
    (4318, "the collector's OTLP over HTTP", "stop publishing it; otelgate takes OTLP"),
    (8123, "ClickHouse over plain HTTP", "listen_host 127.0.0.1, or a private network; https on 8443"),
    (8443, "ClickHouse over HTTPS", "let only HyperDX and otelgate reach it"),
    (9000, "ClickHouse's native protocol, plain", "listen_host 127.0.0.1, or a private network"),
    (9440, "ClickHouse's native protocol", "let only those reach it who use it"),
    (8080, "HyperDX's page over plain HTTP", "put a proxy with TLS before it"),
    (8000, "HyperDX's API over plain HTTP", "put a proxy with TLS before it"),
    (27017, "MongoDB, which asks nobody for a password by default", "stop publishing it; only the app uses it"),
    (
        4320,
        "HyperDX's OpAMP, which hands out ingestion keys",
        "stop publishing it; collectors and otelgate reach it privately",
    ),
    (8888, "the collector's metrics", "stop publishing it"),
    (13133, "the collector's health check", "stop publishing it"),
    (24225, "the collector's fluentd port, which takes logs without a key", "stop publishing it"),
    (9317, "otelgate's admin listener", "listen.admin: 127.0.0.1:9317"),
];

/// What a port does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody answers.
    Closed,
    /// Somebody takes connections.
    Open,
    /// ClickHouse says that `default` may ask without a password.
    LetsIn,
}

/// Knocks at every port. Those in `own` are otelgate's.
pub(super) async fn look(host: &str, own: &[u16]) -> Vec<Finding> {
    let knocks = PORTS.iter().filter(|(port, ..)| !own.contains(port)).map(|&(port, ..)| {
        let host = host.to_owned();
        tokio::spawn(async move { (port, seen(&host, port).await) })
    });
    let mut found = Vec::new();
    for knock in knocks.collect::<Vec<_>>() {
        // A task ends badly only when the process ends.
        let Ok((port, seen)) = knock.await else { continue };
        found.push(judge(host, port, &seen));
    }
    found
}

async fn seen(host: &str, port: u16) -> Seen {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await else {
        return Seen::Closed;
    };
    match tokio::time::timeout(PATIENCE, lets_in(stream)).await {
        Ok(Ok(true)) if port == 8123 => Seen::LetsIn,
        _ => Seen::Open,
    }
}

/// Whether a statement is answered that shows no user.
async fn lets_in(mut stream: TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"GET /?query=SELECT%201 HTTP/1.0\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer.ends_with(b" 200"))
}

pub(super) fn judge(host: &str, port: u16, seen: &Seen) -> Finding {
    let (_, what, mend) = PORTS.iter().find(|(known, ..)| *known == port).copied().unwrap_or((port, "something", ""));
    let ok = Finding::ok("exposure", format!("{port}: nobody answers"), format!("connected to {host}:{port}"));
    match seen {
        Seen::Closed => ok,
        Seen::Open => ok.warning(format!("{port} answers: usually {what}"), mend),
        Seen::LetsIn => {
            ok.wrong(format!("{port} answers statements of whoever comes, without a password: {what}"), mend)
        }
    }
}
