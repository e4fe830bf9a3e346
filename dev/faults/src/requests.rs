//! Requests whose every record can be found again: each request has a service of its own, and each of its records a number.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_client::{Protocol, Signal, grpc_frame};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// The attribute that numbers a request's records, from 0 in each table.
pub const SEQUENCE: &str = "seq";

/// Ends the name of a service whose rows a constraint refuses, where tables have one.
pub const POISON: &str = "-poison";
/// Ends the name of a service whose rows a view of the user's own fails on, where there is one.
pub const SOUR: &str = "-sour";

const DAY: u64 = 86_400_000_000_000;

/// One request, sent as often as it takes.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its service, which no other request has.
    pub service: String,
    /// What it holds.
    pub signal: Signal,
    /// Its bytes, as the protocol has them.
    pub body: Bytes,
    /// Table and how many rows of the request it is to hold.
    pub rows: BTreeMap<&'static str, u64>,
}

/// A source of requests of one client.
#[derive(Debug)]
pub struct Requests {
    client: usize,
    count: usize,
    protocol: Protocol,
    rng: StdRng,
    noon: u64,
    trouble: bool,
}

impl Requests {
    /// Requests of this client; the same seed gives the same, but for the day: yesterday and the day before.
    pub fn new(client: usize, protocol: Protocol, seed: u64) -> Requests {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) * 1_000_000_000;
        let rng = StdRng::seed_from_u64(seed ^ (client as u64) << 32);
        Requests { client, count: 0, protocol, rng, noon: now / DAY * DAY - DAY / 2, trouble: false }
    }

    /// With a few that a constraint refuses or a view fails on.
    #[must_use]
    pub fn with_trouble(mut self, trouble: bool) -> Requests {
        self.trouble = trouble;
        self
    }

    /// The next one, of the three signals in turn.
    pub fn make(&mut self) -> Request {
        let signal = Signal::ALL[self.count % 3];
        let mut service = format!("client-{}-request-{}", self.client, self.count);
        if self.trouble {
            service += match self.rng.random_range(0..100) {
                0..4 => POISON,
                4..6 => SOUR,
                _ => "",
            };
        }
        self.count += 1;
        let records = self.rng.random_range(1..40);
        // Some reach over midnight, and so into two parts of a table.
        let days = if self.rng.random_bool(0.1) { 2 } else { 1 };
        let mut maker = Maker { rng: &mut self.rng, time: self.noon, days, protocol: self.protocol };
        let (body, rows) = match signal {
            Signal::Traces => (maker.traces(&service, records), BTreeMap::from([("otel_traces", records)])),
            Signal::Logs => (maker.logs(&service, records), BTreeMap::from([("otel_logs", records)])),
            Signal::Metrics => {
                let rows = BTreeMap::from([("otel_metrics_gauge", records), ("otel_metrics_sum", records)]);
                (maker.metrics(&service, records), rows)
            }
        };
        Request { service, signal, body: body.into(), rows }
    }
}

struct Maker<'a> {
    rng: &'a mut StdRng,
    time: u64,
    days: u64,
    protocol: Protocol,
}

impl Maker<'_> {
    fn time(&mut self, number: u64) -> u64 {
        self.time - number % self.days * DAY + self.rng.random_range(0..DAY / 4)
    }

    fn id(&mut self, bytes: usize) -> Vec<u8> {
        let mut id = vec![0; bytes];
        self.rng.fill_bytes(&mut id);
        id
    }

    fn text(&mut self) -> String {
        let words = ["cart", "order", "payment", "timeout", "retry", "customer", "stock", "invoice"];
        let count = self.rng.random_range(4..16);
        let words: Vec<&str> = (0..count).map(|_| words[self.rng.random_range(0..words.len())]).collect();
        format!("{} {:016x}", words.join(" "), self.rng.next_u64())
    }

    fn traces(&mut self, service: &str, records: u64) -> Vec<u8> {
        let spans = (0..records).map(|number| {
            let start = self.time(number);
            Span {
                trace_id: self.id(16),
                span_id: self.id(8),
                name: self.text(),
                start_time_unix_nano: start,
                end_time_unix_nano: start + 1_000_000,
                attributes: numbered(number),
                ..Default::default()
            }
        });
        let scope_spans = vec![ScopeSpans { scope: scope(), spans: spans.collect(), ..Default::default() }];
        let resource_spans = vec![ResourceSpans { resource: resource(service), scope_spans, ..Default::default() }];
        self.encode(&ExportTraceServiceRequest { resource_spans })
    }

    fn logs(&mut self, service: &str, records: u64) -> Vec<u8> {
        let log_records = (0..records).map(|number| LogRecord {
            time_unix_nano: self.time(number),
            body: Some(AnyValue { value: Some(Value::StringValue(self.text())) }),
            attributes: numbered(number),
            ..Default::default()
        });
        let scope_logs = vec![ScopeLogs { scope: scope(), log_records: log_records.collect(), ..Default::default() }];
        let resource_logs = vec![ResourceLogs { resource: resource(service), scope_logs, ..Default::default() }];
        self.encode(&ExportLogsServiceRequest { resource_logs })
    }

    fn metrics(&mut self, service: &str, records: u64) -> Vec<u8> {
        let mut points = || -> Vec<NumberDataPoint> {
            let point = |number| NumberDataPoint {
                time_unix_nano: self.time(number),
                value: Some(number_data_point::Value::AsDouble(self.rng.random())),
                attributes: numbered(number),
                ..Default::default()
            };
            (0..records).map(point).collect()
        };
        let gauge = metric::Data::Gauge(Gauge { data_points: points() });
        let sum = Sum { data_points: points(), aggregation_temporality: 2, is_monotonic: true };
        let metrics = [("load", gauge), ("work", metric::Data::Sum(sum))];
        let metrics = metrics.map(|(name, data)| Metric { name: name.into(), data: Some(data), ..Default::default() });
        let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics: metrics.into(), ..Default::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: resource(service), scope_metrics, ..Default::default() }];
        self.encode(&ExportMetricsServiceRequest { resource_metrics })
    }

    fn encode(&self, message: &(impl Message + serde::Serialize)) -> Vec<u8> {
        match self.protocol {
            // Writing into memory cannot fail, and these messages are short and have no value that JSON lacks.
            Protocol::HttpJson => serde_json::to_vec(message).unwrap_or_default(),
            Protocol::HttpProtobuf => message.encode_to_vec(),
            Protocol::Grpc => grpc_frame(false, &message.encode_to_vec()).unwrap_or_default(),
        }
    }
}

fn numbered(number: u64) -> Vec<KeyValue> {
    let value = i64::try_from(number).unwrap_or(i64::MAX);
    vec![KeyValue {
        key: SEQUENCE.to_owned(),
        value: Some(AnyValue { value: Some(Value::IntValue(value)) }),
        ..Default::default()
    }]
}

fn resource(service: &str) -> Option<Resource> {
    let value = Some(AnyValue { value: Some(Value::StringValue(service.to_owned())) });
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value, ..Default::default() }];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "faults".to_owned(), ..Default::default() })
}
