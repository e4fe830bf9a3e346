//! `otelgate keys new`

use otelgate::keys::NewKey;

pub(super) fn new(name: &str) -> anyhow::Result<()> {
    super::print(NewKey::generate(name)?)
}
