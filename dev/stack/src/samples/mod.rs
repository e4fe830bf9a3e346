//! Realistic OTLP export requests for load, benchmarks and tests: the same seed gives the same requests.
//!
//! A span is about 640 bytes on the wire, with the attributes that HTTP, database and messaging instrumentations set; logs are
//! plain lines, JSON objects and maps; metrics are of all five kinds.
//!
//! Records can be numbered: each then carries the attribute [`SEQUENCE`], unique over all requests of a generator,
//! so that a test can tell that every record is stored, and stored once.

mod attributes;
mod logs;
mod metrics;
mod traces;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// The attribute that numbers a record.
pub const SEQUENCE: &str = "seq";

/// A deterministic source of requests.
#[derive(Debug)]
pub struct Samples {
    rng: StdRng,
    now: u64,
    services: u32,
    sequence: Option<u64>,
}

impl Samples {
    /// Requests from this seed, around 2026-08-01 12:00 UTC unless [`Samples::at`] says otherwise.
    pub fn new(seed: u64) -> Samples {
        Samples { rng: StdRng::seed_from_u64(seed), now: 1_785_585_600_000_000_000, services: 12, sequence: None }
    }

    /// Records from this time on (nanoseconds since 1970); it advances by about a millisecond a record.
    pub fn at(mut self, unix_nano: u64) -> Samples {
        self.now = unix_nano;
        self
    }

    /// How many services the requests come from, one a request.
    pub fn services(mut self, services: u32) -> Samples {
        self.services = services.max(1);
        self
    }

    /// Numbers every record from `first` on in its attribute [`SEQUENCE`].
    pub fn numbered(mut self, first: u64) -> Samples {
        self.sequence = Some(first);
        self
    }

    /// The number that the next record gets.
    pub fn next_sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// A request of so many spans.
    pub fn traces(&mut self, records: usize) -> ExportTraceServiceRequest {
        traces::request(self, records)
    }

    /// A request of so many log records: half plain lines, the rest JSON objects and a few maps.
    pub fn logs(&mut self, records: usize) -> ExportLogsServiceRequest {
        logs::request(self, records)
    }

    /// A request of so many data points, over metrics of all five kinds.
    pub fn metrics(&mut self, records: usize) -> ExportMetricsServiceRequest {
        metrics::request(self, records)
    }

    /// [`Samples::traces`], encoded.
    pub fn traces_bytes(&mut self, records: usize) -> Vec<u8> {
        self.traces(records).encode_to_vec()
    }

    /// [`Samples::logs`], encoded.
    pub fn logs_bytes(&mut self, records: usize) -> Vec<u8> {
        self.logs(records).encode_to_vec()
    }

    /// [`Samples::metrics`], encoded.
    pub fn metrics_bytes(&mut self, records: usize) -> Vec<u8> {
        self.metrics(records).encode_to_vec()
    }

    fn tick(&mut self) -> u64 {
        self.now += self.rng.random_range(1..2_000_000);
        self.now
    }

    fn id<const N: usize>(&mut self) -> Vec<u8> {
        let mut id = [0; N];
        self.rng.fill_bytes(&mut id);
        id.to_vec()
    }

    fn below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_requests_and_numbers_run_on() {
        let mut one = Samples::new(7).numbered(100);
        let mut other = Samples::new(7).numbered(100);
        assert_eq!(one.traces_bytes(30), other.traces_bytes(30));
        assert_eq!(one.logs_bytes(30), other.logs_bytes(30));
        assert_eq!(one.metrics_bytes(30), other.metrics_bytes(30));
        assert_eq!(one.next_sequence(), Some(190));
    }

    #[test]
    fn a_span_is_about_640_bytes() {
        let bytes = Samples::new(1).traces_bytes(1000).len();
        assert!((600_000..680_000).contains(&bytes), "{bytes}");
    }
}
