//! A client's program, running: what it is told, how it ended, what it said.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stack::Certificates;
use tokio::process::Command;

use crate::catalogue::Variant;
use crate::docs::{self, Section};

/// No program takes as long; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// What says which way to send: the variant decides, whatever the page shows.
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const COMPRESSION: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
/// What a client is told that shows a certificate.
pub(crate) const WITH_CERTIFICATE: &[&str] =
    &["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"];
/// Variables of the machine that would decide which CA counts: Python's `requests` prefers them to `OTEL_EXPORTER_OTLP_CERTIFICATE`.
const ELSEWHERE: [&str; 5] = [
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// Numbered records, in portions with pauses between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Spans, and as many log records.
    pub(crate) records: u64,
    /// Sent at once.
    pub(crate) portion: u64,
    /// Between two portions.
    pub(crate) pause: Duration,
}

/// What a program is told.
#[derive(Debug)]
pub(crate) struct Order {
    /// Its name in the tables (`service.name`), unlike every other one's.
    pub(crate) service: String,
    /// Which SDK the program takes, where it knows several.
    pub(crate) sdk: &'static str,
    /// Where its settings stand.
    pub(crate) docs: Section,
    pub(crate) variant: Variant,
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) certificates: Certificates,
    /// Whether it shows a certificate.
    pub(crate) shows_certificate: bool,
    /// Whether it keeps its connections alive with pings.
    pub(crate) pings: bool,
    /// Time of the first record, nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) load: Load,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// From its first record on.
    pub(crate) took: Duration,
    /// Everything that it said.
    pub(crate) said: String,
    /// Where that lies.
    pub(crate) log: PathBuf,
}

/// Waits until the program that writes this log has made its first record.
pub(crate) async fn sends(log: &Path) {
    while !std::fs::read_to_string(log).is_ok_and(|said| said.contains("span 0 ")) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Order {
    /// Where what it says is written.
    pub(crate) fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.service))
    }

    /// Runs `program` to its end.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub(crate) async fn run(&self, program: &Path, folder: &Path) -> Result<Ended> {
        let log = self.log(folder);
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new(program);
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        let mut child = command
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut began = Instant::now();
        let waited = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                status = child.wait() => return status,
                () = sends(&log) => began = Instant::now(),
            }
            child.wait().await
        });
        let Ok(status) = waited.await else {
            bail!("{} did not end within {PATIENCE:?}; it said {}", self.service, log.display())
        };
        let took = began.elapsed();
        let said = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        Ok(Ended { status: status?, took, said, log })
    }

    /// The settings as the client's page shows them, and what the matrix says besides.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let load = self.load;
        let own = self.docs.settings().filter(|(name, _)| !WITH_CERTIFICATE.contains(name));
        let certificate = docs::EVERY.settings().filter(|(name, _)| WITH_CERTIFICATE.contains(name));
        let certificate = certificate.filter(|_| self.shows_certificate);
        let mut all: Vec<_> = own.chain(certificate).map(|(name, value)| (name, self.filled(value))).collect();
        all.retain(|(name, _)| ![PROTOCOL, COMPRESSION].contains(name));
        all.push((PROTOCOL, self.variant.protocol.to_owned()));
        // Python's gRPC exporter does not know the word "none".
        if self.variant.compression != "none" {
            all.push((COMPRESSION, self.variant.compression.to_owned()));
        }
        all.extend([
            ("OTEL_SERVICE_NAME", self.service.clone()),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=matrix".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3600000".to_owned()),
            ("MATRIX_SDK", self.sdk.to_owned()),
            ("MATRIX_KEY", self.key.clone()),
            ("MATRIX_START", self.start.to_string()),
            ("MATRIX_RECORDS", load.records.to_string()),
            ("MATRIX_PORTION", load.portion.to_string()),
            ("MATRIX_PAUSE", load.pause.as_millis().to_string()),
        ]);
        if self.pings {
            all.push(("MATRIX_PINGS", "1".to_owned()));
        }
        all
    }

    /// A value of the page, with this run's in the places of its examples.
    fn filled(&self, shown: &str) -> String {
        let Certificates { ca, client_certificate, client_key, .. } = &self.certificates;
        match shown {
            "https://telemetry.example.com:4317" => self.endpoint.clone(),
            "ca.crt" => ca.display().to_string(),
            "client.crt" => client_certificate.display().to_string(),
            "client.key" => client_key.display().to_string(),
            other => other.replace("<key>", &self.key),
        }
    }
}
