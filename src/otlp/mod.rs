//! Step 5, receive: from an HTTP or gRPC request to one uncompressed OTLP protobuf request.
//!
//! Everything behind this module knows one form of telemetry: the bytes of an `Export…ServiceRequest`. What this module keeps: no byte of a
//! request is held that its key's memory does not count, and no request makes the process work or grow past `request.max_body_bytes`.

mod call;
mod memory;
mod signal;

pub use call::{Call, Compression, Protocol};
pub use memory::Memory;
pub use signal::Signal;
