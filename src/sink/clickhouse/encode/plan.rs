//! How this server's tables differ from ClickStack's own, settled once: which of the encoder's columns a table has,
//! and of what type each is.
//!
//! Deployments were made by different versions, so a column may be absent, or be of another type that holds
//! the same values. What the table has is written in the table's own types, so that ClickHouse converts nothing; the rest is
//! left to ClickHouse's defaults.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::table::{ColumnSpec, TableKind, ValueKind};

/// Why a table cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A column without which a row makes no sense is not there.
    #[error("{table}: column {column} is missing")]
    MissingColumn {
        /// The table.
        table: String,
        /// The column.
        column: &'static str,
    },
    /// A column's type holds other values than those that the encoder has for it.
    #[error("{table}: column {column} has type {found}, which cannot be written; expected {expected}")]
    WrongType {
        /// The table.
        table: String,
        /// The column.
        column: &'static str,
        /// Its type on the server.
        found: String,
        /// Types that can be written.
        expected: &'static str,
    },
    /// Something that cannot keep rows as they are promised.
    #[error("{table} {why}")]
    NoPlace {
        /// The table.
        table: &'static str,
        /// What it is, and what to do instead.
        why: String,
    },
    /// No plan was given for a table.
    #[error("{table}: no such table")]
    MissingTable {
        /// ClickStack's name of the table.
        table: &'static str,
    },
}

/// The columns of one table as they are written.
#[derive(Debug, Clone)]
pub struct TablePlan {
    kind: TableKind,
    table: Arc<str>,
    names: Arc<[Arc<str>]>,
    /// One entry a column of [`TableKind::columns`]; `None` where the table does not have it.
    formats: Vec<Option<ColumnFormat>>,
}

impl TablePlan {
    /// Settles how `table` is written. `columns` are its insertable columns (default kind empty or `DEFAULT`), as name and type from
    /// `system.columns`; those that the encoder does not know are left to their defaults.
    ///
    /// # Errors
    /// Every column that is missing or has a type that cannot be written.
    pub(crate) fn check(
        kind: TableKind,
        table: &str,
        columns: &[(String, String)],
    ) -> Result<TablePlan, Vec<SchemaError>> {
        let mut errors = Vec::new();
        let mut names = Vec::new();
        let mut formats = Vec::new();
        for spec in kind.columns() {
            let found = columns.iter().find(|(name, _)| name == spec.name);
            let format = match found {
                Some((_, type_name)) => ColumnFormat::of(spec, type_name),
                None => None,
            };
            match (found, &format) {
                (Some(_), Some(_)) => names.push(Arc::from(spec.name)),
                (Some((_, type_name)), None) => errors.push(SchemaError::WrongType {
                    table: table.to_owned(),
                    column: spec.name,
                    found: type_name.clone(),
                    expected: expected(spec.value),
                }),
                (None, _) if spec.required => {
                    errors.push(SchemaError::MissingColumn { table: table.to_owned(), column: spec.name })
                }
                (None, _) => {}
            }
            formats.push(format);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(TablePlan { kind, table: Arc::from(table), names: names.into(), formats })
    }

    /// The table's name on the server, without its database.
    pub(crate) fn table(&self) -> &Arc<str> {
        &self.table
    }

    /// The columns that are written, in their order in a block.
    pub(crate) fn columns(&self) -> &Arc<[Arc<str>]> {
        &self.names
    }

    /// The name of the column whose day names a row's partition.
    pub(super) fn time_column(&self) -> &'static str {
        self.kind.columns()[self.kind.time_column()].name
    }

    /// How that column keeps a time.
    pub(super) fn time_format(&self) -> Option<&ValueFormat> {
        self.formats[self.kind.time_column()].as_ref().map(|format| &format.values)
    }

    /// The time zone that the column names, when it names one.
    pub(super) fn time_zone(&self) -> Option<&TimeZone> {
        match self.time_format()? {
            ValueFormat::Seconds { zone } | ValueFormat::Ticks { zone, .. } => zone.as_ref(),
            _ => None,
        }
    }

    /// The format of each column of [`TableKind::columns`].
    pub(super) fn formats(&self) -> &[Option<ColumnFormat>] {
        &self.formats
    }
}

/// The plans of all tables; what an encoder needs to know about a server.
#[derive(Debug, Clone)]
pub struct Plans {
    by_kind: Vec<Arc<TablePlan>>,
}

impl Plans {
    /// All eight tables, in any order.
    ///
    /// # Errors
    /// [`SchemaError::MissingTable`] for each table without a plan.
    pub(crate) fn new(plans: Vec<TablePlan>) -> Result<Plans, Vec<SchemaError>> {
        let mut by_kind = Vec::new();
        let mut errors = Vec::new();
        for kind in TableKind::ALL {
            match plans.iter().find(|plan| plan.kind == kind) {
                Some(plan) => by_kind.push(Arc::new(plan.clone())),
                None => errors.push(SchemaError::MissingTable { table: kind.table() }),
            }
        }
        if errors.is_empty() { Ok(Plans { by_kind }) } else { Err(errors) }
    }

    /// The plan of a table.
    pub(crate) fn get(&self, kind: TableKind) -> &Arc<TablePlan> {
        &self.by_kind[kind.index()]
    }
}

/// A column's type on the server, as far as it decides which bytes are written.
#[derive(Debug, Clone)]
pub(super) struct ColumnFormat {
    /// The type's name, as it stands in a block's header.
    pub(super) type_name: Arc<str>,
    pub(super) array: bool,
    pub(super) values: ValueFormat,
}

/// How one value is kept and written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ValueFormat {
    /// `String`.
    Text,
    /// `LowCardinality(String)`.
    Dictionary,
    /// `DateTime`: seconds in 32 bits.
    Seconds { zone: Option<TimeZone> },
    /// `DateTime64`: nanoseconds divided by this.
    Ticks { nanos: i64, zone: Option<TimeZone> },
    /// An integer of so many bytes (1, 2, 4 or 8).
    Integer { width: u8 },
    /// `Float64`.
    Double,
    /// `Map(String, String)`; the keys are a dictionary in `Map(LowCardinality(String), String)`.
    Map { dictionary: bool },
    /// `JSON`, written as text.
    Json,
}

impl ColumnFormat {
    /// The format of `type_name` for a column of this kind; `None` when it cannot hold the column's values.
    fn of(spec: &ColumnSpec, type_name: &str) -> Option<ColumnFormat> {
        let element = if spec.array { inner(type_name, "Array")? } else { type_name };
        Some(ColumnFormat {
            type_name: Arc::from(type_name),
            array: spec.array,
            values: ValueFormat::of(spec.value, element)?,
        })
    }
}

impl ValueFormat {
    fn of(kind: ValueKind, name: &str) -> Option<ValueFormat> {
        match kind {
            ValueKind::Text => match name {
                "String" => Some(ValueFormat::Text),
                "LowCardinality(String)" => Some(ValueFormat::Dictionary),
                _ => None,
            },
            ValueKind::Time => time(name),
            ValueKind::Integer => {
                let width = match name {
                    "UInt8" | "Int8" => 1,
                    "UInt16" | "Int16" => 2,
                    "UInt32" | "Int32" => 4,
                    "UInt64" | "Int64" => 8,
                    _ => return None,
                };
                Some(ValueFormat::Integer { width })
            }
            ValueKind::Double => (name == "Float64").then_some(ValueFormat::Double),
            ValueKind::Flag => matches!(name, "Bool" | "UInt8").then_some(ValueFormat::Integer { width: 1 }),
            ValueKind::Attributes => match name {
                "Map(LowCardinality(String), String)" => Some(ValueFormat::Map { dictionary: true }),
                "Map(String, String)" => Some(ValueFormat::Map { dictionary: false }),
                _ if name == "JSON" || name.starts_with("JSON(") => Some(ValueFormat::Json),
                _ => None,
            },
        }
    }
}

/// `DateTime`, `DateTime('zone')`, `DateTime64(precision)`, `DateTime64(precision, 'zone')`.
fn time(name: &str) -> Option<ValueFormat> {
    if name == "DateTime" {
        return Some(ValueFormat::Seconds { zone: None });
    }
    if let Some(zone) = inner(name, "DateTime") {
        return Some(ValueFormat::Seconds { zone: Some(quoted_zone(zone)?) });
    }
    let mut arguments = inner(name, "DateTime64")?.splitn(2, ',');
    let precision: u32 = arguments.next()?.trim().parse().ok()?;
    let zone = match arguments.next() {
        Some(zone) => Some(quoted_zone(zone)?),
        None => None,
    };
    Some(ValueFormat::Ticks { nanos: 10_i64.pow(9_u32.checked_sub(precision)?), zone })
}

fn quoted_zone(text: &str) -> Option<TimeZone> {
    let name = text.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    TimeZone::get(name).ok()
}

/// What stands in the parentheses of `outer(…)`.
fn inner<'a>(name: &'a str, outer: &str) -> Option<&'a str> {
    name.strip_prefix(outer)?.strip_prefix('(')?.strip_suffix(')')
}

const fn expected(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Text => "String or LowCardinality(String)",
        ValueKind::Time => "DateTime or DateTime64(0 to 9)",
        ValueKind::Integer => "an integer type of 8 to 64 bits",
        ValueKind::Double => "Float64",
        ValueKind::Flag => "Bool or UInt8",
        ValueKind::Attributes => "Map(LowCardinality(String), String), Map(String, String) or JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(changes: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
        let plans = Plans::clickstack().unwrap();
        let plan = plans.get(TableKind::Logs);
        let known = plan.names.iter().zip(plan.formats.iter().flatten());
        known
            .filter_map(|(name, format)| match changes.iter().find(|(changed, _)| **name == **changed) {
                Some((_, type_name)) => Some((name.to_string(), (*type_name)?.to_owned())),
                None => Some((name.to_string(), format.type_name.to_string())),
            })
            .collect()
    }

    #[test]
    fn known_variations_are_written_in_the_tables_own_types() {
        let columns = columns(&[
            ("EventName", None),
            ("Timestamp", Some("DateTime64(3, 'Europe/Berlin')")),
            ("SeverityNumber", Some("Int32")),
            ("ServiceName", Some("String")),
            ("LogAttributes", Some("JSON(max_dynamic_paths=8)")),
            ("ScopeAttributes", Some("Map(String, String)")),
        ]);
        let plan = TablePlan::check(TableKind::Logs, "logs", &columns).unwrap();
        assert_eq!(plan.columns().len(), 15);
        let zone = Some(TimeZone::get("Europe/Berlin").unwrap());
        let first = plan.formats()[0].as_ref().map(|format| &format.values);
        assert_eq!(first, Some(&ValueFormat::Ticks { nanos: 1_000_000, zone }));
    }

    #[test]
    fn every_column_that_cannot_be_written_is_named() {
        let columns =
            columns(&[("Body", None), ("Timestamp", Some("String")), ("TraceFlags", Some("Nullable(UInt8)"))]);
        let errors = TablePlan::check(TableKind::Logs, "logs", &columns).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "logs: column Timestamp has type String, which cannot be written; expected DateTime or DateTime64(0 to 9)",
                "logs: column TraceFlags has type Nullable(UInt8), which cannot be written; \
                 expected an integer type of 8 to 64 bits",
                "logs: column Body is missing",
            ]
        );
    }
}
