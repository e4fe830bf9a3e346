//! What the running process says of itself.

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::doctor::running::{self, Status};

/// A good `/status`, with this instead of what stands at `pointer`.
fn status(pointer: &str, value: Value) -> Value {
    let rows = |held| json!({ "accepted": 10, "waiting": 3, "held": held, "quarantined": 0 });
    let table = json!({ "rows": rows(0), "parts_held": 0, "last_error": "away", "last_error_ms": 1000, "last_stored_ms": 2000 });
    let mut status = json!({
        "rows": rows(0),
        "tables": { "otel_logs": table, "otel_traces": table },
        "spool": { "bytes": 10, "max_bytes": 100, "batches": 1, "oldest_batch_seconds": 5, "full": null },
        "configuration": { "waiting_for_restart": [], "mistakes": [] },
        "sink": { "state": "well", "why": null },
    });
    *status.pointer_mut(pointer).unwrap() = value;
    status
}

fn read(pointer: &str, value: Value) -> Status {
    Status::deserialize(status(pointer, value)).unwrap()
}

/// As the table of the other checks.
pub(super) fn table() -> Vec<(Finding, Vec<(Finding, Outcome)>)> {
    use Outcome::{CannotTell, Warning, Wrong};
    let (good, list) = (read("/rows/held", json!(0)), "`list`");
    let whole = |said| running::look(Path::new("o.yaml"), &said).remove(0);
    let errors = |pointer, value| running::errors(&read(pointer, value), UNIX_EPOCH + Duration::from_secs(500));
    let late = |seconds| running::delivery(&read("/spool/oldest_batch_seconds", json!(seconds)), list);
    vec![
        (
            whole(Ok(status("/rows/held", json!(0)))),
            vec![
                (running::process(&read("/configuration/mistakes", json!(["o.yaml:1:1: no"]))), Warning),
                (running::process(&read("/configuration/waiting_for_restart", json!(["listen"]))), Warning),
                (whole(Err("none runs".to_owned())), CannotTell),
                (whole(Ok(json!({ "rows": 1 }))), CannotTell),
            ],
        ),
        (
            running::sink(&good),
            vec![
                (running::sink(&read("/sink/state", json!("impaired"))), Warning),
                (running::sink(&read("/sink/state", json!("out"))), Wrong),
            ],
        ),
        (
            running::held(&good, list),
            vec![(running::held(&read("/tables/otel_logs/parts_held", json!(2)), list), Wrong)],
        ),
        (
            running::errors(&good, UNIX_EPOCH),
            vec![
                (errors("/tables/otel_logs/last_stored_ms", json!(999)), Warning),
                (errors("/tables/otel_logs/last_stored_ms", json!(null)), Warning),
            ],
        ),
        (
            running::quarantine(&good, list),
            vec![(running::quarantine(&read("/rows/quarantined", json!(4)), list), Wrong)],
        ),
        (running::delivery(&good, list), vec![(late(61), Warning), (late(301), Wrong)]),
        (
            running::fill(&good),
            vec![
                (running::fill(&read("/spool/bytes", json!(51))), Warning),
                (running::fill(&read("/spool/full", json!("the disk is full"))), Wrong),
            ],
        ),
    ]
}

#[test]
fn what_a_table_suffers_is_said_once() {
    let mut held = status("/tables/otel_logs/parts_held", json!(2));
    held["tables"]["otel_logs"]["last_stored_ms"] = json!(null);
    let held = Status::deserialize(held).unwrap();
    let finding = running::held(&held, "`list`");
    assert!(finding.what.contains("otel_logs waits for a person") && finding.what.contains("away"), "{finding}");
    assert_eq!(running::errors(&held, UNIX_EPOCH).outcome, Outcome::Ok);
    let failing = read("/tables/otel_traces/last_stored_ms", json!(999));
    let failing = running::errors(&failing, UNIX_EPOCH + Duration::from_secs(500));
    assert_eq!(failing.what, "otel_traces, 8 min ago: away");
    let without_limit = running::fill(&read("/spool/max_bytes", json!(null)));
    assert_eq!((without_limit.outcome, without_limit.what.as_str()), (Outcome::Ok, "it has no limit of its own"));
}
