//! `otelgate serve`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use otelgate::config::{self, Loaded, Process};
use otelgate::metrics::Metrics;
use otelgate::notes::Notes;
use otelgate::serve::{Origin, Ready, serve};
use otelgate::shutdown::{StopSignals, Stopped};
use tracing::{error, warn};

use super::logging::{self, LastLines};

/// What is left running after the stop (a look at a file, a name's resolution) is not waited for longer than this.
const LEFTOVERS: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) file: super::ConfigFile,
    /// Allow core dumps, and debuggers of the same user to attach: both show keys, passwords and telemetry
    #[arg(long, env = "OTELGATE_CORE_DUMPS")]
    pub(super) core_dumps: bool,
}

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let loaded = config::load(file, &Process)?;
    let metrics = Arc::new(Metrics::default());
    let telemetry = &loaded.config.telemetry;
    let notes = Arc::new(Notes::new(telemetry.logs, telemetry.traces));
    let log = logging::start(&loaded.config.log, metrics.log_lines_dropped().clone(), notes.clone())?;
    loaded.faults.iter().for_each(|fault| error!("{fault}"));
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let level = log.level();
    let origin = Origin { file: file.to_owned(), log: Box::new(move |log| level.set(log)) };
    let stopped = runtime.block_on(serve_until_told(loaded, origin, metrics, notes, &log));
    runtime.shutdown_timeout(LEFTOVERS);
    match stopped? {
        Stopped::Clean | Stopped::Late => Ok(()),
        Stopped::Forced => bail!("stopped at once: what was in flight was cut off"),
    }
}

async fn serve_until_told(
    loaded: Loaded,
    origin: Origin,
    metrics: Arc<Metrics>,
    notes: Arc<Notes>,
    log: &LastLines,
) -> anyhow::Result<Stopped> {
    let signals = StopSignals::catch().context("cannot listen to signals")?;
    let ready = |ready: &Ready| {
        let line = format!("{ready}\n");
        // Whoever reads the line may be gone, or asleep; that is no reason not to serve.
        log.after(|| drop(super::print(line)));
    };
    Ok(serve(loaded, origin, Process, (metrics, notes), signals, ready).await?)
}
