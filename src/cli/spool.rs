//! `otelgate spool list|show|retry|drop`: asks the running process through its admin listener, or looks into the folder of one that
//! does not run.

use std::path::Path;

use anyhow::Context;
use otelgate::config::{self, Places};
use otelgate::spool::orders::StoppedSpool;
use serde_json::Value;

use super::admin;

/// What a person asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    List,
    Show(u64),
    Retry(u64),
    Drop(u64),
}

pub(super) fn run(file: &Path, order: Order) -> anyhow::Result<()> {
    let config = config::load_places(file, &config::Process)?;
    let answer = match admin::block_on(ask(&config, order))? {
        Some(answer) => answer,
        None => {
            look(config.spool.as_ref().context("nothing listens there, and the configuration has no spool")?, order)?
        }
    };
    match (order, &answer) {
        (Order::List, Value::Array(batches)) => super::print(table(batches)),
        (_, Value::Object(fields)) if let Some(Value::String(done)) = fields.get("done") => {
            super::print(format_args!("{done}\n"))
        }
        _ => super::print(format_args!("{answer:#}\n")),
    }
}

/// The running process's answer; `None` when nothing listens.
async fn ask(config: &Places, order: Order) -> anyhow::Result<Option<Value>> {
    let (method, path) = match order {
        Order::List => ("GET", "/spool".to_owned()),
        Order::Show(sequence) => ("GET", format!("/spool/{sequence}")),
        Order::Retry(sequence) => ("POST", format!("/spool/{sequence}/retry")),
        Order::Drop(sequence) => ("POST", format!("/spool/{sequence}/drop")),
    };
    admin::ask(config, method, &path).await
}

/// The same in the folder of a process that does not run. Who only looks writes nothing.
fn look(spool: &config::Spool, order: Order) -> anyhow::Result<Value> {
    let dir = &spool.dir;
    let stopped = || StoppedSpool::open(dir, spool.digest_ttl);
    let (stopped, answer) = match order {
        Order::List => return Ok(serde_json::to_value(otelgate::spool::look(dir)?)?),
        Order::Show(sequence) => {
            let found = otelgate::spool::look(dir)?.into_iter().find(|one| one.sequence == sequence);
            return Ok(serde_json::to_value(found.with_context(|| format!("no batch {sequence} is in the spool"))?)?);
        }
        Order::Retry(sequence) => {
            let mut stopped = stopped()?;
            stopped.retry(sequence)?;
            (stopped, serde_json::json!({ "done": format!("batch {sequence} is delivered at the next start") }))
        }
        Order::Drop(sequence) => {
            let mut stopped = stopped()?;
            let rows = stopped.drop(sequence)?.total_rows();
            (stopped, serde_json::json!({ "done": format!("batch {sequence} is dropped with {}", super::rows(rows)) }))
        }
    };
    stopped.close()?;
    Ok(answer)
}

/// A part's day, counted from 1970, as a date.
fn day(days: &Value) -> String {
    let at = days.as_i64().and_then(|days| jiff::Timestamp::from_second(days.checked_mul(86_400)?).ok());
    at.map_or_else(|| days.to_string(), |at| at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
}

/// One line a part.
fn table(batches: &[Value]) -> String {
    let mut text = format!(
        "{:>10}  {:<10}  {:<8}  {:<28}  {:>10}  {:>9}  {:>9}  state\n",
        "batch", "place", "signal", "table", "day", "rows", "refused"
    );
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    for batch in batches {
        for part in batch["parts"].as_array().into_iter().flatten() {
            let is = |name: &str| part[name].as_bool() == Some(true);
            let mut state = match () {
                () if is("is_in") => "in",
                () if is("held") => "held",
                () if is("tried") => "tried",
                () => "waiting",
            }
            .to_owned();
            let reasons: Vec<&str> =
                part["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !reasons.is_empty() {
                state = format!("{state}: {}", reasons.join("; "));
            }
            text += &format!(
                "{:>10}  {:<10}  {:<8}  {:<28}  {:>10}  {:>9}  {:>9}  {state}\n",
                batch["sequence"].to_string(),
                word(&batch["place"]),
                word(&batch["signal"]),
                word(&part["table"]),
                day(&part["day"]),
                part["rows"].to_string(),
                part["refused_rows"].to_string(),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date() {
        let part = serde_json::json!({ "table": "otel_logs", "day": 20_787, "rows": 1, "refused_rows": 0 });
        let text = table(&[serde_json::json!({ "sequence": 7, "place": "spool", "signal": "logs", "parts": [part] })]);
        assert!(text.contains(" 2026-11-30 ") && !text.contains("20787"), "{text}");
        assert_eq!(day(&Value::Null), "null");
    }
}
