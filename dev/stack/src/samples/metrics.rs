//! Metrics of all five kinds, as a service's runtime and its HTTP server report them.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};

use super::Samples;
use super::attributes::{int, text};

const POINTS_A_METRIC: usize = 8;
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const CUMULATIVE: i32 = 2;
const DELTA: i32 = 1;

pub(crate) fn request(samples: &mut Samples, records: usize) -> ExportMetricsServiceRequest {
    let resource = samples.resource();
    let scope = samples.scope();
    let mut metrics = Vec::new();
    let mut left = records;
    while left > 0 {
        let points = left.min(POINTS_A_METRIC);
        left -= points;
        metrics.push(metric(samples, metrics.len(), points));
    }
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics,
                schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// Three of ten metrics are gauges, three sums, two histograms, one an exponential histogram, one a summary.
fn metric(samples: &mut Samples, index: usize, points: usize) -> Metric {
    let (name, unit, data) = match index % 10 {
        0..3 => {
            let data_points = (0..points).map(|_| number(samples, true)).collect();
            ("jvm.memory.used", "By", Data::Gauge(Gauge { data_points }))
        }
        3..6 => {
            let data_points = (0..points).map(|_| number(samples, false)).collect();
            let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
            ("http.server.request.count", "{request}", Data::Sum(sum))
        }
        6..8 => {
            let data_points = (0..points).map(|_| histogram(samples)).collect();
            let histogram = Histogram { data_points, aggregation_temporality: CUMULATIVE };
            ("http.server.request.duration", "s", Data::Histogram(histogram))
        }
        8 => {
            let data_points = (0..points).map(|_| exponential(samples)).collect();
            let histogram = ExponentialHistogram { data_points, aggregation_temporality: DELTA };
            ("db.client.operation.duration", "s", Data::ExponentialHistogram(histogram))
        }
        _ => {
            let data_points = (0..points).map(|_| summary(samples)).collect();
            ("rpc.server.duration", "ms", Data::Summary(Summary { data_points }))
        }
    };
    Metric {
        name: name.to_owned(),
        description: format!("Measures {name}, as its semantic convention says."),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(samples: &mut Samples) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("http.request.method", samples.pick(&["GET", "POST", "PUT"])),
        text("http.route", samples.pick(&["/api/v1/cart", "/api/v1/checkout", "/healthz"])),
        int("http.response.status_code", samples.pick(&[200_i32, 201, 404, 500])),
        text("url.scheme", "https"),
    ];
    samples.number(&mut attributes);
    attributes
}

fn number(samples: &mut Samples, double: bool) -> NumberDataPoint {
    let time = samples.tick();
    let value = samples.below(1 << 30);
    NumberDataPoint {
        attributes: attributes(samples),
        start_time_unix_nano: time - 60_000_000_000,
        time_unix_nano: time,
        exemplars: exemplars(samples, time),
        value: Some(if double {
            number_data_point::Value::AsDouble(f64::from(value) / 7.0)
        } else {
            number_data_point::Value::AsInt(i64::from(value))
        }),
        ..NumberDataPoint::default()
    }
}

fn histogram(samples: &mut Samples) -> HistogramDataPoint {
    let time = samples.tick();
    let bucket_counts: Vec<u64> = (0..=BOUNDS.len()).map(|_| u64::from(samples.below(900))).collect();
    let count = bucket_counts.iter().sum();
    HistogramDataPoint {
        attributes: attributes(samples),
        start_time_unix_nano: time - 60_000_000_000,
        time_unix_nano: time,
        count,
        sum: Some(f64::from(samples.below(1 << 20)) / 64.0),
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        exemplars: exemplars(samples, time),
        min: Some(0.001),
        max: Some(9.75),
        ..HistogramDataPoint::default()
    }
}

fn exponential(samples: &mut Samples) -> ExponentialHistogramDataPoint {
    let time = samples.tick();
    let bucket_counts: Vec<u64> = (0..20).map(|_| u64::from(samples.below(300))).collect();
    ExponentialHistogramDataPoint {
        attributes: attributes(samples),
        start_time_unix_nano: time - 60_000_000_000,
        time_unix_nano: time,
        count: bucket_counts.iter().sum(),
        sum: Some(f64::from(samples.below(1 << 20)) / 64.0),
        scale: 3,
        positive: Some(Buckets { offset: -14, bucket_counts }),
        negative: Some(Buckets::default()),
        exemplars: exemplars(samples, time),
        min: Some(0.25),
        max: Some(88.0),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn summary(samples: &mut Samples) -> SummaryDataPoint {
    let time = samples.tick();
    SummaryDataPoint {
        attributes: attributes(samples),
        start_time_unix_nano: time - 60_000_000_000,
        time_unix_nano: time,
        count: u64::from(samples.below(10_000)),
        sum: f64::from(samples.below(1 << 24)) / 16.0,
        quantile_values: [0.5, 0.9, 0.99]
            .into_iter()
            .map(|quantile| ValueAtQuantile { quantile, value: quantile * f64::from(samples.below(500)) })
            .collect(),
        ..SummaryDataPoint::default()
    }
}

fn exemplars(samples: &mut Samples, time_unix_nano: u64) -> Vec<Exemplar> {
    if !samples.chance(0.2) {
        return Vec::new();
    }
    vec![Exemplar {
        filtered_attributes: vec![int("user.id", samples.below(1000))],
        time_unix_nano,
        span_id: samples.id::<8>(),
        trace_id: samples.id::<16>(),
        value: Some(exemplar::Value::AsDouble(f64::from(samples.below(1000)) / 8.0)),
    }]
}
