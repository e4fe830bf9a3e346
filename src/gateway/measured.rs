//! What is measured of each request that was answered. Each series is looked up once: a lookup takes a lock that all requests share.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::{Metrics, OfRequest, OfSignal};
use crate::otlp::Call;
use crate::signal::{Protocol, Signal};

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Accepted,
    Partial,
    Refused,
}

/// The series of one process's metrics, by signal; protocol; outcome.
#[derive(Default)]
pub(super) struct Measured {
    requests: [[[OnceLock<Counter>; 3]; 3]; Signal::ALL.len()],
    seconds: [OnceLock<Histogram>; Signal::ALL.len()],
}

/// Counts a request for as long as it is served, however it ends.
pub(super) struct InFlight<'a>(&'a Metrics);

impl Measured {
    /// Counts a request, and how long it took.
    pub(super) fn count(&self, metrics: &Metrics, call: &Call, outcome: Outcome, took: Duration) {
        let (signal, protocol) = (call.signal, call.protocol);
        let (place, outcome) = match outcome {
            Outcome::Accepted => (0, "accepted"),
            Outcome::Partial => (1, "partial"),
            Outcome::Refused => (2, "refused"),
        };
        let row = match protocol {
            Protocol::Grpc => 0,
            Protocol::HttpProtobuf => 1,
            Protocol::HttpJson => 2,
        };
        let of = OfRequest { signal: signal.name(), protocol: protocol.name(), outcome };
        let requests = &self.requests[signal.index()][row][place];
        requests.get_or_init(|| metrics.requests.get_or_create_owned(&of)).inc();
        let of = OfSignal { signal: signal.name() };
        let seconds = &self.seconds[signal.index()];
        seconds.get_or_init(|| metrics.request_seconds.get_or_create_owned(&of)).observe(took.as_secs_f64());
    }
}

impl<'a> InFlight<'a> {
    pub(super) fn new(metrics: &'a Metrics) -> Self {
        metrics.requests_in_flight.inc();
        InFlight(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.requests_in_flight.dec();
    }
}
