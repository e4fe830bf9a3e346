//! Tables that change while the gateway runs, and while batches lie in the spool that were encoded for what they were.
//!
//! Each table is taken as it is now when it can be written so; one that cannot, or is gone, keeps what was known of it, holds its
//! own batches with the sentence that says what to do, and no other's. A batch names the columns that its table had: those
//! that the table has no more are left out of the insert where the encoder would do without them too, and what they held is lost with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encode::{SchemaError, TableKind, TablePlan};
use super::schema::{ServerSchema, Table, identifier};

/// What to go by after the facts were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Of each table what can be written.
    pub(super) schema: ServerSchema,
    /// Tables that cannot be written as they are now, and what has to be done.
    pub(super) unfit: BTreeMap<String, String>,
}

/// The columns of a batch, as its table is now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Those that an insert names.
    pub(super) columns: Vec<Arc<str>>,
    /// Those that the table does not have any more.
    pub(super) gone: Vec<Arc<str>>,
    /// Whether the batch's bytes hold columns that the insert does not name.
    pub(super) fewer: bool,
}

/// How the encoder writes a table of these facts.
///
/// # Errors
/// Why it cannot.
pub(super) fn plan(kind: TableKind, schema: &ServerSchema) -> Result<TablePlan, Vec<SchemaError>> {
    let Some(table) = schema.tables.get(kind.table()) else {
        return Err(vec![SchemaError::MissingTable { table: kind.table() }]);
    };
    if let Some(why) = table.refusal(kind.table()) {
        return Err(vec![SchemaError::NoPlace { table: kind.table(), why }]);
    }
    let insertable = table.columns.iter().filter(|column| column.is_insertable());
    let columns: Vec<(String, String)> =
        insertable.map(|column| (column.name.clone(), column.type_name.clone())).collect();
    TablePlan::check(kind, kind.table(), &columns)
}

/// Takes up what was found, table by table.
pub(super) fn take(database: &str, known: &ServerSchema, mut found: ServerSchema) -> Taken {
    let mut unfit = BTreeMap::new();
    for kind in TableKind::ALL {
        let Err(errors) = plan(kind, &found) else { continue };
        let Some(before) = known.tables.get(kind.table()) else { continue };
        let gone = errors.iter().any(|error| matches!(error, SchemaError::MissingTable { .. }));
        if !gone {
            let what: Vec<String> = errors.iter().map(|error| remedy(database, before, error)).collect();
            unfit.insert(kind.table().to_owned(), what.join("; "));
        }
        found.tables.insert(kind.table().to_owned(), before.clone());
    }
    Taken { schema: found, unfit }
}

fn remedy(database: &str, before: &Table, error: &SchemaError) -> String {
    let statement = |table: &str, verb: &str, column: &str| {
        let type_name = before.type_of(column)?;
        let (database, table, column) = (identifier(database), identifier(table), identifier(column));
        Some(format!("{error}; ALTER TABLE {database}.{table} {verb} COLUMN {column} {type_name}"))
    };
    let told = match error {
        SchemaError::MissingColumn { table, column } => statement(table, "ADD", column),
        SchemaError::WrongType { table, column, .. } => statement(table, "MODIFY", column),
        SchemaError::MissingTable { .. } | SchemaError::NoPlace { .. } => None,
    };
    told.unwrap_or_else(|| error.to_string())
}

/// Which of a batch's columns an insert names. Of a table of which nothing is known it names all.
pub(super) fn named(table: Option<&Table>, columns: &[Arc<str>]) -> Named {
    let Some(table) = table.filter(|table| !table.columns.is_empty()) else {
        return Named { columns: columns.to_vec(), gone: Vec::new(), fewer: false };
    };
    let of = |column: &Arc<str>| table.columns.iter().find(|found| found.name == **column);
    let insertable = |column: &&Arc<str>| of(column).is_some_and(|found| found.is_insertable());
    let named: Vec<Arc<str>> = columns.iter().filter(insertable).cloned().collect();
    Named {
        // One that the table fills itself now is not named, and is no loss.
        gone: columns.iter().filter(|column| of(column).is_none()).cloned().collect(),
        fewer: named.len() < columns.len(),
        columns: named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::clickhouse::schema::facts::Column;

    fn column(name: &str, type_name: &str, default_kind: &str) -> Column {
        let [name, type_name, default_kind] = [name, type_name, default_kind].map(str::to_owned);
        Column { name, type_name, default_kind, default_expression: String::new() }
    }

    /// ClickStack's tables, as far as the encoder knows them.
    fn clickstack() -> ServerSchema {
        let mut schema = ServerSchema::default();
        for kind in TableKind::ALL {
            let columns = crate::sink::clickhouse::encode::clickstack_columns(kind);
            let columns = columns.iter().map(|(name, type_name)| column(name, type_name, "")).collect();
            schema.tables.insert(kind.table().to_owned(), Table { columns, ..Table::default() });
        }
        schema
    }

    fn change(schema: &mut ServerSchema, table: &str, change: impl Fn(&mut Vec<Column>)) {
        change(&mut schema.tables.get_mut(table).unwrap().columns);
    }

    #[test]
    fn a_table_that_can_be_written_is_taken_as_it_is() {
        let known = clickstack();
        let mut found = known.clone();
        change(&mut found, "otel_logs", |columns| columns.retain(|column| column.name != "EventName"));
        let taken = take("otel", &known, found.clone());
        assert_eq!((taken.schema, taken.unfit.len()), (found, 0));
    }

    #[test]
    fn a_table_that_cannot_is_kept_as_it_was_and_says_what_to_do() {
        let known = clickstack();
        let mut found = known.clone();
        change(&mut found, "otel_logs", |columns| columns.retain(|column| column.name != "Body"));
        change(&mut found, "otel_traces", |columns| columns[0].type_name = "String".to_owned());
        change(&mut found, "hyperdx_sessions", |columns| columns.retain(|column| column.name != "ScopeName"));
        found.tables.get_mut("otel_metrics_gauge").unwrap().engine = "Distributed".to_owned();
        found.tables.remove("otel_metrics_sum");
        let taken = take("otel", &known, found.clone());
        for kept in ["otel_logs", "otel_traces", "otel_metrics_sum", "otel_metrics_gauge"] {
            assert_eq!(taken.schema.tables[kept], known.tables[kept]);
        }
        assert_eq!(taken.schema.tables["hyperdx_sessions"], found.tables["hyperdx_sessions"]);
        let unfit: Vec<&str> = taken.unfit.keys().map(String::as_str).collect();
        assert_eq!(unfit, ["otel_logs", "otel_metrics_gauge", "otel_traces"]);
        assert!(taken.unfit["otel_metrics_gauge"].starts_with("otel_metrics_gauge is a Distributed table"));
        assert_eq!(
            taken.unfit["otel_logs"],
            "otel_logs: column Body is missing; ALTER TABLE otel.otel_logs ADD COLUMN Body String"
        );
        assert!(taken.unfit["otel_traces"].contains("MODIFY COLUMN Timestamp DateTime64(9)"));
    }

    #[test]
    fn an_insert_names_what_the_table_takes() {
        let columns = vec![column("a", "String", ""), column("b", "String", "MATERIALIZED")];
        let table = Table { columns, ..Table::default() };
        let batch: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        let named_now = named(Some(&table), &batch);
        let expected = Named { columns: vec!["a".into()], gone: vec!["c".into()], fewer: true };
        assert_eq!(named_now, expected);
        assert_eq!(named(None, &batch).columns, batch);
        assert!(!named(Some(&Table::default()), &batch).fewer);
    }
}
