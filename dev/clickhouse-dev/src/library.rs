//! Where the shared library lies, and what to do when it does not.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// The version that `scripts/fetch-clickhouse.sh` fetches.
const FOLDER: &str = "otelgate/libchdb-26.7.3-stable.1";

/// The library's path: `$LIBCHDB`, or the file that `make clickhouse` fetched.
///
/// # Errors
/// When there is no such file; the message names the remedy.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("LIBCHDB") {
        Some(path) => PathBuf::from(path),
        None => cache_folder()?.join(FOLDER).join("libchdb.so"),
    };
    if !path.is_file() {
        bail!(
            "ClickHouse's library is not at {}; run `make clickhouse` to fetch it (170 MiB, once), \
             or set LIBCHDB to a libchdb.so, or CLICKHOUSE_URL to a running server",
            path.display()
        );
    }
    Ok(path)
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(cache));
    }
    let home = std::env::var_os("HOME").context("neither LIBCHDB, XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache"))
}
