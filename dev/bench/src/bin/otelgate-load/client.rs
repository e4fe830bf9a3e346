//! Where the load goes: the target that the arguments name.

use std::sync::Arc;

use anyhow::Result;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use otlp_client::{Protocol, Target};

use crate::{Args, Compression, HttpVersion};

/// Reads the arguments; opens no connection yet.
pub(crate) fn target(args: &Args, key: Option<&str>) -> Result<Arc<Target>> {
    let http2 = args.http_version == HttpVersion::Http2;
    let mut target = Target::new(&args.endpoint, args.ca.as_deref(), args.protocol, http2, key)?;
    let encoding = match args.compression {
        Compression::None => return Ok(Arc::new(target)),
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::Deflate => "deflate",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
    };
    let name = match args.protocol {
        Protocol::Grpc => HeaderName::from_static("grpc-encoding"),
        _ => CONTENT_ENCODING,
    };
    target.set_header(name, HeaderValue::from_static(encoding));
    Ok(Arc::new(target))
}
