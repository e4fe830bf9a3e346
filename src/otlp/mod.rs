//! Step 5, receive: from an HTTP or gRPC request to one uncompressed OTLP protobuf request.
//!
//! Everything behind this module knows one form of telemetry: the bytes of an `Export…ServiceRequest`. What this module keeps: no byte of a
//! request is held that its key's memory does not count, and no request makes the process work or grow past `request.max_body_bytes`.

mod body;
mod buffer;
mod call;
pub(crate) mod check;
pub(crate) mod descriptor;
mod frame;
mod inflate;
pub(crate) mod json;
mod receive;
pub(crate) mod sift;
pub(crate) mod stamp;
pub(crate) mod steps;
pub(crate) mod wire;

pub use call::{Call, Compression};
pub(crate) use receive::{BodyLimits, Received, receive};
pub(crate) use stamp::Stamp;

/// The parsers that the network reaches, each on the calling thread, for the fuzz targets.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::frame::message;
    pub use super::inflate::inflate_here;
    pub use super::json::transcode_here;
}
