//! The gateways that take turns: otelgate with TLS, key and limits, with or without a spool; ClickStack's collector with TLS
//! and bearer token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use local_stack::{COLLECTOR_TOKEN, Certificates, ClickHouse, Collector, CollectorSetup, Gateway};
use sha2::{Digest, Sha256};

use crate::Args;

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Otelgate { spool: bool },
    Collector,
}

impl Kind {
    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Otelgate { spool: true } => "otelgate",
            Kind::Otelgate { spool: false } => "otelgate without spool",
            Kind::Collector => "collector",
        }
    }
}

/// A gateway that runs.
pub(crate) enum Running {
    Otelgate(Gateway),
    Collector(Collector),
}

const KEY: &str = "bench-key";

impl Running {
    /// Starts a gateway in front of `database`, whose tables are there afterwards.
    pub(crate) async fn start(
        kind: Kind,
        args: &Args,
        folder: &Path,
        clickhouse: &ClickHouse,
        database: &str,
    ) -> Result<Running> {
        let certificates = Certificates::in_folder(&folder.join("tls"))?;
        let spool = matches!(kind, Kind::Otelgate { spool: true });
        let gateway = otelgate(folder, clickhouse, database, &certificates, spool).await?;
        if kind != Kind::Collector {
            return Ok(Running::Otelgate(gateway));
        }
        // otelgate made the tables; the collector fills them.
        gateway.process.stop(Duration::from_secs(30)).await?;
        let setup = CollectorSetup {
            program: args.collector.as_deref().context("--collector")?,
            configs: args.configs.as_deref().context("--configs")?,
            folder,
            clickhouse,
            database,
            tls: Some(&certificates),
            env: &[],
            log: None,
        };
        Ok(Running::Collector(Collector::start(setup).await?))
    }

    /// Its OTLP/gRPC address.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Running::Otelgate(gateway) => gateway.otlp[0].replace("127.0.0.1", "localhost"),
            Running::Collector(collector) => collector.grpc.clone(),
        }
    }

    /// What a client presents.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Running::Otelgate(_) => KEY,
            Running::Collector(_) => COLLECTOR_TOKEN,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        match self {
            Running::Otelgate(gateway) => gateway.process.pid(),
            Running::Collector(collector) => collector.pid(),
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        match self {
            Running::Otelgate(gateway) => gateway.process.stop(Duration::from_secs(60)).await.map(drop),
            Running::Collector(collector) => collector.kill().await,
        }
    }
}

async fn otelgate(
    folder: &Path,
    clickhouse: &ClickHouse,
    database: &str,
    certificates: &Certificates,
    spool: bool,
) -> Result<Gateway> {
    let digest: String = Sha256::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let limits = "limits: { requests_per_second: 1000000, bytes_per_second: 100GiB, records_per_second: 100000000 }";
    std::fs::write(
        folder.join("keys.yaml"),
        format!("keys:\n  - name: bench\n    sha256: \"{digest}\"\n    {limits}\n"),
    )?;
    let spool = if spool {
        format!("spool: {{ dir: {} }}\n", folder.join(format!("spool-{database}")).display())
    } else {
        String::new()
    };
    let config = format!(
        "listen:\n  otlp: [\"127.0.0.1:0\"]\n  admin: \"127.0.0.1:0\"\ntls:\n  cert_file: {}\n  key_file: {}\nkeys:\n  file: {}\n\
         sink:\n  clickhouse:\n    url: \"{}\"\n    database: {database}\n    user: {}\n    password: \"${{env:CLICKHOUSE_PASSWORD}}\"\n{spool}",
        certificates.certificate.display(),
        certificates.key.display(),
        folder.join("keys.yaml").display(),
        clickhouse.url,
        clickhouse.user
    );
    let file = folder.join("otelgate.yaml");
    std::fs::write(&file, config)?;
    let log = folder.join("otelgate.log");
    let gateway = Gateway::start(&file, &[("CLICKHOUSE_PASSWORD", &clickhouse.password)], Some(&log)).await;
    gateway.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
}
