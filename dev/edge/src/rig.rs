//! The servers that are attacked, each started anew for the run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stack::{ClickHouse, Config, Gateway, Key, free_port};
use tokio::process::{Child, Command};

use crate::attack;

/// The good client's key.
pub(crate) const GOOD: &str = "good-5d20e8";

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) pid: u32,
}

/// What runs; it ends when dropped.
pub(crate) struct Running {
    pub(crate) server: Server,
    _parts: Parts,
}

enum Parts {
    Otelgate { _gateway: Gateway, _clickhouse: Box<ClickHouse> },
    Collector { _child: Child },
}

/// otelgate with a spool, storing in ClickHouse, without TLS.
pub(crate) async fn otelgate(folder: &Path) -> Result<Running> {
    let clickhouse = ClickHouse::start(&folder.join("clickhouse"), 0).await?;
    clickhouse.query("CREATE DATABASE IF NOT EXISTS otel_test_edge", "TabSeparated").await?;
    let gateway = Config::new(folder, "")
        .key(&Key::known("attacker", attack::KEY))
        .key(&Key::known("good", GOOD))
        // Attackers have more than one address, and not the good client's: here all share one.
        .listen("max_connections_per_ip: 5000")
        .store(&clickhouse, "otel_test_edge")
        .spool()
        .start()
        .await?;
    let address = gateway.otlp.first().context("no listener")?.rsplit_once("//").context("no address")?.1.parse()?;
    let server = Server { name: "otelgate", grpc: address, http: address, pid: gateway.process.pid()? };
    Ok(Running { server, _parts: Parts::Otelgate { _gateway: gateway, _clickhouse: Box::new(clickhouse) } })
}

/// A collector that asks for the good client's key (it knows one), and throws away what it accepts: all its work is at the edge.
pub(crate) async fn collector(program: &Path, folder: &Path) -> Result<Running> {
    let [grpc, http] = [free_port()?, free_port()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let receiver = |address| format!("{{ endpoint: \"{address}\", auth: {{ authenticator: bearertokenauth }} }}");
    let pipelines: String =
        ["traces", "logs"].map(|signal| format!("    {signal}: {{ receivers: [otlp], exporters: [nop] }}\n")).concat();
    let config = folder.join("peer.yaml");
    std::fs::write(
        &config,
        format!(
            "extensions:\n  bearertokenauth: {{ scheme: \"\", tokens: [{GOOD}, {}] }}\nreceivers:\n  otlp:\n    protocols:\n      \
             grpc: {}\n      http: {}\nexporters:\n  nop:\nservice:\n  extensions: [bearertokenauth]\n  \
             telemetry: {{ metrics: {{ level: none }}, logs: {{ level: error }} }}\n  pipelines:\n{pipelines}",
            attack::KEY,
            receiver(grpc),
            receiver(http)
        ),
    )?;
    let log = std::fs::File::create(folder.join("peer.log"))?;
    let child = Command::new(program).arg("--config").arg(config).stderr(log).kill_on_drop(true).spawn()?;
    let server = Server { name: "collector", grpc, http, pid: child.id().context("it has ended")? };
    for _ in 0..300 {
        if tokio::net::TcpStream::connect(grpc).await.is_ok() {
            return Ok(Running { server, _parts: Parts::Collector { _child: child } });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the collector does not accept: {}", folder.join("peer.log").display())
}
