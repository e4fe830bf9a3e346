//! `otelgate health`

use std::path::Path;

use anyhow::bail;
use otelgate::config::{self, Process};

use super::admin::{answer, block_on};
use super::print;

/// What `/readyz` says, for those who have no program that asks it: a container's health check.
pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let places = config::load_places(file, &Process)?;
    let Some((status, lines)) = block_on(answer(&(&places).into(), "GET", "/readyz"))? else {
        bail!("nothing listens at {}", places.listener);
    };
    print(lines)?;
    if status.is_success() { Ok(()) } else { bail!("not ready") }
}
