//! The bodies, made before the clock starts: realistic records of one signal, serialised and compressed.
//!
//! Uncompressed protobuf gets the present as its records' time when it is sent, as real telemetry has it: parts that ClickHouse merges
//! then follow each other, and no two requests are the same. Other bodies keep the time of the start.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flate2::Compression as Level;
use otlp_client::{Protocol, Signal, grpc_frame};
use stack::Samples;

use crate::{Args, Compression, times};

/// Request bodies, sent in turn.
pub(crate) struct Bodies(Vec<Body>);

/// One request's body as it goes on the wire.
pub(crate) struct Body {
    bytes: Bytes,
    times: Vec<usize>,
    pub(crate) records: u64,
    /// Size before compression.
    pub(crate) uncompressed: u64,
}

impl Body {
    /// What to send now.
    pub(crate) fn fresh(&self) -> Result<Bytes> {
        if self.times.is_empty() {
            return Ok(self.bytes.clone());
        }
        let mut bytes = self.bytes.to_vec();
        times::bring_to(&mut bytes, &self.times, now()?);
        Ok(bytes.into())
    }
}

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

impl Bodies {
    /// The body of the request with this number.
    pub(crate) fn get(&self, number: u64) -> &Body {
        let index = usize::try_from(number).unwrap_or(0) % self.0.len();
        &self.0[index]
    }
}

/// Makes the bodies that the arguments ask for, with the present as their time.
pub(crate) fn make(args: &Args) -> Result<Arc<Bodies>> {
    ensure!(args.bodies > 0 && args.records > 0, "--bodies and --records must be at least 1");
    let now = now()?;
    let mut samples = Samples::new(args.seed).at(now);
    let mut bodies = (0..args.bodies).map(|_| body(args, &mut samples)).collect::<Result<Vec<_>>>()?;
    if args.protocol != Protocol::HttpJson && args.compression == Compression::None {
        let mut later = Samples::new(args.seed).at(now + times::LATER);
        for made in &mut bodies {
            made.times = times::find(&made.bytes, &body(args, &mut later)?.bytes)?;
        }
    }
    Ok(Arc::new(Bodies(bodies)))
}

fn body(args: &Args, samples: &mut Samples) -> Result<Body> {
    let message = if args.protocol == Protocol::HttpJson { json(args, samples)? } else { protobuf(args, samples) };
    let compressed = compress(args, &message)?;
    let bytes = if args.protocol == Protocol::Grpc {
        grpc_frame(args.compression != Compression::None, &compressed)?
    } else {
        compressed
    };
    Ok(Body {
        bytes: bytes.into(),
        times: Vec::new(),
        records: u64::try_from(args.records)?,
        uncompressed: u64::try_from(message.len())?,
    })
}

fn protobuf(args: &Args, samples: &mut Samples) -> Vec<u8> {
    match args.signal {
        Signal::Traces => samples.traces_bytes(args.records),
        Signal::Logs => samples.logs_bytes(args.records),
        Signal::Metrics => samples.metrics_bytes(args.records),
    }
}

fn json(args: &Args, samples: &mut Samples) -> Result<Vec<u8>> {
    let json = match args.signal {
        Signal::Traces => serde_json::to_vec(&samples.traces(args.records)),
        Signal::Logs => serde_json::to_vec(&samples.logs(args.records)),
        Signal::Metrics => serde_json::to_vec(&samples.metrics(args.records)),
    };
    json.context("the records do not fit into JSON")
}

fn compress(args: &Args, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match args.compression {
        Compression::None => out.extend_from_slice(bytes),
        Compression::Gzip => drop(flate2::read::GzEncoder::new(bytes, Level::default()).read_to_end(&mut out)?),
        Compression::Deflate => drop(flate2::read::ZlibEncoder::new(bytes, Level::default()).read_to_end(&mut out)?),
        Compression::Zstd => out = zstd::bulk::compress(bytes, 3)?,
        Compression::Snappy if args.protocol == Protocol::Grpc => {
            snap::read::FrameEncoder::new(bytes).read_to_end(&mut out)?;
        }
        Compression::Snappy => out = snap::raw::Encoder::new().compress_vec(bytes)?,
        Compression::Lz4 => {
            ensure!(args.protocol != Protocol::Grpc, "gRPC has no lz4; use gzip, zstd or snappy");
            let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
            encoder.write_all(bytes)?;
            encoder.finish()?;
        }
    }
    Ok(out)
}
