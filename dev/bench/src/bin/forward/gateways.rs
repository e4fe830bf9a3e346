//! The gateways that take turns, and the endpoint behind all of them. Each checks one key, and takes TLS.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::{KEY, key};
use stack::{Certificates, Config, Gateway, free_port};
use tokio::process::{Child, Command};

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Otelgate,
    Collector,
    Nginx,
}

/// A gateway that runs.
pub(crate) struct Running {
    /// Where clients send.
    pub(crate) endpoint: String,
    process: Process,
}

enum Process {
    Otelgate(Gateway),
    Other(Child),
}

impl Running {
    /// Starts a gateway that forwards to `sink`, a port.
    pub(crate) async fn start(
        kind: Kind,
        collector: &Path,
        folder: &Path,
        tls: &Certificates,
        sink: &Sink,
    ) -> Result<Running> {
        let port = free_port()?;
        let endpoint = format!("https://localhost:{port}");
        let process = match kind {
            Kind::Otelgate => Process::Otelgate(otelgate(folder, tls, port, sink.port).await?),
            Kind::Collector => {
                let config = folder.join("collector.yaml");
                std::fs::write(&config, collector_config(tls, port, sink.port))?;
                Process::Other(spawn(Command::new(collector).arg("--config").arg(config), port).await?)
            }
            Kind::Nginx => {
                let config = folder.join("nginx.conf");
                std::fs::write(&config, nginx_config(folder, tls, port, sink.port))?;
                Process::Other(spawn(Command::new("nginx").arg("-c").arg(config), port).await?)
            }
        };
        Ok(Running { endpoint, process })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        match &self.process {
            Process::Otelgate(gateway) => gateway.process.pid(),
            Process::Other(child) => child.id().context("the gateway has ended"),
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.process {
            Process::Otelgate(gateway) => gateway.process.stop(Duration::from_secs(60)).await.map(drop),
            Process::Other(mut child) => Ok(child.kill().await?),
        }
    }
}

/// The endpoint that takes everything and keeps nothing.
pub(crate) struct Sink {
    port: u16,
    _child: Child,
}

/// Starts it.
pub(crate) async fn sink(collector: &Path, folder: &Path) -> Result<Sink> {
    let port = free_port()?;
    let config = folder.join("sink.yaml");
    let receiver = format!("receivers:\n  otlp:\n    protocols:\n      grpc: {{ endpoint: \"127.0.0.1:{port}\" }}\n");
    std::fs::write(&config, format!("{receiver}exporters:\n  nop:\n{}", service("nop", "")))?;
    let child = spawn(Command::new(collector).arg("--config").arg(config), port).await?;
    Ok(Sink { port, _child: child })
}

fn service(exporter: &str, extensions: &str) -> String {
    format!(
        "service:\n{extensions}  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: error }} }}\n  pipelines:\n    \
         traces: {{ receivers: [otlp], exporters: [{exporter}] }}\n"
    )
}

/// otlp to otlp without queue or batch.
fn collector_config(tls: &Certificates, port: u16, sink: u16) -> String {
    format!(
        "extensions:\n  bearertokenauth: {{ scheme: \"\", token: {KEY} }}\nreceivers:\n  otlp:\n    protocols:\n      grpc:\n        \
         endpoint: \"127.0.0.1:{port}\"\n        auth: {{ authenticator: bearertokenauth }}\n        \
         tls: {{ cert_file: {}, key_file: {} }}\n\
         exporters:\n  otlp:\n    endpoint: \"127.0.0.1:{sink}\"\n    tls: {{ insecure: true }}\n    compression: none\n    \
         sending_queue: {{ enabled: false }}\n{}",
        tls.certificate.display(),
        tls.key.display(),
        service("otlp", "  extensions: [bearertokenauth]\n")
    )
}

/// TLS, a key map, `grpc_pass`; one process, so that its cost is one number.
fn nginx_config(folder: &Path, tls: &Certificates, port: u16, sink: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off; client_body_temp_path {folder}/body; client_max_body_size 64m; client_body_buffer_size 1m;\n  \
         map $http_authorization $known {{ default 0; \"{KEY}\" 1; \"Bearer {KEY}\" 1; }}\n  \
         upstream sink {{ server 127.0.0.1:{sink}; keepalive 16; }}\n  \
         server {{\n    listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {};\n    \
         location / {{ if ($known = 0) {{ return 401; }} grpc_pass grpc://sink; }}\n  }}\n}}\n",
        tls.certificate.display(),
        tls.key.display()
    )
}

async fn otelgate(folder: &Path, tls: &Certificates, port: u16, sink: u16) -> Result<Gateway> {
    let config = Config::new(folder, "").ports(port, 0).tls(tls).key(&key());
    config.forward(&format!("http://127.0.0.1:{sink}"), "grpc").start().await
}

async fn spawn(command: &mut Command, port: u16) -> Result<Child> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    for _ in 0..300 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(child);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing listens on port {port}")
}
