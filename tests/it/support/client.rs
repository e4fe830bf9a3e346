//! The raw OTLP client: sends any bytes with any headers and keeps the whole answer, so that tests can send what no SDK would.

pub use otlp_client::{Answer, Call, Client, Protocol};
