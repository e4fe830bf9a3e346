//! h2spec, the conformance tests of HTTP/2.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::rig::Server;

/// What is known to fail, by the beginning of what the test is called, and why.
const KNOWN: &[(&str, &str)] = &[];

/// What it found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its last line.
    pub(crate) summary: String,
    /// Tests that failed: what they are called, and why, where that is known.
    pub(crate) failed: Vec<(String, Option<&'static str>)>,
}

/// Runs it.
///
/// # Errors
/// It does not run to its end.
pub(crate) async fn run(program: &Path, server: &Server) -> Result<Found> {
    let (host, port) = (server.grpc.ip().to_string(), server.grpc.port().to_string());
    let output = Command::new(program)
        .args(["--host", &host, "--port", &port, "--path", "/v1/logs", "--timeout", "2"])
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = said.lines().rev().find(|line| line.contains(" passed")).context("h2spec did not end")?.trim();
    // The tree of all tests comes first, then once more those that failed.
    let tree = said.split("Failures:").next().unwrap_or_default();
    let failed = tree.lines().filter_map(|line| line.trim().strip_prefix('×')).map(|line| {
        let name = line.trim().split_once(": ").map_or(line.trim(), |(_, name)| name);
        let known = KNOWN.iter().find(|(begin, _)| name.starts_with(begin));
        (name.to_owned(), known.map(|(_, why)| *why))
    });
    Ok(Found { summary: summary.to_owned(), failed: failed.collect() })
}
