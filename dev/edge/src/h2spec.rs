//! h2spec, the conformance tests of HTTP/2.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::rig::Server;

/// What is known to fail, and why.
const KNOWN: &[(&str, &str)] = &[(
    "3.5. HTTP/2 Connection Preface: Sends invalid connection preface",
    "without TLS one port speaks HTTP/1.1 too, so what does not begin as HTTP/2 is a request line of HTTP/1.1 that cannot be read: it is answered 400 \
     and closed (RFC 9112 section 2.2), where h2spec waits for HTTP/2 or nothing (RFC 9113 section 3.4)",
)];

/// So long are the headers of which h2spec sends five in one frame to exceed SETTINGS_MAX_FRAME_SIZE: its own default exceeds 16 KiB, and otelgate takes 64.
const HEADER: &str = "16000";

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
/// It does not run to its end, says what cannot be understood, or what is known to fail does not.
pub(crate) async fn run(program: &Path, server: &Server) -> Result<Found> {
    let (host, port) = (server.grpc.ip().to_string(), server.grpc.port().to_string());
    let output = Command::new(program)
        .args(["--host", &host, "--port", &port, "--path", "/v1/logs", "--timeout", "2"])
        .args(["--max-header-length", HEADER])
        .output()
        .await?;
    read(&String::from_utf8_lossy(&output.stdout))
}

fn read(said: &str) -> Result<Found> {
    let summary = said.lines().rev().find(|line| line.contains(" passed")).context("h2spec did not end")?.trim();
    let number = summary.rsplit(", ").next().and_then(|last| last.strip_suffix(" failed"));
    let number: usize = number.and_then(|number| number.parse().ok()).context("h2spec does not say how many failed")?;
    // The tree of all tests comes first, each line overwritten by its outcome; then once more those that failed, below the titles of their sections.
    let (mut section, mut names) = ("", Vec::new());
    for line in said.rsplit_once("Failures:").map_or("", |(_, failures)| failures).lines().map(str::trim) {
        if let Some(test) = line.strip_prefix('×') {
            let name = test.split_once(": ").map_or(test, |(_, name)| name);
            names.push(format!("{section}: {name}"));
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            section = line;
        }
    }
    ensure!(names.len() == number, "h2spec says that {number} failed, and names {names:?}");
    for (known, _) in KNOWN {
        ensure!(names.iter().any(|name| name == known), "no longer fails, and is still said to: {known}");
    }
    let why = |name: &String| KNOWN.iter().find(|(known, _)| name == known).map(|(_, why)| *why);
    let failed = names.into_iter().map(|name| (name.clone(), why(&name))).collect();
    Ok(Found { summary: summary.to_owned(), failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Hypertext Transfer Protocol Version 2 (HTTP/2)
  3. Starting HTTP/2
    3.5. HTTP/2 Connection Preface
        1: Sends client connection preface\r      ✔ 1: Sends client connection preface
        2: Sends invalid connection preface\r      × 2: Sends invalid connection preface
          -> The endpoint MUST terminate the TCP connection.

Failures: 

Hypertext Transfer Protocol Version 2 (HTTP/2)
  3. Starting HTTP/2
    3.5. HTTP/2 Connection Preface
      × 2: Sends invalid connection preface
        -> The endpoint MUST terminate the TCP connection.
           Expected: Connection closed
             Actual: Error: unexpected EOF

  4. HTTP Frames
    4.2. Frame Size
      × 3: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE

Finished in 2.1286 seconds
145 tests, 143 passed, 0 skipped, 2 failed
";

    #[test]
    fn each_failed_test_has_its_name() {
        let found = read(SAID).unwrap();
        let (known, other) = (&found.failed[0], &found.failed[1]);
        assert_eq!((found.failed.len(), known.0.as_str(), known.1.is_some()), (2, KNOWN[0].0, true));
        let name = "4.2. Frame Size: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE";
        assert_eq!((other.0.as_str(), other.1), (name, None));
        assert_eq!(found.summary, "145 tests, 143 passed, 0 skipped, 2 failed");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let another_mark = SAID.replace('×', "✖");
        let one_more = SAID.replace("2 failed", "3 failed");
        let without_number = SAID.replace("2 failed", "all well");
        let none_known = SAID.replace("Sends invalid", "Sends another");
        let cut = SAID.rsplit_once("Failures").unwrap().0.to_owned();
        for said in [another_mark, one_more, without_number, none_known, cut, String::new()] {
            assert!(read(&said).is_err(), "{said}");
        }
    }
}
