//! Differences in which the collector is plainly wrong or at random, each known by an exact predicate; their reasons are in
//! `docs/decisions/0008-oracle-differences.md`. A predicate says what the other side may hold, not merely that the two may differ.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

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
