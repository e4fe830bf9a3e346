//! `otelgate serve`

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use otelgate::config::{self, Loaded, Process};
use otelgate::serve::{Ready, serve};
use otelgate::shutdown::{StopSignals, Stopped};
use tracing::warn;

/// What is left running after the stop (a look at a file, a name's resolution) is not waited for longer than this.
const LEFTOVERS: Duration = Duration::from_millis(250);

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    super::arenas::limit();
    let loaded = config::load(file, &Process)?;
    super::logging::start(&loaded.config.log)?;
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let stopped = runtime.block_on(serve_until_told(loaded));
    runtime.shutdown_timeout(LEFTOVERS);
    match stopped? {
        Stopped::Clean | Stopped::Late => Ok(()),
        Stopped::Forced => bail!("stopped at once: what was in flight was cut off"),
    }
}

async fn serve_until_told(loaded: Loaded) -> anyhow::Result<Stopped> {
    let signals = StopSignals::catch().context("cannot listen to signals")?;
    // Whoever reads the line may be gone; that is no reason not to serve.
    let ready = |ready: &Ready| drop(super::print(format_args!("{ready}\n")));
    Ok(serve(loaded, Process, signals, ready).await?)
}
