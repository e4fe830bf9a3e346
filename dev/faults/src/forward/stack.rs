//! What a run stands on: a receiver that counts, a collector before it, a tunnel to the collector, and otelgate with its spool.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_stack::{COLLECTOR_TOKEN, Certificates, Gateway, Key, PlainCollector, Tunnel, free_port, new_key};

use super::Plan;
use super::receiver::Receiver;
use crate::room::Room;
use crate::stack::get;

/// An export of unknown outcome is not repeated sooner than this: what is counted before such a time has not come twice yet.
const SOON: Duration = Duration::from_millis(150);

/// Everything but the clients.
pub(super) struct Stack {
    pub(super) receiver: Receiver,
    pub(super) collector: PlainCollector,
    /// Between otelgate and the collector.
    pub(super) tunnel: Tunnel,
    /// otelgate's OTLP port, the same at every start.
    pub(super) port: u16,
    /// otelgate's admin port.
    pub(super) admin: u16,
    pub(super) certificates: Certificates,
    /// A key that may send as much as it likes.
    pub(super) key: Key,
    /// A key with a limit that is reached all the time.
    pub(super) limited_key: Key,
    pub(super) room: Room,
    pub(super) gateway: Option<Gateway>,
    /// What otelgate's ended processes counted as of unknown outcome, by signal.
    pub(super) unknown: [u64; 3],
    config: PathBuf,
    log: PathBuf,
}

impl Stack {
    pub(super) async fn start(folder: &Path, plan: Plan<'_>) -> Result<Stack> {
        let folder = folder.join(format!("forward_{}", plan.protocol));
        fs::create_dir_all(&folder)?;
        let certificates = Certificates::in_folder(&folder)?;
        let receiver = Receiver::start().await?;
        let collector =
            PlainCollector::start_before(plan.collector, &folder, &receiver.endpoint, &certificates).await?;
        let mut stack = Stack {
            tunnel: Tunnel::start(collector.port(plan.protocol)).await?,
            port: free_port()?,
            admin: free_port()?,
            key: new_key("faults").await?,
            limited_key: new_key("limited").await?,
            room: Room::new(&folder, false)?,
            gateway: None,
            unknown: [0; 3],
            config: folder.join("otelgate.yaml"),
            log: folder.join("otelgate.log"),
            receiver,
            collector,
            certificates,
        };
        let limited = format!("{}    limits: {{ requests_per_second: 4 }}\n", stack.limited_key.entry);
        fs::write(folder.join("keys.yaml"), format!("keys:\n{limited}{}", stack.key.entry))?;
        let sink = format!(
            "sink:\n  forward:\n    endpoint: \"https://localhost:{}\"\n    protocol: {}\n    timeout: 3s\n    \
             token: \"Bearer {COLLECTOR_TOKEN}\"\n    ca_file: {}\n\
             batch: {{ max_age: 150ms, commit_interval: 40ms, max_rows: 4000, max_bytes: 4MiB }}\n\
             spool: {{ dir: {}, max_bytes: 64MiB, min_free_bytes: 0B }}\n\
             limits: {{ requests_per_second: 2000, records_per_second: 1000000, bytes_per_second: 256MiB }}\n\
             shutdown: {{ drain_delay: 200ms, deadline: 20s }}\n",
            stack.tunnel.port,
            plan.protocol,
            stack.certificates.ca.display(),
            stack.room.spool().display(),
        );
        fs::write(&stack.config, head(&folder, &stack.certificates, stack.port, stack.admin) + &sink)?;
        stack.start_gateway().await?;
        Ok(stack)
    }

    /// Starts otelgate on the same ports, spool and log.
    pub(super) async fn start_gateway(&mut self) -> Result<()> {
        let started = Gateway::start(&self.config, &[], Some(&self.log)).await;
        self.gateway = Some(started.with_context(|| format!("its log is {}", self.log.display()))?);
        Ok(())
    }

    /// SIGKILL of otelgate.
    pub(super) async fn kill_gateway(&mut self) -> Result<()> {
        let counted = kill(&mut self.gateway).await?;
        self.add(counted);
        Ok(())
    }

    /// SIGTERM; it must end well.
    pub(super) async fn stop_gateway(&mut self) -> Result<()> {
        let gateway = self.gateway.take().context("otelgate does not run")?;
        let mut counted = unknown(self.admin).await?;
        let stopping = gateway.process.stop(Duration::from_secs(60));
        let counting = async {
            // It counts until it has ended.
            while let Ok(now) = unknown(self.admin).await {
                counted = now;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (status, ()) = tokio::join!(stopping, counting);
        let status = status?;
        ensure!(status.success(), "otelgate ended with {status}; its log is {}", self.log.display());
        self.add(counted);
        Ok(())
    }

    /// What a process counted in its life.
    pub(super) fn add(&mut self, counted: [u64; 3]) {
        self.unknown.iter_mut().zip(counted).for_each(|(all, counted)| *all += counted);
    }
}

/// SIGKILL, and what the process had counted. What it counts afterwards it cannot repeat any more: its heir counts that.
pub(super) async fn kill(gateway: &mut Option<Gateway>) -> Result<[u64; 3]> {
    let gateway = gateway.take().context("otelgate does not run")?;
    let admin: u16 = gateway.admin.rsplit(':').next().context("no port")?.parse()?;
    let counted = loop {
        let began = Instant::now();
        let counted = unknown(admin).await?;
        if began.elapsed() < SOON {
            break counted;
        }
    };
    gateway.process.pid()?;
    gateway.process.kill().await?;
    Ok(counted)
}

async fn unknown(admin: u16) -> Result<[u64; 3]> {
    let text = get(admin, "/metrics").await?;
    let count = |signal: &str| {
        let name = format!("otelgate_forward_unknown_records_total{{signal=\"{signal}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    };
    ensure!(text.contains("otelgate_"), "no metrics");
    Ok(["traces", "logs", "metrics"].map(count))
}

fn head(folder: &Path, certificates: &Certificates, port: u16, admin: u16) -> String {
    format!(
        "listen: {{ otlp: [\"127.0.0.1:{port}\"], admin: \"127.0.0.1:{admin}\" }}\n\
         tls: {{ cert_file: {}, key_file: {} }}\n\
         keys: {{ file: {}, max_failures_per_minute: 1000 }}\n",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.join("keys.yaml").display(),
    )
}
