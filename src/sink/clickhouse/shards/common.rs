//! What rows are encoded for, where several shards take them: once for all of them.

use super::Schemas;
use crate::sink::clickhouse::schema::ServerSchema;
use crate::sink::clickhouse::start::StartError;

/// What rows are encoded for: every table with each column that it has at any shard.
///
/// # Errors
/// The same bytes cannot serve all of them.
pub(super) fn common(schemas: &Schemas) -> Result<ServerSchema, StartError> {
    let mut all = schemas.iter();
    let Some((first, schema)) = all.next() else {
        return Err(StartError::Shards("none is named".to_owned()));
    };
    let mut common = schema.clone();
    for (name, schema) in all {
        if schema.timezone != common.timezone {
            let (one, other) = (&common.timezone, &schema.timezone);
            return Err(StartError::Shards(format!(
                "{first} has the time zone {one} and {name} has {other}, so that a day is not the same partition in both; set the same <timezone> on all servers"
            )));
        }
        for (table, facts) in &schema.tables {
            let Some(known) = common.tables.get_mut(table) else {
                common.tables.insert(table.clone(), facts.clone());
                continue;
            };
            // What one shard keeps is not too old.
            if known.ttl != facts.ttl {
                known.ttl.clear();
            }
            for column in &facts.columns {
                let Some(same) = known.columns.iter_mut().find(|known| known.name == column.name) else {
                    known.columns.push(column.clone());
                    continue;
                };
                if is_json(&same.type_name) != is_json(&column.type_name) {
                    let (one, other, column) = (&same.type_name, &column.type_name, &column.name);
                    return Err(StartError::Shards(format!(
                        "{table}.{column} is {one} at one and {other} at {name}; make it the same type in all (ALTER TABLE … MODIFY COLUMN, or a new table)"
                    )));
                }
                if !same.is_insertable() && column.is_insertable() {
                    *same = column.clone();
                }
            }
        }
    }
    Ok(common)
}

fn is_json(type_name: &str) -> bool {
    type_name.starts_with("JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::clickhouse::schema::Table;
    use crate::sink::clickhouse::schema::facts::Column;

    fn schema(columns: &[(&str, &str, &str)], timezone: &str) -> ServerSchema {
        let column = |(name, type_name, kind): &(&str, &str, &str)| Column {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
            default_kind: (*kind).to_owned(),
            default_expression: String::new(),
        };
        let table = Table { columns: columns.iter().map(column).collect(), ..Table::default() };
        ServerSchema {
            timezone: timezone.to_owned(),
            tables: [("t".to_owned(), table)].into(),
            ..ServerSchema::default()
        }
    }

    fn of(one: ServerSchema, other: ServerSchema) -> Result<ServerSchema, StartError> {
        common(&[("a".to_owned(), one), ("b".to_owned(), other)].into())
    }

    #[test]
    fn rows_are_encoded_with_what_any_shard_has() {
        let one = schema(&[("A", "String", ""), ("C", "String", "MATERIALIZED")], "UTC");
        let other = schema(&[("A", "LowCardinality(String)", ""), ("B", "String", ""), ("C", "String", "")], "UTC");
        let all = of(one, other).unwrap();
        assert_eq!(all, schema(&[("A", "String", ""), ("C", "String", ""), ("B", "String", "")], "UTC"));
    }

    #[test]
    fn a_row_is_too_old_only_where_it_is_so_everywhere() {
        let with = |ttl: &str| {
            let mut schema = schema(&[("A", "String", "")], "UTC");
            schema.tables.get_mut("t").unwrap().ttl = ttl.to_owned();
            schema
        };
        assert_eq!(of(with("a"), with("a")).unwrap().tables["t"].ttl, "a");
        assert_eq!(of(with("a"), with("b")).unwrap().tables["t"].ttl, "");
    }

    #[test]
    fn shards_that_no_bytes_serve_are_refused_with_what_to_do() {
        let map = schema(&[("A", "Map(String, String)", "")], "UTC");
        let json = schema(&[("A", "JSON(max_dynamic_paths=8)", "")], "UTC");
        assert!(of(map.clone(), json).unwrap_err().to_string().contains("t.A is Map(String, String) at one"));
        let elsewhere = schema(&[("A", "Map(String, String)", "")], "Asia/Tokyo");
        assert!(of(map, elsewhere).unwrap_err().to_string().contains("set the same <timezone>"));
    }
}
