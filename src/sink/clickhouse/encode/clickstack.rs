//! The tables' types as ClickStack creates them (version of August 2026), for where no server is asked.

use super::plan::{Plans, SchemaError, TablePlan};
use super::table::{ColumnSpec, TableKind, ValueKind};

impl Plans {
    /// Plans for ClickStack's own tables.
    ///
    /// # Errors
    /// None, unless the encoder's columns and these types disagree; a test sees to that.
    pub fn clickstack() -> Result<Plans, Vec<SchemaError>> {
        let mut plans = Vec::new();
        for kind in TableKind::ALL {
            plans.push(TablePlan::check(kind, kind.table(), &columns(kind))?);
        }
        Plans::new(plans)
    }
}

/// Name and type of each of a table's columns.
pub(in crate::sink::clickhouse) fn columns(kind: TableKind) -> Vec<(String, String)> {
    let has = |spec: &&ColumnSpec| !(kind == TableKind::Sessions && spec.name == "EventName");
    kind.columns().iter().filter(has).map(|spec| (spec.name.to_owned(), type_name(kind, spec))).collect()
}

fn type_name(kind: TableKind, spec: &ColumnSpec) -> String {
    let is_metric = !matches!(kind, TableKind::Traces | TableKind::Logs | TableKind::Sessions);
    let element = match spec.value {
        ValueKind::Text if is_low_cardinality(kind, spec.name) => "LowCardinality(String)",
        ValueKind::Text => "String",
        ValueKind::Time if is_metric => "DateTime",
        ValueKind::Time => "DateTime64(9)",
        ValueKind::Integer => integer(spec.name),
        ValueKind::Double => "Float64",
        ValueKind::Flag => "Bool",
        ValueKind::Attributes => "Map(LowCardinality(String), String)",
    };
    if spec.array { format!("Array({element})") } else { element.to_owned() }
}

fn is_low_cardinality(kind: TableKind, column: &str) -> bool {
    match kind {
        TableKind::Traces => matches!(column, "SpanName" | "SpanKind" | "ServiceName" | "StatusCode" | "Events.Name"),
        TableKind::Logs | TableKind::Sessions => {
            matches!(column, "SeverityText" | "ServiceName" | "ResourceSchemaUrl" | "ScopeSchemaUrl" | "ScopeVersion")
        }
        _ => matches!(column, "ServiceName" | "MetricName"),
    }
}

fn integer(column: &str) -> &'static str {
    match column {
        "TraceFlags" | "SeverityNumber" => "UInt8",
        "Flags" | "ScopeDroppedAttrCount" => "UInt32",
        "Scale" | "PositiveOffset" | "NegativeOffset" | "AggregationTemporality" => "Int32",
        _ => "UInt64",
    }
}
