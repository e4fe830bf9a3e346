//! An OTLP client that shows everything: a request with the bytes and headers that it is given, and its whole answer. The load tool, the fault
//! harness, the oracle and the tests send with it, because an SDK's exporter batches, repeats and hides connections.

#![forbid(unsafe_code)]

mod abrupt;
mod answer;
mod call;
mod client;
mod connection;
mod target;
mod tls;

pub use answer::Answer;
pub use call::{Call, Protocol, Signal, grpc_frame};
pub use client::Client;
pub use connection::Connection;
pub use target::Target;

use target::Endpoint;
