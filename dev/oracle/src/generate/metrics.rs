//! Random data points of all five kinds.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use rand::RngExt;

use super::Generator;

impl Generator {
    /// A request of data points.
    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.several(3, |generator| ResourceMetrics {
            resource: generator.resource(),
            scope_metrics: generator.several(3, |generator| ScopeMetrics {
                scope: generator.scope(),
                metrics: generator.several(4, Generator::metric),
                schema_url: generator.schema_url(),
            }),
            schema_url: generator.schema_url(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }

    fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.pick(&[0, 1, 1, 2, 2, 3, -1, i32::MAX]);
        let data = match self.below(6) {
            0 => {
                self.count("metric without data");
                None
            }
            1 => Some(Data::Gauge(Gauge { data_points: self.several(3, Generator::number) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.several(3, Generator::number),
                aggregation_temporality,
                is_monotonic: self.chance(0.5),
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.several(2, Generator::histogram),
                aggregation_temporality,
            })),
            4 => {
                let data_points = self.several(2, Generator::exponential);
                Some(Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality }))
            }
            _ => Some(Data::Summary(Summary { data_points: self.several(2, Generator::summary) })),
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.pick(&["", "s", "By", "{ü}"]).to_owned(),
            data,
            metadata: self.attributes(1),
        }
    }

    fn number(&mut self) -> NumberDataPoint {
        let value = match self.below(5) {
            0 => None,
            1 | 2 => Some(number_data_point::Value::AsInt(self.integer())),
            _ => Some(number_data_point::Value::AsDouble(self.double())),
        };
        NumberDataPoint {
            attributes: self.attributes(3),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            exemplars: self.exemplars(),
            flags: self.pick(&[0, 1, u32::MAX]),
            value,
        }
    }

    fn exemplars(&mut self) -> Vec<Exemplar> {
        self.several(2, |generator| Exemplar {
            filtered_attributes: generator.attributes(2),
            time_unix_nano: generator.time(),
            span_id: generator.id(8),
            trace_id: generator.id(16),
            value: match generator.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsInt(generator.integer())),
                _ => Some(exemplar::Value::AsDouble(generator.double())),
            },
        })
    }

    fn optional(&mut self) -> Option<f64> {
        if self.chance(0.3) { None } else { Some(self.double()) }
    }

    fn counts(&mut self) -> Vec<u64> {
        self.several(5, |generator| generator.rng.random())
    }

    fn histogram(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(3),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.rng.random(),
            sum: self.optional(),
            bucket_counts: self.counts(),
            explicit_bounds: self.several(4, Generator::double),
            exemplars: self.exemplars(),
            flags: self.pick(&[0, 1]),
            min: self.optional(),
            max: self.optional(),
        }
    }

    fn buckets(&mut self) -> Option<Buckets> {
        if self.chance(0.2) { None } else { Some(Buckets { offset: self.rng.random(), bucket_counts: self.counts() }) }
    }

    fn exponential(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(3),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.rng.random(),
            sum: self.optional(),
            scale: self.rng.random(),
            zero_count: self.rng.random(),
            positive: self.buckets(),
            negative: self.buckets(),
            flags: self.pick(&[0, 1]),
            exemplars: self.exemplars(),
            min: self.optional(),
            max: self.optional(),
            zero_threshold: self.double(),
        }
    }

    fn summary(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(3),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.rng.random(),
            sum: self.double(),
            quantile_values: self
                .several(3, |generator| ValueAtQuantile { quantile: generator.double(), value: generator.double() }),
            flags: self.pick(&[0, 1]),
        }
    }
}
