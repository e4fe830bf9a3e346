//! Differences in which the collector is plainly wrong or at random, each known by an exact predicate; their reasons are in
//! `docs/decisions/0008-oracle-differences.md`. A predicate says what the other side may hold, not merely that the two may differ.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

/// A known difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    /// Keys of a JSON body that become equal when they are flattened: otelgate keeps the last in the order of the keys, the collector
    /// one at random.
    ClashingKeys,
}

/// The known difference that explains why a column of a row differs.
pub(crate) fn explains(table: &str, column: &str, ours: &[u8], theirs: &[u8]) -> Option<Known> {
    let (flat, nested) = match (table, column) {
        ("otel_logs", "LogAttributes") => ("'clash.a':'flat ", "'clash.a':'nested "),
        ("otel_logs", "LogAttributeItems") => ("'clash.a=flat ", "'clash.a=nested "),
        _ => return None,
    };
    let ours = std::str::from_utf8(ours).ok()?;
    let clashes = ours.matches(flat).count() == 1 && ours.replace(flat, nested).as_bytes() == theirs;
    clashes.then_some(Known::ClashingKeys)
}

/// The request without metrics that have no data: of one of them the collector says that its type is unset, and drops the whole
/// batch that it is in. otelgate takes them and writes no row, as there is no data point.
pub(crate) fn with_data(mut request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for scope in request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics) {
        scope.metrics.retain(|metric| metric.data.is_some());
    }
    request
}

/// Requests of a signal without the records whose time no column of their table holds, and how many those are: the collector stores another time
/// instead, otelgate says that it does not keep them.
pub(crate) trait WithTimes: Sized {
    fn with_times(self, left_out: &mut u64) -> Self;
}

/// Keeps the records whose time, in nanoseconds since 1970, is no later than `last`.
fn keep<T>(records: &mut Vec<T>, last: u64, left_out: &mut u64, time: impl Fn(&T) -> u64) {
    let before = records.len();
    records.retain(|record| time(record) <= last);
    *left_out += (before - records.len()) as u64;
}

/// The last time that `DateTime64(9)` holds.
const LAST: u64 = i64::MAX.cast_unsigned();
/// The last time that `DateTime` holds.
const LAST_SECOND: u64 = 4_294_967_295_999_999_999;

impl WithTimes for ExportTraceServiceRequest {
    fn with_times(mut self, left_out: &mut u64) -> Self {
        for scope in self.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
            keep(&mut scope.spans, LAST, left_out, |span| span.start_time_unix_nano);
        }
        self
    }
}

impl WithTimes for ExportLogsServiceRequest {
    fn with_times(mut self, left_out: &mut u64) -> Self {
        for scope in self.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs) {
            keep(&mut scope.log_records, LAST, left_out, |record| match record.time_unix_nano {
                0 => record.observed_time_unix_nano,
                time => time,
            });
        }
        self
    }
}

impl WithTimes for ExportMetricsServiceRequest {
    fn with_times(mut self, left_out: &mut u64) -> Self {
        let scopes = self.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
        for data in scopes.flat_map(|scope| &mut scope.metrics).filter_map(|metric| metric.data.as_mut()) {
            match data {
                Data::Gauge(gauge) => keep(&mut gauge.data_points, LAST_SECOND, left_out, |p| p.time_unix_nano),
                Data::Sum(sum) => keep(&mut sum.data_points, LAST_SECOND, left_out, |p| p.time_unix_nano),
                Data::Histogram(h) => keep(&mut h.data_points, LAST_SECOND, left_out, |p| p.time_unix_nano),
                Data::ExponentialHistogram(h) => keep(&mut h.data_points, LAST_SECOND, left_out, |p| p.time_unix_nano),
                Data::Summary(summary) => keep(&mut summary.data_points, LAST_SECOND, left_out, |p| p.time_unix_nano),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_of_two_clashing_keys_is_known() {
        let known =
            |ours: &str, theirs: &str| explains("otel_logs", "LogAttributes", ours.as_bytes(), theirs.as_bytes());
        let ours = "{'a':'1','clash.a':'flat 2'}";
        assert_eq!(known(ours, "{'a':'1','clash.a':'nested 2'}"), Some(Known::ClashingKeys));
        assert_eq!(known(ours, "{'a':'1','clash.a':'nested 1'}"), None);
        assert_eq!(known(ours, "{'a':'2','clash.a':'nested 2'}"), None);
        assert_eq!(known(ours, "{'a':'1'}"), None);
        assert_eq!(explains("otel_logs", "Body", ours.as_bytes(), b"{'a':'1','clash.a':'nested 2'}"), None);
    }
}
