//! Step 5, receive: from an HTTP or gRPC request to one uncompressed OTLP protobuf request.

mod signal;

pub use signal::Signal;
