//! What is done to a server, and how.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_client::{Call, Client, Protocol};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::Flood;
use crate::give_way;
use crate::rig::Server;

/// The attacker's key; it is valid.
pub(crate) const KEY: &str = "attacker-9c41b7";
/// Connections of an attack; an address may have 256.
pub(crate) const CONNECTIONS: usize = 200;
/// What a bomb becomes.
const INSIDE: u64 = 64 << 20;

/// One of them.
#[derive(Debug, Clone)]
pub(crate) enum Attack {
    /// Nothing: what the others are compared with.
    Quiet,
    /// Nothing either, while every core is kept busy by a loop that gives way as attackers do and speaks to nobody: what it costs the good client that attackers are on its machine.
    Busy,
    /// Frames of HTTP/2, as fast as they are taken.
    Frames(&'static str, Flood),
    /// Bytes of HTTP/1.1, two a second on each connection, after `begin`.
    Slow(&'static str, &'static str),
    /// A connection that has shown its key and does nothing more.
    Idle,
    /// The same request again and again, whatever the answer is.
    Requests(&'static str, Arc<Call>),
    /// The same for what nobody needs a key for.
    Asks(&'static str, &'static str),
    /// All others, sharing the connections.
    All,
}

/// What an attack came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Connections that were opened.
    pub(crate) connections: AtomicU64,
    /// Writes that a server took: chunks of frames, slow bytes, requests.
    pub(crate) steps: AtomicU64,
}

impl Attack {
    /// All of them.
    pub(crate) fn all() -> Result<Vec<Attack>> {
        let frames = [
            ("streams opened and reset (CVE-2023-44487)", Flood::RapidReset),
            ("CONTINUATION without an end (CVE-2024-27316)", Flood::Continuation),
            ("streams that the server must reset (CVE-2025-8671)", Flood::MadeYouReset),
            ("HPACK bombs", Flood::Hpack),
            ("SETTINGS", Flood::Settings),
            ("PING", Flood::Ping),
            ("PRIORITY", Flood::Priority),
            ("WINDOW_UPDATE", Flood::WindowUpdate),
            ("frames of an unknown type", Flood::Unknown),
            ("DATA without a byte", Flood::EmptyData),
            ("requests with window 0", Flood::NoWindow),
        ];
        let mut all = vec![Attack::Quiet, Attack::Busy];
        all.extend(frames.map(|(name, flood)| Attack::Frames(name, flood)));
        all.push(Attack::Slow("headers, two bytes a second", "POST /v1/logs HTTP/1.1\r\nhost: localhost\r\nx-slow: "));
        all.push(Attack::Slow(
            "bodies, two bytes a second",
            "POST /v1/logs HTTP/1.1\r\nhost: localhost\r\nauthorization: attacker-9c41b7\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1048576\r\n\r\n",
        ));
        all.push(Attack::Idle);
        let zeros = vec![0; usize::try_from(INSIDE)?];
        for (name, encoding, bomb) in [
            ("64 MiB of zeros in gzip", "gzip", gzip(&zeros)?),
            ("64 MiB of zeros in deflate", "deflate", deflate(&zeros)?),
            ("64 MiB of zeros in zstd", "zstd", zstd::bulk::compress(&zeros, 19)?),
            ("64 MiB of zeros in Snappy", "snappy", snap::raw::Encoder::new().compress_vec(&zeros)?),
            ("64 MiB of zeros in LZ4", "lz4", lz4(&zeros)?),
        ] {
            all.push(Attack::Requests(name, Arc::new(post("logs", bomb).encoding(encoding))));
        }
        let grows = Arc::new(post("traces", gzip(&grows_into_columns())?).encoding("gzip"));
        all.push(Attack::Requests("few KiB that become 117 MiB of columns", grows));
        all.push(Attack::Requests("small requests over the key's limit", Arc::new(post("logs", Vec::new()))));
        let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        all.push(Attack::Asks("questions after health, without a key", health));
        all.push(Attack::All);
        Ok(all)
    }

    /// In the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Attack::Quiet => "none",
            Attack::Busy => "none, but loops on all cores",
            Attack::Frames(name, _) | Attack::Slow(name, _) | Attack::Requests(name, _) | Attack::Asks(name, _) => name,
            Attack::Idle => "idle connections",
            Attack::All => "all at once, 200 connections",
        }
    }

    /// Attacks `server` for this long.
    pub(crate) async fn run(&self, server: &Server, tally: &Arc<Tally>, time: Duration) -> Result<()> {
        let attacks = match self {
            Attack::Busy => {
                loops(time).await;
                return Ok(());
            }
            Attack::All => {
                let mut all = Attack::all()?;
                all.retain(|attack| !matches!(attack, Attack::Quiet | Attack::Busy | Attack::All));
                all
            }
            one => vec![one.clone()],
        };
        let attackers: Vec<_> = (0..CONNECTIONS)
            .zip(attacks.iter().cycle())
            .map(|(_, attack)| {
                let (attack, server, tally) = (attack.clone(), server.clone(), tally.clone());
                tokio::spawn(async move {
                    loop {
                        // A connection ended, or none was to be had: another one.
                        drop(attack.once(&server, &tally).await);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(time).await;
        // All of them before the first is waited for: one that attacks takes its turn from those that end.
        for attacker in &attackers {
            attacker.abort();
        }
        for attacker in attackers {
            drop(attacker.await);
        }
        Ok(())
    }

    /// One connection to its end.
    async fn once(&self, server: &Server, tally: &Tally) -> Result<()> {
        match self {
            Attack::Quiet | Attack::Busy | Attack::All => std::future::pending().await,
            Attack::Frames(_, flood) => {
                let mut stream = connect(server.grpc, tally).await?;
                let (mut reader, mut writer) = stream.split();
                let flooding = async {
                    writer.write_all(&flood.begin(KEY)).await?;
                    let mut last = 3;
                    loop {
                        writer.write_all(&flood.next(KEY, &mut last)).await?;
                        tally.steps.fetch_add(1, Ordering::Relaxed);
                    }
                };
                tokio::select! {
                    ended = flooding => ended,
                    () = drain(&mut reader) => Ok(()),
                }
            }
            Attack::Slow(_, begin) => {
                let mut stream = connect(server.http, tally).await?;
                stream.write_all(begin.as_bytes()).await?;
                loop {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    stream.write_all(b"x").await?;
                    tally.steps.fetch_add(1, Ordering::Relaxed);
                }
            }
            Attack::Idle => {
                let mut stream = connect(server.http, tally).await?;
                let request = format!(
                    "POST /v1/logs HTTP/1.1\r\nhost: localhost\r\nauthorization: {KEY}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await?;
                drain(&mut stream).await;
                Ok(())
            }
            Attack::Asks(_, question) => {
                let mut stream = connect(server.http, tally).await?;
                let mut answer = [0; 4 << 10];
                loop {
                    stream.write_all(question.as_bytes()).await?;
                    ensure!(stream.read(&mut answer).await? > 0, "it ended");
                    tally.steps.fetch_add(1, Ordering::Relaxed);
                }
            }
            Attack::Requests(_, call) => {
                tally.connections.fetch_add(1, Ordering::Relaxed);
                let client = Client::new(&format!("http://{}", server.http), None, false)?;
                loop {
                    client.try_send(Call::clone(call)).await?;
                    tally.steps.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A loop for each core, for this long.
async fn loops(time: Duration) {
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let over = over.clone();
        std::thread::spawn(move || {
            give_way();
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
}

async fn connect(to: std::net::SocketAddr, tally: &Tally) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    tally.connections.fetch_add(1, Ordering::Relaxed);
    Ok(stream)
}

/// Reads whatever comes, until nothing more can.
async fn drain(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut into = [0; 16 << 10];
    while stream.read(&mut into).await.is_ok_and(|read| read > 0) {}
}

fn post(signal: &str, body: Vec<u8>) -> Call {
    Call::export(Protocol::HttpProtobuf, signal, KEY, body)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut compressed)?;
    Ok(compressed)
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    flate2::read::ZlibEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut compressed)?;
    Ok(compressed)
}

fn lz4(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}

/// A resource of 60 KiB and 2,000 empty spans.
fn grows_into_columns() -> Vec<u8> {
    let value = AnyValue { value: Some(Value::StringValue("x".repeat(60 << 10))) };
    let large = KeyValue { key: "large".to_owned(), value: Some(value), ..Default::default() };
    let resource = Some(Resource { attributes: vec![large], ..Default::default() });
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 2000], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
