//! The gateways that take turns: otelgate with TLS, key and limits, with or without a spool; ClickStack's collector with TLS
//! and bearer token; Rotel, which has neither.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::{KEY, key};
use stack::{COLLECTOR_TOKEN, Certificates, ClickHouse, Collector, CollectorSetup, Config, Gateway};

use crate::Args;
use crate::rotel::Rotel;

/// Which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Otelgate {
        spool: bool,
    },
    /// With a spool, and limits shared through `--shared-limits`.
    SharedLimits,
    /// With a spool, and its digests shared through `--shared-digests`.
    SharedDigests,
    /// With a spool, and what `--with` of this place adds to the configuration.
    With(usize),
    Collector,
    Rotel,
}

impl Kind {
    /// Its name in the report.
    pub(crate) fn name(self, args: &Args) -> String {
        let name = match self {
            Kind::Otelgate { spool: true } => "otelgate",
            Kind::Otelgate { spool: false } => "otelgate without spool",
            Kind::SharedLimits => "otelgate, shared limits",
            Kind::SharedDigests => "otelgate, shared digests",
            Kind::With(place) => {
                let lines: Vec<&str> = args.with[place].lines().map(str::trim).collect();
                return format!("otelgate, {}", lines.join("; "));
            }
            Kind::Collector => "collector",
            Kind::Rotel => "Rotel",
        };
        name.to_owned()
    }
}

/// A gateway that runs.
pub(crate) enum Running {
    Otelgate(Gateway),
    Collector(Collector),
    Rotel(Rotel),
}

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
        let mut sections = match kind {
            Kind::With(place) => format!("{}\n", args.with[place]),
            _ => String::new(),
        };
        if !matches!(kind, Kind::Otelgate { spool: false } | Kind::Collector | Kind::Rotel) {
            sections += &format!("spool:\n  dir: {}\n", folder.join(format!("spool-{database}")).display());
        }
        match (kind, &args.shared_limits, &args.shared_digests) {
            (Kind::SharedLimits, Some(url), _) => sections += &format!("limits: {{ shared: {{ url: \"{url}\" }} }}\n"),
            (Kind::SharedDigests, _, Some(url)) => sections += &format!("  shared_digests: {{ url: \"{url}\" }}\n"),
            _ => {}
        }
        let config = Config::new(folder, "").tls(&certificates).key(&key()).store(clickhouse, database);
        let gateway = config.section(&sections).start().await?;
        if !matches!(kind, Kind::Collector | Kind::Rotel) {
            return Ok(Running::Otelgate(gateway));
        }
        // otelgate made the tables; the others fill them.
        gateway.process.stop(Duration::from_secs(30)).await?;
        if kind == Kind::Rotel {
            let program = args.rotel.as_deref().context("--rotel")?;
            return Ok(Running::Rotel(Rotel::start(program, folder, clickhouse, database).await?));
        }
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
            Running::Rotel(rotel) => rotel.endpoint.clone(),
        }
    }

    /// What a client presents.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Running::Otelgate(_) | Running::Rotel(_) => KEY,
            Running::Collector(_) => COLLECTOR_TOKEN,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        match self {
            Running::Otelgate(gateway) => gateway.process.pid(),
            Running::Collector(collector) => collector.pid(),
            Running::Rotel(rotel) => rotel.pid(),
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        match self {
            Running::Otelgate(gateway) => gateway.process.stop(Duration::from_secs(60)).await.map(drop),
            Running::Collector(collector) => collector.kill().await,
            Running::Rotel(rotel) => rotel.kill().await,
        }
    }
}
