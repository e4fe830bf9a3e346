//! What a client's records are as rows, field by field, and what ClickHouse has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stack::ClickHouse;

use crate::catalogue::Client;

/// After so long without another row nothing more comes.
const QUIET: Duration = Duration::from_secs(12);
const MILLISECOND: u64 = 1_000_000;

/// Rows of one client in one table, and how many records are among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    pub(crate) records: u64,
}

/// Where a client's rows are.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) clickhouse: &'a ClickHouse,
    pub(crate) database: &'a str,
    pub(crate) service: &'a str,
}

impl Rows<'_> {
    /// Spans and log records (spans again for a client without log records), once `expected` of each are there or nothing comes any more.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub(crate) async fn arrived(&self, expected: u64, client: &Client) -> Result<[Count; 2]> {
        let (mut last, mut since) = ([Count::default(); 2], Instant::now());
        loop {
            let mut now = [self.count("otel_traces", "SpanAttributes").await?; 2];
            if !client.records_session {
                now[1] = self.count("otel_logs", "LogAttributes").await?;
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if now.iter().all(|count| count.records >= expected) || since.elapsed() > QUIET {
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn count(&self, table: &str, attributes: &str) -> Result<Count> {
        let (database, service) = (self.database, self.service);
        let sql = format!(
            "SELECT count(), uniqExact({attributes}['number']) FROM {database}.{table} \
             WHERE ServiceName = '{service}' AND {attributes}['number'] != ''"
        );
        let answer = self.clickhouse.query(&sql, "TabSeparated").await?;
        let (rows, records) = answer.trim().split_once('\t').with_context(|| format!("{sql} answered {answer:?}"))?;
        Ok(Count { rows: rows.parse()?, records: records.parse()? })
    }

    /// Every difference between what was sent and what is stored, a line each. `said` names the spans' ids.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub(crate) async fn differences(
        &self,
        start: u64,
        records: u64,
        said: &str,
        client: &Client,
    ) -> Result<Vec<String>> {
        let ids = ids(said);
        let id = |number: u64| ids.get(&number).cloned().unwrap_or_default();
        let mut differences = Vec::new();
        let spans = (0..records).map(|number| {
            let parent = if number % 2 == 1 { id(number - 1).1 } else { String::new() };
            span(start, number, &id(number), &parent)
        });
        compare("span", &spans.collect::<Vec<_>>(), &self.rows(SPANS, client.adds).await?, &mut differences);
        if client.records_session {
            if self.rows(SESSIONS, &[]).await?.is_empty() {
                differences.push("nothing of the session is recorded".to_owned());
            }
            return Ok(differences);
        }
        let logs = (0..records).map(|number| log(start, number, &id(number)));
        compare("log record", &logs.collect::<Vec<_>>(), &self.rows(LOGS, client.adds).await?, &mut differences);
        for (what, sql, expect) in METRICS {
            let expected: Vec<Value> = (0..5).map(expect).collect();
            compare(what, &expected, &self.rows(sql, client.adds).await?, &mut differences);
        }
        Ok(differences)
    }

    async fn rows(&self, sql: &str, adds: &[&str]) -> Result<Vec<Value>> {
        let sql = sql.replace("{database}", self.database).replace("{service}", self.service);
        let answer = self.clickhouse.query(&sql, "JSONEachRow").await?;
        answer
            .lines()
            .map(|line| {
                let mut row: Value = serde_json::from_str(line)?;
                if let Some(attributes) = row.get_mut("attributes").and_then(Value::as_object_mut) {
                    attributes.retain(|name, _| !adds.iter().any(|beginning| name.starts_with(beginning)));
                }
                Ok(row)
            })
            .collect()
    }
}

/// The lines `span NUMBER TRACE SPAN` of what a client said.
fn ids(said: &str) -> BTreeMap<u64, (String, String)> {
    said.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("span ")?.split_whitespace();
            let (number, trace, span) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
            Some((number, (trace.to_owned(), span.to_owned())))
        })
        .collect()
}

/// Both are in the order of their numbers.
fn compare(what: &str, expected: &[Value], found: &[Value], differences: &mut Vec<String>) {
    if expected.len() != found.len() {
        differences.push(format!("{} rows of {what}s instead of {}", found.len(), expected.len()));
        return;
    }
    for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
        for (column, value) in expected.as_object().into_iter().flatten() {
            if &found[column] != value {
                differences.push(format!("{what} {number}: {column} is {} instead of {value}", found[column]));
            }
        }
    }
}

const SESSIONS: &str = "SELECT Body FROM {database}.hyperdx_sessions WHERE ServiceName = '{service}' AND LogAttributes['rr-web.event'] != '' LIMIT 1";

const SPANS: &str = "SELECT toString(toUnixTimestamp64Nano(Timestamp)) AS time, toString(Duration) AS duration, TraceId AS trace, SpanId AS span, \
    ParentSpanId AS parent, TraceState AS state, SpanName AS name, SpanKind AS kind, ScopeName AS scope, ScopeVersion AS version, \
    StatusCode AS status, StatusMessage AS message, SpanAttributes AS attributes, \
    arrayMap(time -> toString(toUnixTimestamp64Nano(time)), Events.Timestamp) AS event_times, Events.Name AS events, Events.Attributes AS event_attributes, \
    Links.TraceId AS link_traces, Links.SpanId AS link_spans, Links.Attributes AS link_attributes, \
    ResourceAttributes['deployment.environment.name'] AS environment \
    FROM {database}.otel_traces WHERE ServiceName = '{service}' AND SpanAttributes['number'] != '' ORDER BY toUInt64OrZero(SpanAttributes['number'])";

/// Span `number` as a row.
fn span(start: u64, number: u64, (trace, id): &(String, String), parent: &str) -> Value {
    let began = start + number * MILLISECOND;
    let (status, message) = match number % 3 {
        0 => ("Unset", String::new()),
        1 => ("Ok", String::new()),
        _ => ("Error", format!("failed {number}")),
    };
    let mut attributes = attributes(number);
    attributes["list"] = format!("[\"a\",\"{number}\"]").into();
    json!({
        "time": began.to_string(), "duration": (3 * MILLISECOND / 2).to_string(), "trace": trace, "span": id, "parent": parent, "state": "",
        "name": format!("span {number}"), "kind": "Server", "scope": "matrix", "version": "1.2.3", "status": status, "message": message,
        "attributes": attributes, "event_times": [(began + MILLISECOND / 2).to_string()], "events": ["step"],
        "event_attributes": [{ "number": number.to_string() }],
        "link_traces": ["0af7651916cd43dd8448eb211c80319c"], "link_spans": ["b7ad6b7169203331"],
        "link_attributes": [{ "number": number.to_string() }], "environment": "matrix",
    })
}

const LOGS: &str = "SELECT toString(toUnixTimestamp64Nano(Timestamp)) AS time, TraceId AS trace, SpanId AS span, bitAnd(TraceFlags, 1) AS sampled, SeverityText AS severity, \
    SeverityNumber AS severity_number, Body AS body, ScopeName AS scope, ScopeVersion AS version, LogAttributes AS attributes, \
    ResourceAttributes['deployment.environment.name'] AS environment \
    FROM {database}.otel_logs WHERE ServiceName = '{service}' AND LogAttributes['number'] != '' ORDER BY toUInt64OrZero(LogAttributes['number'])";

/// Log record `number` as a row: ClickStack's transform writes severities in lower case, and makes lists flat.
fn log(start: u64, number: u64, (trace, span): &(String, String)) -> Value {
    let (severity, severity_number) = [("info", 9), ("warn", 13), ("error", 17)][(number % 3) as usize];
    let mut attributes = attributes(number);
    (attributes["list.0"], attributes["list.1"]) = ("a".into(), number.to_string().into());
    json!({
        "time": (start + number * MILLISECOND).to_string(), "trace": trace, "span": span, "sampled": 1, "severity": severity,
        "severity_number": severity_number, "body": format!("record {number}"), "scope": "matrix", "version": "1.2.3",
        "attributes": attributes, "environment": "matrix",
    })
}

fn attributes(number: u64) -> Value {
    json!({
        "number": number.to_string(), "share": format!("{number}.5"), "even": number.is_multiple_of(2).to_string(), "text": format!("Grüße {number}"),
    })
}

/// What a metric is called, how its rows are read, and what they are.
type Metric = (&'static str, &'static str, fn(u64) -> Value);

const METRICS: [Metric; 3] = [
    (
        "sum",
        "SELECT MetricName AS name, MetricUnit AS unit, MetricDescription AS description, Attributes AS attributes, Value AS value, \
         IsMonotonic AS monotonic, AggregationTemporality AS temporality, ScopeName AS scope, ScopeVersion AS version \
         FROM {database}.otel_metrics_sum WHERE ServiceName = '{service}' AND startsWith(MetricName, 'matrix.') ORDER BY Value",
        |number| {
            json!({
                "name": "matrix.sum", "unit": "By", "description": "numbers, summed", "attributes": { "number": number.to_string() },
                "value": number + 1, "monotonic": true, "temporality": 2, "scope": "matrix", "version": "1.2.3",
            })
        },
    ),
    (
        "gauge",
        "SELECT MetricName AS name, MetricUnit AS unit, Attributes AS attributes, Value AS value \
         FROM {database}.otel_metrics_gauge WHERE ServiceName = '{service}' AND startsWith(MetricName, 'matrix.') ORDER BY Value",
        |number| {
            json!({
                "name": "matrix.gauge", "unit": "Cel", "attributes": { "number": number.to_string() }, "value": number as f64 + 0.5,
            })
        },
    ),
    (
        "histogram",
        "SELECT MetricName AS name, MetricUnit AS unit, Attributes AS attributes, toUInt32(Count) AS count, Sum AS sum, Min AS min, Max AS max, \
         arrayMap(count -> toUInt32(count), BucketCounts) AS counts, ExplicitBounds AS bounds, AggregationTemporality AS temporality \
         FROM {database}.otel_metrics_histogram WHERE ServiceName = '{service}' AND startsWith(MetricName, 'matrix.') ORDER BY Attributes['number']",
        |number| {
            json!({
                "name": "matrix.histogram", "unit": "s", "attributes": { "number": number.to_string() }, "count": 3, "sum": 38, "min": 1, "max": 30,
                "counts": [0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "bounds": [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000], "temporality": 2,
            })
        },
    ),
];
