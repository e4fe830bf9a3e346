//! The running process, by what its `/status` says: what waits for a person, what goes wrong, and how late it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use super::Finding;

/// The check that says whether the others could be made.
const PROCESS: &str = "running process";
const HOW: &str = "asked the running process for /status";

/// Seconds that a batch may wait before somebody should look, and before somebody must; as the status page has them.
const LATE: u64 = 60;
const TOO_LATE: u64 = 300;

/// What is read of `/status`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    rows: Rows,
    tables: BTreeMap<String, Table>,
    spool: Spool,
    configuration: Configuration,
    sink: Sink,
}

#[derive(Debug, Deserialize)]
struct Rows {
    accepted: u64,
    waiting: u64,
    held: u64,
    quarantined: u64,
}

#[derive(Debug, Deserialize)]
struct Table {
    rows: Rows,
    parts_held: u64,
    last_error: Option<String>,
    last_error_ms: Option<u64>,
    last_stored_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Spool {
    bytes: u64,
    max_bytes: Option<u64>,
    batches: u64,
    oldest_batch_seconds: Option<u64>,
    full: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    waiting_for_restart: Vec<String>,
    mistakes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Sink {
    state: String,
    why: Option<String>,
}

/// Judges what the process of this configuration said, or why nothing is known of it.
pub(super) fn look(file: &Path, said: &Result<Value, String>) -> Vec<Finding> {
    let status = match said.as_ref().map(Status::deserialize) {
        Ok(Ok(status)) => status,
        Ok(Err(_)) => return vec![Finding::cannot_tell(PROCESS, "it is of another version", HOW)],
        Err(why) => return vec![Finding::cannot_tell(PROCESS, why, HOW)],
    };
    let list = format!("`otelgate spool list --config {}`", file.display());
    vec![
        process(&status),
        sink(&status),
        held(&status, &list),
        errors(&status, SystemTime::now()),
        quarantine(&status, &list),
        delivery(&status, &list),
        fill(&status),
    ]
}

pub(super) fn process(status: &Status) -> Finding {
    let ok = Finding::ok(PROCESS, format!("runs, and has accepted {} rows", status.rows.accepted), HOW);
    let Configuration { waiting_for_restart, mistakes } = &status.configuration;
    if let Some(mistake) = mistakes.first() {
        return ok.warning(format!("the file as it is now is not taken over: {mistake}"), "correct the file");
    }
    match waiting_for_restart.is_empty() {
        true => ok,
        false => ok.warning(
            format!("changed in the file, and not in force: {}", waiting_for_restart.join(", ")),
            "restart it: `systemctl restart otelgate`, `kubectl rollout restart …`",
        ),
    }
}

pub(super) fn sink(status: &Status) -> Finding {
    let ok = Finding::ok("sink", "takes what it is given", HOW);
    let why = status.sink.why.as_deref().unwrap_or("it does not say why");
    let mend = "as it says; what was accepted waits, and is delivered then";
    match status.sink.state.as_str() {
        "well" => ok,
        "impaired" => ok.warning(format!("takes some of what it is given: {why}"), mend),
        _ => ok.wrong(format!("takes nothing: {why}"), mend),
    }
}

pub(super) fn held(status: &Status, list: &str) -> Finding {
    let ok = Finding::ok("held parts", "nothing waits for a person", HOW);
    let held = status.tables.iter().filter(|(_, table)| table.parts_held > 0);
    let told: Vec<String> = held
        .map(|(name, table)| {
            let why = table.last_error.as_deref().unwrap_or("no reason is known");
            format!("{name} waits for a person, with {} rows: {why}", table.rows.held)
        })
        .collect();
    match told.is_empty() {
        true => ok,
        false => ok.wrong(
            told.join("; "),
            format!("mend what it says, and delivery goes on by itself; {list} shows the parts"),
        ),
    }
}

/// A table whose last insert failed. One that stored something since has got over it, and what is held is said by itself.
pub(super) fn errors(status: &Status, now: SystemTime) -> Finding {
    let ok = Finding::ok("tables' errors", "the last insert into each table went in", HOW);
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let failing = |(name, table): (&String, &Table)| {
        let (why, at) = (table.last_error.as_ref()?, table.last_error_ms?);
        let open = table.parts_held == 0 && table.last_stored_ms.is_none_or(|stored| stored < at);
        open.then(|| format!("{name}, {} ago: {why}", age(now.saturating_sub(at / 1000))))
    };
    let told: Vec<String> = status.tables.iter().filter_map(failing).collect();
    match told.is_empty() {
        true => ok,
        false => ok.warning(
            told.join("; "),
            "as it says; it is tried again by itself (docs/runbook.md, OtelgateStoresNothing)",
        ),
    }
}

pub(super) fn quarantine(status: &Status, list: &str) -> Finding {
    let ok = Finding::ok("quarantine", "it is empty", HOW);
    match status.rows.quarantined {
        0 => ok,
        rows => ok.wrong(
            format!("{rows} rows were refused for good, and are kept for a person"),
            format!("{list} numbers them, `otelgate spool show NUMBER` says why; then `spool retry NUMBER`, or `spool drop NUMBER`"),
        ),
    }
}

pub(super) fn delivery(status: &Status, list: &str) -> Finding {
    let Spool { batches, oldest_batch_seconds, .. } = status.spool;
    let rows = status.rows.waiting + status.rows.held;
    let oldest = oldest_batch_seconds.unwrap_or(0);
    let what = match batches {
        0 => format!("no batch waits, {rows} rows are under way"),
        _ => format!("{rows} rows are not delivered yet, {batches} batches wait, the oldest for {}", age(oldest)),
    };
    let ok = Finding::ok("delivery", what.clone(), HOW);
    let mend = format!("{list} shows why; docs/runbook.md (OtelgateStoresLate) what to do");
    match oldest {
        late if late > TOO_LATE => ok.wrong(what, mend),
        late if late > LATE => ok.warning(what, mend),
        _ => ok,
    }
}

pub(super) fn fill(status: &Status) -> Finding {
    let Spool { bytes, max_bytes, full, .. } = &status.spool;
    let share = max_bytes.and_then(|most| bytes.saturating_mul(100).checked_div(most));
    let what = share.map_or("it has no limit of its own".to_owned(), |share| format!("{share} % of spool.max_bytes"));
    let ok = Finding::ok("spool's fill", what.clone(), HOW);
    let mend = "see that the sink takes it; more room (spool.max_bytes, the disk) buys time";
    match full {
        Some(full) => ok.wrong(format!("no request is taken: {full}"), mend),
        None if share > Some(50) => ok.warning(what, mend),
        None => ok,
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
