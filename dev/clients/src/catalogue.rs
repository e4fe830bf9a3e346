//! Which clients there are, what each can speak, and what it adds to what it is told to send.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::docs::{self, Section};

/// A program of `dev/clients/FOLDER`, made with one SDK.
#[derive(Debug)]
pub(crate) struct Client {
    /// What the page calls it.
    pub(crate) name: &'static str,
    /// What `--clients` calls it, and its folder.
    pub(crate) folder: &'static str,
    /// Which of the SDKs that the folder's program knows, as `MATRIX_SDK` names it; nothing where it knows one.
    pub(crate) sdk: &'static str,
    /// Where the settings stand with which it runs.
    pub(crate) docs: Section,
    /// Programs without which it cannot be installed or run.
    pub(crate) needs: &'static [&'static str],
    /// What it speaks.
    pub(crate) variants: &'static [Variant],
    /// Whether it is cheap enough for every submission.
    pub(crate) quick: bool,
    /// Beginnings of the attributes that the SDK adds by itself.
    pub(crate) adds: &'static [&'static str],
    /// Protocols over which the SDK has no setting for a certificate of its own.
    pub(crate) without_certificate: &'static [&'static str],
    /// It numbers spans only, and records a browser's session beside them.
    pub(crate) records_session: bool,
    /// Whether it can be told to keep its connections alive with pings, and to say what comes of them.
    pub(crate) pings: Pings,
}

/// Pings of gRPC's keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pings {
    Never,
    WhenTold,
    /// It was made to ping, and is no SDK.
    Only,
}

/// One way to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` names it.
    pub(crate) protocol: &'static str,
    /// As `OTEL_EXPORTER_OTLP_COMPRESSION` names it.
    pub(crate) compression: &'static str,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.protocol, self.compression)
    }
}

const fn variant(protocol: &'static str, compression: &'static str) -> Variant {
    Variant { protocol, compression }
}

const GRPC: Variant = variant("grpc", "none");
const GRPC_GZIP: Variant = variant("grpc", "gzip");
const PROTOBUF: Variant = variant("http/protobuf", "none");
const PROTOBUF_GZIP: Variant = variant("http/protobuf", "gzip");

const JSON: Variant = variant("http/json", "none");
const JSON_GZIP: Variant = variant("http/json", "gzip");

/// What an SDK without OTLP/JSON speaks.
const WITHOUT_JSON: &[Variant] = &[GRPC, GRPC_GZIP, PROTOBUF, PROTOBUF_GZIP];

/// What a page's spans carry besides.
const HYPERDX_BROWSER: &[&str] = &["location.", "rum."];

/// A client with the SDK of a language.
const fn client(name: &'static str, folder: &'static str, needs: &'static [&'static str]) -> Client {
    Client {
        name,
        folder,
        sdk: "",
        docs: docs::EVERY,
        needs,
        variants: WITHOUT_JSON,
        quick: false,
        adds: &[],
        without_certificate: &[],
        records_session: false,
        pings: Pings::Never,
    }
}

/// All of them, in the page's order.
pub(crate) const CLIENTS: &[Client] = &[
    Client { docs: docs::PYTHON, quick: true, ..client("Python", "python", &["python3"]) },
    Client {
        variants: &[GRPC, GRPC_GZIP, PROTOBUF, PROTOBUF_GZIP, JSON, JSON_GZIP],
        docs: docs::NODE,
        quick: true,
        ..client("Node", "node", &["node", "npm"])
    },
    Client { docs: docs::GO, quick: true, pings: Pings::WhenTold, ..client("Go", "go", &["go"]) },
    Client { docs: docs::JAVA, adds: &["thread.", "code."], ..client("Java agent", "java", &["java", "javac", "mvn"]) },
    // The agent's exporters have OkHttp beneath them.
    Client { variants: &[GRPC], pings: Pings::Only, ..client("grpc-java", "grpc-java", &["java", "javac", "mvn"]) },
    Client {
        variants: &[
            GRPC,
            GRPC_GZIP,
            variant("grpc", "snappy"),
            variant("grpc", "zstd"),
            PROTOBUF,
            PROTOBUF_GZIP,
            variant("http/protobuf", "deflate"),
            variant("http/protobuf", "snappy"),
            variant("http/protobuf", "zstd"),
            variant("http/protobuf", "lz4"),
            JSON_GZIP,
        ],
        ..client("Collector", "collector", &["go"])
    },
    // Over gRPC it trusts public CAs only.
    Client {
        sdk: "hyperdx",
        docs: docs::HYPERDX_PYTHON,
        variants: &[PROTOBUF, PROTOBUF_GZIP],
        adds: &["SampleRate"],
        ..client("HyperDX's Python SDK", "python", &["python3"])
    },
    Client {
        docs: docs::HYPERDX_NODE,
        without_certificate: &["http/protobuf"],
        ..client("HyperDX's Node SDK", "hyperdx-node", &["node", "npm"])
    },
    Client {
        variants: &[PROTOBUF, JSON],
        without_certificate: &["http/protobuf", "http/json"],
        ..client("Browser", "browser", &["node", "npm", "chromium"])
    },
    Client {
        sdk: "hyperdx",
        variants: &[JSON],
        adds: HYPERDX_BROWSER,
        without_certificate: &["http/json"],
        records_session: true,
        ..client("HyperDX's browser SDK", "browser", &["node", "npm", "chromium"])
    },
];

impl Client {
    /// A name for files and tables.
    pub(crate) fn slug(&self) -> String {
        format!("{}{}", self.folder, self.sdk)
    }

    /// What is missing on this machine.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let paths: Vec<PathBuf> =
            std::env::var_os("PATH").map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default();
        self.needs.iter().copied().find(|program| !paths.iter().any(|path| path.join(program).is_file()))
    }

    /// Installs it once, into a folder of the cache that is named after its files, so that changed ones are installed anew. Answers its program.
    ///
    /// # Errors
    /// Its `install.sh` fails.
    pub(crate) async fn install(&self) -> Result<PathBuf> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = clients.join(self.folder);
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join(".cache"),
            (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set"),
        };
        let folder = cache.join("otelgate").join(format!("client-{}-{}", self.folder, fingerprint(clients)?));
        let (program, done) = (folder.join("client"), folder.join("installed"));
        if done.exists() {
            return Ok(program);
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(sources.join("install.sh"));
        let status = command.arg(&folder).stdin(Stdio::null()).status().await.context("cannot run install.sh")?;
        if !status.success() {
            bail!("installing the client for {} failed: {status}", self.name);
        }
        std::fs::write(done, "")?;
        Ok(program)
    }
}

/// A digest of all clients' files: some take files of others.
fn fingerprint(clients: &Path) -> Result<String> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(clients)? {
        let folder = folder?.path();
        if folder.join("install.sh").exists() {
            files.extend(std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?);
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files.iter().filter(|path| path.is_file()) {
        digest.update(file.strip_prefix(clients)?.as_os_str().as_encoded_bytes());
        digest.update(std::fs::read(file)?);
    }
    Ok(digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}
