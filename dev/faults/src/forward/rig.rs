//! What a run stands on: a receiver that counts, a collector before it, a tunnel to the collector, and otelgate with its spool.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stack::{BEARER, Certificates, Config, Files, Gateway, Key, PlainCollector, Tunnel, free_port};

use super::Plan;
use super::receiver::Receiver;
use crate::rig::{get, sections};
use crate::room::Room;

/// An export of unknown outcome is not repeated sooner than this: what is counted before such a time has not come twice yet.
const SOON: Duration = Duration::from_millis(150);

/// Everything but the clients.
pub(super) struct Rig {
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
    files: Files,
}

impl Rig {
    pub(super) async fn start(folder: &Path, plan: Plan<'_>) -> Result<Rig> {
        let folder = folder.join(format!("forward_{}", plan.protocol));
        fs::create_dir_all(&folder)?;
        let certificates = Certificates::in_folder(&folder)?;
        let receiver = Receiver::start().await?;
        let collector =
            PlainCollector::start_before(plan.collector, &folder, &receiver.endpoint, &certificates).await?;
        let tunnel = Tunnel::start(collector.port(plan.protocol)).await?;
        let (port, admin) = (free_port()?, free_port()?);
        let key = Key::new("faults").await?;
        let limited_key = Key::new("limited").await?.with("limits: { requests_per_second: 4 }");
        let room = Room::new(&folder, false)?;
        let endpoint = format!("https://localhost:{}", tunnel.port);
        let files = Config::new(&folder, "")
            .ports(port, admin)
            .tls(&certificates)
            .key(&limited_key)
            .key(&key)
            .max_failures(1000)
            .forward(&endpoint, plan.protocol)
            .token(BEARER, &certificates.ca)
            .sink("timeout: 3s")
            .section(&sections(&room, "64MiB"))
            .write()?;
        let (gateway, unknown) = (None, [0; 3]);
        let mut rig = Rig {
            receiver,
            collector,
            tunnel,
            port,
            admin,
            certificates,
            key,
            limited_key,
            room,
            gateway,
            unknown,
            files,
        };
        rig.start_gateway().await?;
        Ok(rig)
    }

    /// Starts otelgate on the same ports, spool and log.
    pub(super) async fn start_gateway(&mut self) -> Result<()> {
        self.gateway = Some(self.files.start().await?);
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
        ensure!(status.success(), "otelgate ended with {status}; its log is {}", self.files.log.display());
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
